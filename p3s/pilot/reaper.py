"""Who waits for children: for payloads, and for the orphans that this pilot adopted."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Exit", "Reaper"]

#: Seconds between two looks where no signal tells of an end.
LOOK = 0.02


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
    """Takes in the ends of children, for the thread that starts payloads."""

    def __init__(self) -> None:
        # Each new Popen would else wait for pids of forgotten ones, and a pid that was given anew may be a payload's:
        # its exit would be taken from here, and the payload would seem to run for ever.
        subprocess._active = None  # type: ignore[attr-defined]  # noqa: SLF001 - the module's own off switch
        self._leaders: set[int] = set()
        #: Seconds after which `collect` is to be called again, if nothing rings.
        self.pause = LOOK

    @contextlib.contextmanager
    def listen(self, ring: int) -> Iterator[None]:
        """Have each end of a child write a byte to the descriptor `ring`, as far as signals come to this thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Written by the system's handler itself: Python's runs later, and too late for a wait that is about to begin.
        before = signal.signal(signal.SIGCHLD, lambda *_: None), signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        self.pause = math.inf
        try:
            yield
        finally:
            self.pause = LOOK
            signal.set_wakeup_fd(before[1])
            signal.signal(signal.SIGCHLD, before[0])

    def add_leader(self, pid: int) -> None:
        """Make known that `pid` leads a session of its own."""
        self._leaders.add(pid)

    def collect(self) -> list[Exit]:
        """Return the children that have ended since the last time."""
        found: list[Exit] = []
        while True:
            try:
                # The child stays a zombie for now, so its pid and its group's number are not given anew.
                peek = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:
                return found
            if peek is None:
                return found
            if peek.si_pid in self._leaders:
                self._leaders.remove(peek.si_pid)
                # What it left behind in its group has nobody to report to any more.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(peek.si_pid, signal.SIGKILL)
            try:
                pid, status, usage = os.wait4(peek.si_pid, 0)
            except ChildProcessError:
                # Somebody else waited for it, so it was none of ours.
                continue
            code = os.waitstatus_to_exitcode(status)
            found.append(Exit(pid, code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))
