"""How often one caller may do a thing: a bucket of tries that fills again with time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from p3s.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SUBMISSIONS", "Limiter"]

#: Routes that count as a submission.
SUBMISSIONS = frozenset({"api.load_workflow", "api.create_jobs", "api.register_dataset", "api.create_token"})
#: Callers remembered at a time; full buckets are forgotten first, because they say nothing.
CALLERS = 10_000


class Limiter:
    """Buckets by caller, of this process.

    Parameters
    ----------
    what : str
        What is counted, for the message.
    per_minute : int
        How often a caller may, at once or spread over a minute; 0 for no limit.
    clock : callable
        Returns seconds; a test gives its own.
    """

    def __init__(self, what: str, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._size, self._clock = what, per_minute, clock
        self._lock = threading.Lock()
        #: By caller: what is left, and when that was so.
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count one try.

        Raises
        ------
        TooMany
            If the bucket is empty; it says when the next try is free.
        """
        if not self._size:
            return
        now, rate = self._clock(), self._size / 60.0
        with self._lock:
            left = self._fill(caller, now)
            if left >= 1.0:
                self._left[caller] = (left - 1.0, now)
                if len(self._left) > CALLERS:
                    self._forget_full(now)
                return
        wait = (1.0 - left) / rate
        raise TooMany(f"more than {self._size} {self._what} in a minute; try again in {wait:.0f} s", wait)

    def _fill(self, caller: str, now: float) -> float:
        left, then = self._left.get(caller, (float(self._size), now))
        return min(float(self._size), left + (now - then) * self._size / 60.0)

    def _forget_full(self, now: float) -> None:
        kept = {caller: (self._fill(caller, now), now) for caller in self._left}
        ordered = sorted(kept.items(), key=lambda item: item[1][0])
        self._left = dict(ordered[: CALLERS // 2])
