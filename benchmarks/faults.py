"""What must not happen, counted from the server's own log of events after each case of p3s."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p3s.engine.states import JobState, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from p3s.client import Client
    from p3s.wire import EventView

__all__ = ["Faults", "count_faults", "find_faults"]

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Faults:
    """Jobs that never finished, that were accepted more than once, and that were given out before a parent's end."""

    lost: int
    twice: int
    early: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.lost + self.twice + self.early


def count_faults(client: Client, jobs: Mapping[str, str], parents: Mapping[str, Sequence[str]] | None = None) -> Faults:
    """Return what went wrong with jobs, by the events that the server committed.

    Parameters
    ----------
    client : Client
        Of the server.
    jobs : mapping of str to str
        Names by uuid, of all that were submitted.
    parents : mapping of str to sequence of str, optional
        For the name of a job those of the jobs that it needs.
    """
    return find_faults(_read_events(client), jobs, parents or {})


def find_faults(events: Iterable[EventView], jobs: Mapping[str, str], parents: Mapping[str, Sequence[str]]) -> Faults:
    """Return what a log of events says of jobs; it is in the order of commits.

    Examples
    --------
    >>> from p3s.wire import EventView
    >>> claim, end = ("claim", "dispatched"), ("succeed", "finished")
    >>> log = [("a", *claim), ("b", *claim), ("a", *end), ("a", *end)]
    >>> events = [EventView(at=0, noun="job", uuid=u, signal=s, after=after) for u, s, after in log]
    >>> find_faults(events, {"a": "first", "b": "second"}, {"second": ["first"]})
    Faults(lost=1, twice=1, early=1)
    """
    ends: Counter[str] = Counter()
    done: set[str] = set()
    early: set[str] = set()
    for event in events:
        if event.noun != "job" or event.uuid not in jobs:
            continue
        name = jobs[event.uuid]
        if event.signal == Signal.CLAIM and not done.issuperset(parents.get(name, ())):
            early.add(event.uuid)
        if event.after == JobState.FINISHED:
            ends[event.uuid] += 1
            done.add(name)
    return Faults(
        lost=sum(not ends[uuid] for uuid in jobs),
        twice=sum(count > 1 for count in ends.values()),
        early=len(early),
    )


def _read_events(client: Client) -> Iterator[EventView]:
    place = "0-0"
    while True:
        page = client.list_events(after=place, noun="job", limit=PAGE)
        if not page.items:
            return
        yield from page.items
        place = page.next
