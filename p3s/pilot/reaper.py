"""Who waits for children: one thread for all payloads, and for the orphans that this pilot adopted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Exit", "Reaper"]

#: Seconds between two looks while there is no child at all.
NO_CHILD_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended.

    Attributes
    ----------
    pid : int
        Which.
    code : int
        The exit code, or minus the signal's number.
    cpu_time : float
        Seconds of CPU that it and its waited-for children used.
    peak_memory : int
        Bytes of the largest process among them. The kernel counts from the fork on, so it is never less than
        what the pilot itself held.
    """

    pid: int
    code: int
    cpu_time: float
    peak_memory: int


class Reaper:
    """Waits for children in a thread and tells of each.

    Parameters
    ----------
    tell : callable
        Called in the reaper's thread with each `Exit`.
    """

    def __init__(self, tell: Callable[[Exit], None]) -> None:
        self._tell = tell
        # Each new Popen would else wait for pids of forgotten ones, and a pid that was given anew may be a payload's:
        # its exit would be taken from here, and the payload would seem to run for ever.
        subprocess._active = None  # type: ignore[attr-defined]  # noqa: SLF001 - the module's own off switch
        self._leaders: set[int] = set()
        self._closed = False
        self._born = threading.Event()
        #: Held by whoever starts a child, until it is a known leader.
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
        self._thread.start()

    def add_leader(self, pid: int) -> None:
        """Make known that `pid` leads a session of its own; called with the lock held."""
        self._leaders.add(pid)
        self._born.set()

    def close(self) -> None:
        """Let the thread end after the next child, or at once if there is none."""
        self._closed = True
        self._born.set()

    def join(self, timeout: float = 5.0) -> None:
        """Wait for the thread's end, so that it takes no child of whoever comes next in this process."""
        self._thread.join(0.2)
        if not self._thread.is_alive():
            return
        # Other children of this process live on, and only an end of one wakes the thread.
        with subprocess.Popen(["/bin/true"]):
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closed:
            try:
                # The child stays a zombie for now, so its pid and its group's number are not given anew.
                peek = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                self._born.wait(NO_CHILD_PAUSE)
                self._born.clear()
                continue
            if peek is None:
                continue
            with self.lock:
                is_leader = peek.si_pid in self._leaders
                self._leaders.discard(peek.si_pid)
            if self._closed and not is_leader:
                # It only woke this thread, and whoever started it waits for it.
                return
            if is_leader:
                # What it left behind in its group has nobody to report to any more.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(peek.si_pid, signal.SIGKILL)
            try:
                pid, status, usage = os.wait4(peek.si_pid, 0)
            except ChildProcessError:
                # Somebody else waited for it, so it was none of ours.
                continue
            code = os.waitstatus_to_exitcode(status)
            self._tell(Exit(pid, code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))
