"""Routes of the event log."""

from __future__ import annotations

import re

from p3s.errors import BadInput, Problem
from p3s.server.api.frame import caller, core, endpoint, read_limit, read_text
from p3s.server.queries.events import list_events as query_events
from p3s.wire import EventList, ReportBody


@endpoint("GET", "/events", gives=EventList)
def list_events() -> EventList:
    """List the newest events, or those after a place."""
    after = read_text("after")
    if after is not None and not re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", after):
        raise BadInput([Problem(f"'{after}' is no place in the log; give what `next` said", where="after")])
    place = (int(after.split("-")[0]), int(after.split("-")[1])) if after else None
    with core().db.read() as connection:
        return query_events(
            connection, after=place, noun=read_text("noun"), thing=read_text("thing"), limit=read_limit()
        )


@endpoint("POST", "/events", takes=ReportBody, gives=EventList)
def report_event(body: ReportBody) -> EventList:
    """Add what happened outside to the log."""
    cause = f"{body.message} (reported by {caller().name})"
    core().change(cause, lambda ledger: ledger.note("report", body.name, "report"))
    with core().db.read() as connection:
        return query_events(connection, after=None, noun="report", thing=body.name, limit=1)
