"""How many there are of each kind: counted anew while that is cheap, else now and then by the sweeper."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p3s.clock import read_clock
from p3s.server.queries.arrivals import count_fates
from p3s.server.queries.system import count_jobs, count_states, find_oldest_ready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.server.db import Database

__all__ = ["CHEAP", "Counter", "Counts"]

#: Seconds of counting that a request may take upon itself.
CHEAP = 0.05
#: Counting takes at most this share of the sweeper's time.
SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted.

    Attributes
    ----------
    at : float
        When, in seconds since 1970.
    nouns : mapping
        For jobs, workflows, pilots and datasets, how many are in each state.
    jobtypes : mapping
        For each jobtype, how many of its jobs are in each state.
    fates : mapping
        For each service, by its number, how many of its files have each fate.
    ready_since : float or None
        When that job became ready that has been ready for longest.
    """

    at: float
    nouns: Mapping[str, Mapping[str, int]]
    jobtypes: Mapping[str, Mapping[str, int]]
    fates: Mapping[int, Mapping[str, int]]
    ready_since: float | None


class Counter:
    """The counts of a database, as this process knows them.

    No request counts a large table: as soon as counting takes longer than `CHEAP`, requests are given what the
    sweeper counted last, and it counts as often as `SHARE` of its time allows.

    Parameters
    ----------
    db : Database
        What is counted.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._known: Counts | None = None
        self._cost = 0.0
        self._next = 0.0

    def read(self) -> Counts:
        """Return the counts: of now, if that is cheap."""
        known = self._known
        if known is not None and self._cost > CHEAP:
            return known
        return self.count()

    def refresh(self) -> None:
        """Count, if it is time to."""
        if time.monotonic() >= self._next:
            self.count()

    def count(self) -> Counts:
        """Return the counts of now, whatever that takes."""
        with self._lock:
            start = time.monotonic()
            with self._db.read() as connection:
                jobtypes = count_jobs(connection)
                nouns = count_states(connection)
                fates = count_fates(connection)
                ready_since = find_oldest_ready(connection)
            jobs: dict[str, int] = {}
            for states in jobtypes.values():
                for state, number in states.items():
                    jobs[state] = jobs.get(state, 0) + number
            found = Counts(read_clock(), nouns | {"jobs": dict(sorted(jobs.items()))}, jobtypes, fates, ready_since)
            self._known, self._cost = found, time.monotonic() - start
            self._next = start + self._cost / SHARE
            return found
