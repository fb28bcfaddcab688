"""Jobs that a pilot claims before it has room for them, as long as its jobs are short. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p3s.wire import JobOrder

__all__ = ["SHORT", "WAIT", "Ahead"]

#: Seconds that a job takes at most, from its launch to its report, to count as short.
SHORT = 0.1
#: Seconds for which reports are gathered while other jobs wait: as long as a call takes, but within these bounds.
SHORTEST, LONGEST = 0.01, 0.05
#: Successes, and calls with reports, that are looked back upon.
REMEMBERED = 8
#: Jobs that wait for each slot at most.
MOST = 8
#: Seconds after which a job that got no slot is handed back.
WAIT = 1.0


class Ahead:
    """How long jobs and calls took lately, and the jobs that wait for a slot.

    Attributes
    ----------
    waiting : dict
        By attempt its order, and when it came; the oldest first.
    rate : float
        Jobs that a slot ends in a second; 0 where jobs are not known to be short.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[JobOrder, float]] = {}
        self.rate = 0.0
        self._call = 0.0
        self._runs: deque[float] = deque(maxlen=REMEMBERED)
        self._calls: deque[float] = deque(maxlen=REMEMBERED)

    def note_run(self, seconds: float) -> None:
        """Take in how long a job took that succeeded."""
        self._runs.append(seconds)
        self._weigh()

    def note_call(self, seconds: float) -> None:
        """Take in how long a call with reports took."""
        self._calls.append(seconds)
        self._weigh()

    def forget(self) -> None:
        """Begin anew, because something went otherwise than with the jobs before."""
        self._runs.clear()
        self._weigh()

    @property
    def gather(self) -> float:
        """Seconds for which reports are gathered: at least half of the time no call is under way."""
        return max(self._call, SHORTEST)

    def count_needed(self, slots: int) -> int:
        """Return how many jobs the slots end while one call is under way.

        Parameters
        ----------
        slots : int
            Those that are free, or have been taken for less than `SHORT` seconds.

        Examples
        --------
        >>> ahead = Ahead()
        >>> for _ in range(REMEMBERED):
        ...     ahead.note_run(0.002)
        ...     ahead.note_call(0.005)
        >>> ahead.count_needed(2)
        5
        """
        return min(math.ceil(slots * self.rate * self._call), slots * MOST // 2)

    def count_wanted(self, slots: int) -> int:
        """Return how many more jobs to ask for: for this call, a time of gathering, and the call after it."""
        enough = min(math.ceil(slots * self.rate * (2 * self._call + self.gather)), slots * MOST)
        return max(enough - len(self.waiting), 0) if self.rate else 0

    def take_overdue(self, now: float, lease_end: float) -> list[JobOrder]:
        """Return, and let go of, what has waited too long: nobody else can run it meanwhile.

        Parameters
        ----------
        now : float
            The time.
        lease_end : float
            When the server may begin to hand out exclusive jobs anew.
        """
        overdue = [
            order
            for order, since in self.waiting.values()
            if now >= since + WAIT or (order.exclusive and now >= lease_end)
        ]
        for order in overdue:
            del self.waiting[order.attempt]
        return overdue

    def find_next_time(self, lease_end: float) -> float:
        """Return when `take_overdue` has something to return; infinity for never."""
        ends = (min(since + WAIT, lease_end if order.exclusive else math.inf) for order, since in self.waiting.values())
        return min(ends, default=math.inf)

    def _weigh(self) -> None:
        if len(self._runs) < REMEMBERED or not self._calls:
            self.rate = 0.0
            return
        run, call = (sorted(times)[len(times) // 2] for times in (self._runs, self._calls))
        # Where calls take longer than that, what waits would wait too long.
        self._call = min(call, LONGEST)
        self.rate = 1 / max(run, 0.0001) if run <= SHORT else 0.0
