"""Waiting calls: who holds a long poll, and who is woken when there is something to say.

A waiting call keeps no database connection. It subscribes first, then looks, then waits, so that nothing that
happens between the look and the wait is missed. A change that makes work for a waiting call takes the call's look
into its own transaction (`Hub.take`): what the call is answered with is then committed with the change.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p3s.engine.matching import find_mismatches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from p3s.engine.matching import Offer, Requirement
    from p3s.server.usecases.changes import Part

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
    look : Part
        The call's look for news, which a transaction of another may make in its place.
    answer : object
        What such a look found, after its commit; None if there was none.
    """

    pilot_id: int
    offer: Offer | None
    look: Part
    answer: Any = None
    #: Set when there may be something to say.
    bell: threading.Event = field(default_factory=threading.Event)
    #: Set when a newer call of the pilot, or the server's end, takes the wait's place.
    over: bool = False
    #: Whether the call sleeps, so that another may look in its place.
    resting: bool = False
    #: Whether another does so now; that one rings in the end, whatever happens.
    taken: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
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
        with self._lock:
            self.resting = True
        rung = self.bell.wait(seconds)
        with self._lock:
            self.resting = False
            taken = self.taken
        if taken:
            # What is being committed for this call is its answer, also when its time is over.
            rung = self.bell.wait()
        self.bell.clear()
        return rung

    def take(self) -> bool:
        """Look in place of the call, if it sleeps; `deliver` has to follow."""
        with self._lock:
            if not self.resting or self.taken or self.over or self.bell.is_set():
                return False
            self.taken = True
            return True

    def deliver(self, answer: Any) -> None:
        """Ring a call that was taken; with None it looks for itself."""
        with self._lock:
            self.taken = False
            self.answer = answer
            self.bell.set()


class Hub:
    """The held calls of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[int, Waiter] = {}
        self._closed = False

    @contextmanager
    def subscribe(self, pilot_id: int, offer: Offer | None, look: Part) -> Iterator[Waiter]:
        """Hold a call; an older one of the same pilot ends."""
        waiter = Waiter(pilot_id, offer, look)
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

    def take(
        self, released: Mapping[int, int], requirements: Mapping[int, Requirement], most: int
    ) -> tuple[list[Waiter], dict[int, int]]:
        """Take sleeping calls for jobs that the open transaction makes claimable.

        Parameters
        ----------
        released : mapping of int to int
            Number of jobs by requirement.
        requirements : mapping of int to Requirement
            Those known; jobs of others are left.
        most : int
            So many calls at most.

        Returns
        -------
        list of Waiter
            Each has to be answered by `Waiter.deliver`.
        dict of int to int
            The jobs that are left for others.
        """
        known = {ident: count for ident, count in released.items() if ident in requirements}
        taken: list[Waiter] = []
        left = dict(released)
        with self._lock:
            for waiter, wanted in self._choose(known, requirements):
                if len(taken) == most:
                    break
                if waiter.take():
                    taken.append(waiter)
                    left[wanted] -= 1
        return taken, {ident: count for ident, count in left.items() if count > 0}

    def wake(self, released: Mapping[int, int], requirements: Mapping[int, Requirement]) -> None:
        """Ring as many claiming calls as there are jobs: those that have waited longest and fit.

        Parameters
        ----------
        released : mapping of int to int
            Number of jobs by requirement.
        requirements : mapping of int to Requirement
            At least those of `released`.
        """
        with self._lock:
            for waiter, _ in self._choose(dict(released), requirements):
                waiter.bell.set()

    def _choose(self, left: dict[int, int], requirements: Mapping[int, Requirement]) -> Iterator[tuple[Waiter, int]]:
        """Yield as many calls as there are jobs, each with the requirement that it fits."""
        for waiter in self._waiters.values():
            if not left:
                return
            if waiter.bell.is_set() or waiter.taken:
                continue
            wanted = next((ident for ident in left if waiter.fits(ident, requirements[ident])), None)
            if wanted is not None:
                yield waiter, wanted
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
