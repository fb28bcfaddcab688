"""Bodies of numbers: what can be plotted against params and time."""

from __future__ import annotations

from p3s.wire.base import Reply


class NumberView(Reply):
    """The numbers of one JSON result, with the params and the start of its workflow."""

    workflow: str
    version: int
    created: float
    params: dict[str, str]
    result: str
    numbers: dict[str, float]


class NumberList(Reply):
    """A page of results with numbers, newest first; `next` asks for the page after it."""

    items: list[NumberView]
    next: str | None = None
