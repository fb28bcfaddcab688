"""Waiting until there may be something new: a word from the kernel, a signal, or time."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Watcher"]

#: Seconds in which more words of the kernel are gathered before a look.
GATHER = 0.1


class Watcher:
    """Wakes up early where the kernel tells of changes.

    The kernel's word is only a reason to look now: on a network file system it does not come, and the regular look
    finds everything.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._inotify = None
        with suppress(ImportError, OSError):
            # Neither another kernel nor one whose watches are used up is a reason not to work.
            from inotify_simple import INotify  # noqa: PLC0415

            self._inotify = INotify()
            self._poll.register(self._inotify.fileno(), select.POLLIN)
        self._folders: set[str] = set()

    def follow(self, folders: Iterable[str | Path]) -> None:
        """Be told of changes in these folders."""
        if self._inotify is None:
            return
        from inotify_simple import flags  # noqa: PLC0415

        wanted = {str(folder) for folder in folders}
        mask = flags.CREATE | flags.CLOSE_WRITE | flags.MOVED_TO | flags.MODIFY | flags.ATTRIB
        for folder in wanted - self._folders:
            with suppress(OSError):
                self._inotify.add_watch(folder, mask)
        self._folders = wanted

    def wait(self, seconds: float) -> None:
        """Return after a change, a call of `wake`, or so many seconds."""
        ready = self._poll.poll(max(0.0, seconds) * 1000)
        if self._inotify is not None and any(handle == self._inotify.fileno() for handle, _ in ready):
            self._inotify.read(timeout=0, read_delay=int(GATHER * 1000))

    def wake(self) -> None:
        """End the wait; may be called from a signal handler."""
        with suppress(BlockingIOError):
            os.write(self._write, b"x")

    def close(self) -> None:
        """Give back what the kernel gave."""
        if self._inotify is not None:
            self._inotify.close()
        os.close(self._read)
        os.close(self._write)
