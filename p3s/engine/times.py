"""When work is due: the key that orders workflows among those of one priority."""

from __future__ import annotations

__all__ = ["compute_due"]

#: A workflow is due after this many times its expected critical path.
SLACK = 2.0


def compute_due(start: float, critical_path: float, deadline: float | None) -> float:
    """Return when a workflow is due.

    Parameters
    ----------
    start : float
        When it started, in seconds since 1970.
    critical_path : float
        Its expected critical path, in seconds.
    deadline : float or None
        Seconds after the start; it only makes the due time earlier.

    Returns
    -------
    float
        Seconds since 1970.

    Examples
    --------
    >>> compute_due(1000.0, 60.0, None), compute_due(1000.0, 60.0, 90.0), compute_due(1000.0, 60.0, 900.0)
    (1120.0, 1090.0, 1120.0)
    """
    expected = start + SLACK * critical_path
    return expected if deadline is None else min(expected, start + deadline)
