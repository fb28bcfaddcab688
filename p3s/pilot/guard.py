"""The pilot's end of the line to its keeper (see `p3s.pilot.keeper`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["Guard"]

#: Seconds until the keeper is told of a payload, so that short ones cost it nothing. Should the pilot be killed before,
#: the keeper still finds the payload by its marks (see `p3s.pilot.keeper`), unless it has dropped all of them by then.
PAUSE = 0.01
_SCRIPT = Path(__file__).with_name("keeper.py")


class Guard:
    """Starts the keeper and tells it which payloads run.

    Parameters
    ----------
    pilot : str
        The pilot's uuid: payloads carry it in ``P3S_PILOT_UUID``.
    """

    def __init__(self, pilot: str) -> None:
        self._mark = f"P3S_PILOT_UUID={pilot}"
        self._payloads: dict[int, bool] = {}
        #: What the keeper knows of them, and when it is to know the rest.
        self._told: dict[int, bool] = {}
        self._tell_at = float("inf")
        self._lease_end = float("inf")
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The keeper's pid."""
        return self._process.pid

    def expect(self, attempt: str) -> bool:
        """Tell of an exclusive payload before it starts; return whether the lease still holds, without which none may.

        A pilot that is frozen between the start and `add` could not tell of it any more.
        """
        if time.monotonic() >= self._lease_end:
            return False
        lease = "" if self._lease_end == float("inf") else f"r {self._lease_end}\n"
        self._write(f"{lease}! P3S_ATTEMPT={attempt}\n")
        return True

    def add(self, pid: int, *, exclusive: bool) -> None:
        """Tell of a payload that runs: at once if it is exclusive, else with the next `flush`."""
        self._payloads[pid] = exclusive
        self._note_change(0.0 if exclusive else PAUSE)
        self.flush(time.monotonic())

    def remove(self, pid: int) -> None:
        """Tell that a payload ended, if the keeper has heard of it: its number may soon be another process'."""
        self._payloads.pop(pid, None)
        if pid in self._told:
            self._note_change(0.0)
            self.flush(time.monotonic())

    def find_next_time(self) -> float:
        """Return when `flush` has something to do; infinity for never."""
        return self._tell_at

    def flush(self, now: float) -> None:
        """Tell the keeper what it has to know by now."""
        if now < self._tell_at:
            return
        self._tell_at = float("inf")
        ended = [f"- {pid}\n" for pid in self._told.keys() - self._payloads.keys()]
        begun = [f"+ {pid} {int(one)}\n" for pid, one in self._payloads.items() if self._told.get(pid) is not one]
        self._told = dict(self._payloads)
        if ended or begun:
            # The lease comes first: the one that the keeper knows may be over since the last exclusive payload ended.
            self._write("".join([self._make_lease(), *ended, *begun]))

    def renew(self, seconds: float) -> None:
        """Tell for how long the lease holds; only exclusive payloads hang on it."""
        self._lease_end = time.monotonic() + seconds
        if line := self._make_lease():
            self._write(line)

    def restart(self) -> None:
        """Start another keeper in place of one that ended."""
        self._close()
        self._process = self._start()
        self._told.clear()
        self._note_change(0.0)
        self.flush(time.monotonic())

    def close(self) -> None:
        """Let the keeper look once more and go."""
        self._close()
        with contextlib.suppress(ChildProcessError, subprocess.TimeoutExpired):
            self._process.wait(timeout=10)

    def _start(self) -> subprocess.Popen[bytes]:
        # -I and -S: no site packages, no user's settings; it starts in 10 ms and holds 9 MB.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SCRIPT), self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            bufsize=0,
            start_new_session=True,
        )

    def _note_change(self, pause: float) -> None:
        self._tell_at = min(self._tell_at, time.monotonic() + pause)

    def _make_lease(self) -> str:
        if not any(self._payloads.values()) or self._lease_end == float("inf"):
            return ""
        return f"r {self._lease_end}\n"

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        # A keeper that ended is told by the reaper, and its successor hears of all payloads at once.
        with contextlib.suppress(BrokenPipeError, ValueError):
            os.write(self._process.stdin.fileno(), line.encode())

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
