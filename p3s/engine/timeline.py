"""What a timeline shows of work that ran: rows for what overlapped, and the chain that decided when it ended."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["assign_rows", "find_critical_path"]

Job = TypeVar("Job")


def find_critical_path(ends: Mapping[Job, float], parents: Mapping[Job, Iterable[Job]]) -> list[Job]:
    """Return the chain of jobs that decided when the last of them ended, from first to last.

    Before each job of it stands that one of its parents that ended last: had it ended sooner, so could the whole.

    Parameters
    ----------
    ends : mapping of job to float
        When each ended, in seconds; what has not ended is left out.
    parents : mapping of job to iterable of jobs
        What each had to wait for.

    Returns
    -------
    list of jobs
        Empty if nothing has ended.

    Examples
    --------
    >>> find_critical_path({"a": 1.0, "b": 5.0, "c": 2.0, "d": 7.0}, {"c": ["a"], "d": ["b", "c"]})
    ['b', 'd']
    """
    path: list[Job] = []
    found = max(ends, key=lambda job: ends[job], default=None)
    while found is not None:
        path.append(found)
        before = [job for job in parents.get(found, ()) if job in ends]
        found = max(before, key=lambda job: ends[job], default=None)
    return path[::-1]


def assign_rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return a row for each span so that those of one row do not overlap, with as few rows as there are at once.

    Parameters
    ----------
    spans : sequence of (float, float)
        Start and end in seconds, in the order of their starts.

    Returns
    -------
    list of int
        Rows from 0.

    Examples
    --------
    >>> assign_rows([(0, 4), (1, 2), (3, 5), (4, 6)])
    [0, 1, 1, 0]
    """
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    rows = []
    for start, end in spans:
        while taken and taken[0][0] <= start:
            heappush(free, heappop(taken)[1])
        row = heappop(free) if free else len(taken)
        heappush(taken, (end, row))
        rows.append(row)
    return rows
