"""Whether something gets better or worse."""

from __future__ import annotations

from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Trend", "find_trend"]

#: Values below which nothing is said.
FEW = 8
#: Share by which a value must have changed to say so.
SHARE = 0.25


class Trend(StrEnum):
    """How values of which less is better change."""

    BETTER = "better"
    STEADY = "steady"
    WORSE = "worse"


def find_trend(values: Sequence[float], least: float) -> tuple[Trend, float, float] | None:
    """Return how values change, with the medians of their first and their last quarter.

    Parameters
    ----------
    values : sequence of float
        Measured one after the other; less is better.
    least : float
        Difference, in their unit, below which a change is none.

    Returns
    -------
    tuple or None
        None if there are too few values.

    Examples
    --------
    >>> find_trend([2, 3, 2, 2, 30, 60, 90, 120], 5.0)
    (<Trend.WORSE: 'worse'>, 2.5, 105.0)
    >>> find_trend([120, 90, 60, 30, 2, 2, 3, 2], 5.0)[0].value, find_trend([2.0] * 8, 5.0)[0].value
    ('better', 'steady')
    >>> find_trend([1], 5.0) is None
    True
    """
    if len(values) < FEW:
        return None
    quarter = len(values) // 4
    before, after = float(median(values[:quarter])), float(median(values[-quarter:]))
    change = after - before
    if abs(change) < max(least, SHARE * max(before, after)):
        return Trend.STEADY, before, after
    return (Trend.WORSE if change > 0 else Trend.BETTER), before, after
