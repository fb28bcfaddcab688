"""The pilot's end of the line to its couriers (see `p3s.pilot.courier`): one for each transfer under way."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CourierFailed", "Couriers"]

#: Seconds between two looks whether a transfer is still wanted.
LOOK = 0.2
#: Couriers kept when they have nothing to do.
SPARE = 4
#: Seconds to wait for one that was killed.
END_LIMIT = 5.0


class CourierFailed(Exception):
    """A request was not carried out.

    Parameters
    ----------
    kind : str
        As `p3s.pilot.courier.answer` names it, or ``stopped``, ``late``.
    message : str
        For people.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class _Courier:
    """One process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p3s.pilot.courier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environ),
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )
        self.used = False

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        # In a pilot the reaper may be quicker.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_LIMIT)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


class Couriers:
    """Has requests carried out, each by a process that does nothing else meanwhile.

    Parameters
    ----------
    make_environ : callable
        Returns the variables of a new courier, with credentials.
    """

    def __init__(self, make_environ: Callable[[], Mapping[str, str]]) -> None:
        self._make_environ = make_environ
        #: Held by whoever must not meet a courier that is not yet in `pids`.
        self.lock = threading.Lock()
        self._spare: list[_Courier] = []
        self._pids: set[int] = set()
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        """The processes, which are no strays of payloads."""
        return frozenset(self._pids)

    def ask(self, request: dict[str, Any], seconds: float, is_stopped: Callable[[], bool]) -> None:
        """Have a request carried out.

        Parameters
        ----------
        request : dict
            See `p3s.pilot.courier.answer`.
        seconds : float
            After which it is given up.
        is_stopped : callable
            Asked now and then; true ends the transfer at once.

        Raises
        ------
        CourierFailed
            If it could not be carried out.
        """
        end = time.monotonic() + seconds
        line = json.dumps(request).encode() + b"\n"
        while True:
            courier = self._take()
            try:
                reply = self._exchange(courier, line, end, is_stopped)
            except BaseException:
                self._drop(courier)
                raise
            if reply is not None:
                break
            self._drop(courier)
            if not courier.used:
                raise CourierFailed("trouble", "the transfer's process ended without an answer")
            # It had gone idle; a fresh one tells whether there is more to it.
        found: dict[str, str] = json.loads(reply)
        if found.get("kind") in {"denied", "trouble"}:
            # The next one reads credentials anew, and begins with clean connections.
            self._drop(courier)
        else:
            self._give_back(courier)
        if found:
            raise CourierFailed(found["kind"], found["message"])

    def close(self) -> None:
        """End all; what is under way fails as stopped."""
        with self.lock:
            self._closed = True
            spare, self._spare = self._spare, []
        for courier in spare:
            self._drop(courier)

    def _exchange(self, courier: _Courier, line: bytes, end: float, is_stopped: Callable[[], bool]) -> bytes | None:
        """Return the answer; None if the process ended without one."""
        assert courier.process.stdin is not None
        assert courier.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            courier.process.stdin.write(line)
        found = b""
        while not found.endswith(b"\n"):
            if self._closed or is_stopped():
                raise CourierFailed("stopped", "the transfer was stopped")
            left = end - time.monotonic()
            if left <= 0:
                raise CourierFailed("late", "the transfer took too long")
            if select.select([courier.process.stdout], [], [], min(left, LOOK))[0]:
                chunk = courier.process.stdout.read(65536)
                if not chunk:
                    return None
                found += chunk
        return found

    def _take(self) -> _Courier:
        with self.lock:
            if self._closed:
                raise CourierFailed("stopped", "the pilot is leaving")
            if self._spare:
                return self._spare.pop()
            courier = _Courier(self._make_environ())
            self._pids.add(courier.process.pid)
            return courier

    def _give_back(self, courier: _Courier) -> None:
        courier.used = True
        with self.lock:
            if not self._closed and len(self._spare) < SPARE:
                self._spare.append(courier)
                return
        self._drop(courier)

    def _drop(self, courier: _Courier) -> None:
        courier.end()
        self._pids.discard(courier.process.pid)
