"""What p3s wants to reach, case by case; printed beside what was measured."""

from __future__ import annotations

__all__ = ["find_target"]

#: How a case's name begins, its unit, what it must reach, and the dream: SQLite / PostgreSQL where they differ.
_TARGETS = (
    ("latency-95 after 0.15 s", "ms", "20", "-"),
    ("latency after 0.15 s", "ms", "8", "4.5"),
    ("bag-2", "ms/job", "2.0 / 2.8", "1.0 / 1.5"),
    ("bag-8", "ms/job", "1.2 / 1.5", "0.7 / 0.9"),
    ("chain", "ms/job", "3.0 / 4.3", "2.2 / 3.0"),
    ("fan", "ms/job", "2.5", "1.2"),
    ("claims", "x", "1.3", "1.05"),
    ("load: largest process", "MB", "1,000 for 100,000 jobs", "500"),
    ("load", "s", "60 for 100,000 jobs", "15"),
    ("start-up: p3s", "s", "0.25", "0.12"),
    ("start-up: pilot, until", "s", "0.5", "0.2"),
    ("start-up: pilot with", "MB", "60", "30"),
    ("submit", "jobs/s", "5,000", "20,000"),
    ("finish", "results/s", "500", "1,500"),
    ("99 % of requests beside 2000", "ms", "50", "50 beside 10,000"),
    ("wake-up of one of 2000", "ms", "20", "5"),
    ("CPU of a server with 2000", "% of a core", "10", "2"),
)


def find_target(case: str, unit: str) -> str:
    """Return a line with the target and the dream of a case; empty if it has none.

    Parameters
    ----------
    case, unit : str
        As in `benchmarks.results.Result`.

    Examples
    --------
    >>> find_target("submit", "jobs/s")
    'Target: 5,000; dream: 20,000.'
    """
    for start, kind, target, dream in _TARGETS:
        if case.startswith(start) and unit == kind:
            return f"Target: {target}; dream: {dream}."
    return ""
