"""The clock, in one place, so that a test can turn it."""

from __future__ import annotations

import time

__all__ = ["read_clock"]


def read_clock() -> float:
    """Return the seconds since 1970-01-01 UTC."""
    return time.time()  # noqa: TID251 - the one place that reads the clock
