"""A pause of Python's cyclic garbage collector while much is built and nothing is thrown away."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pause_collector"]


@contextmanager
def pause_collector() -> Iterator[None]:
    """Keep the collector off within a ``with`` block or a decorated function.

    It would look at millions of new containers again and again, and none of them is garbage: a graph of a million
    nodes is built three times as fast without it.

    Examples
    --------
    >>> with pause_collector():
    ...     gc.isenabled()
    False
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
