"""Routes of the event log."""

from __future__ import annotations

import re

from p3s.errors import BadInput, Problem
from p3s.server.api.frame import caller, core, endpoint, read_limit, read_text
from p3s.server.queries.archive import find_archived, list_archived_events
from p3s.server.queries.events import list_events as query_events
from p3s.wire import EventList, ReportBody


@endpoint("GET", "/events", gives=EventList)
def list_events() -> EventList:
    """List the newest events, or those after a place."""
    after = read_text("after")
    if after is not None and not re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", after):
        raise BadInput([Problem(f"'{after}' is no place in the log; give what `next` said", where="after")])
    place = (int(after.split("-")[0]), int(after.split("-")[1])) if after else None
    noun, thing = read_text("noun"), read_text("thing")
    with core().db.read() as connection:
        found = query_events(connection, after=place, noun=noun, thing=thing, limit=read_limit())
        if after is None and thing is not None:
            it = find_archived(connection, "workflow", thing) or find_archived(connection, "job", thing)
            if it is not None:
                kept = list_archived_events(connection, it, noun=noun, limit=read_limit()).items
                return EventList(items=[*kept, *found.items][-read_limit() :], next=found.next)
        return found


@endpoint("POST", "/events", takes=ReportBody, gives=EventList)
def report_event(body: ReportBody) -> EventList:
    """Add what happened outside to the log."""
    cause = f"{body.message} (reported by {caller().name})"
    core().change(cause, lambda ledger: ledger.note("report", body.name, "report"))
    with core().db.read() as connection:
        return query_events(connection, after=None, noun="report", thing=body.name, limit=1)
