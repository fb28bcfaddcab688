"""Bodies of the event log."""

from __future__ import annotations

from pydantic import Field

from p3s.wire.base import Reply, Request
from p3s.wire.views import EventView


class ReportBody(Request):
    """Something that happened outside; `name` says what it is about."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=36)
    message: str = Field(min_length=1, max_length=4000)


class EventList(Reply):
    """Events in the order in which they became final; `next` is where those that come later begin."""

    items: list[EventView]
    next: str
