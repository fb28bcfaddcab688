"""Waiting calls: who holds a long poll, and who is woken when there is something to say.

A waiting call keeps no database connection. It subscribes first, then looks, then waits, so that nothing that
happens between the look and the wait is missed.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p3s.engine.matching import find_mismatches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from p3s.engine.matching import Offer, Requirement

__all__ = ["Hub", "Waiter"]


@dataclass(eq=False, slots=True)
class Waiter:
    """One held call of a pilot.

    Attributes
    ----------
    pilot_id : int
        Whose call it is.
    offer : Offer or None
        What its claim offers; None for a call that claims nothing.
    """

    pilot_id: int
    offer: Offer | None
    #: Set when there may be something to say.
    bell: threading.Event = field(default_factory=threading.Event)
    #: Set when a newer call of the pilot, or the server's end, takes the wait's place.
    over: bool = False
    _fits: dict[int, bool] = field(default_factory=dict)

    def fits(self, ident: int, requirement: Requirement) -> bool:
        """Return whether the claim meets a requirement, which may be younger than the call."""
        if self.offer is None:
            return False
        if ident not in self._fits:
            self._fits[ident] = not find_mismatches(requirement, self.offer)
        return self._fits[ident]

    def wait(self, seconds: float) -> bool:
        """Wait until rung or `seconds` are over; return whether it was rung."""
        rung = self.bell.wait(seconds)
        self.bell.clear()
        return rung


class Hub:
    """The held calls of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[int, Waiter] = {}
        self._closed = False

    @contextmanager
    def subscribe(self, pilot_id: int, offer: Offer | None) -> Iterator[Waiter]:
        """Hold a call; an older one of the same pilot ends."""
        waiter = Waiter(pilot_id, offer)
        with self._lock:
            self._end(self._waiters.get(pilot_id))
            self._waiters[pilot_id] = waiter
            waiter.over = self._closed
        try:
            yield waiter
        finally:
            with self._lock:
                if self._waiters.get(pilot_id) is waiter:
                    del self._waiters[pilot_id]

    def end_wait(self, pilot_id: int) -> None:
        """Have the held call of a pilot answered now."""
        with self._lock:
            self._end(self._waiters.get(pilot_id))

    def poke(self, pilots: Collection[int]) -> None:
        """Ring the held calls of pilots that the server has something to say to."""
        with self._lock:
            for pilot_id in pilots:
                waiter = self._waiters.get(pilot_id)
                if waiter is not None:
                    waiter.bell.set()

    def wake(self, released: Mapping[int, int], requirements: Mapping[int, Requirement]) -> None:
        """Ring as many claiming calls as there are jobs: those that have waited longest and fit.

        Parameters
        ----------
        released : mapping of int to int
            Number of jobs by requirement.
        requirements : mapping of int to Requirement
            At least those of `released`.
        """
        left = dict(released)
        with self._lock:
            for waiter in self._waiters.values():
                if not left:
                    return
                if waiter.bell.is_set():
                    continue
                wanted = next((ident for ident in left if waiter.fits(ident, requirements[ident])), None)
                if wanted is not None:
                    waiter.bell.set()
                    left[wanted] -= 1
                    if left[wanted] <= 0:
                        del left[wanted]

    def is_wanted(self) -> bool:
        """Return whether some held call claims."""
        with self._lock:
            return any(waiter.offer is not None for waiter in self._waiters.values())

    def count_held(self) -> int:
        """Return how many calls are held."""
        with self._lock:
            return len(self._waiters)

    def close(self) -> None:
        """Answer all held calls, and hold none from now on."""
        with self._lock:
            self._closed = True
            for waiter in self._waiters.values():
                self._end(waiter)

    @staticmethod
    def _end(waiter: Waiter | None) -> None:
        if waiter is not None:
            waiter.over = True
            waiter.bell.set()
