"""The event log: a page of it, and what came after a place in it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from p3s.server.db import find_open_transaction
from p3s.server.models import event
from p3s.wire import EventList, EventView

__all__ = ["list_events"]


def list_events(
    connection: sa.Connection, *, after: tuple[int, int] | None, noun: str | None, thing: str | None, limit: int
) -> EventList:
    """Return the newest events, or those after a place; either in the order in which they became final.

    Nothing is read beyond the oldest transaction that is still open: an event of it would come before what was read,
    and whoever goes on from there would miss it.
    """
    order = (event.c.tx, event.c.id)
    statement = sa.select(event)
    barrier = find_open_transaction(connection)
    if barrier is not None:
        statement = statement.where(event.c.tx < barrier)
    if noun:
        statement = statement.where(event.c.noun == noun)
    if thing:
        statement = statement.where(event.c.uuid >= thing, event.c.uuid < thing + "~")
    if after is not None:
        later = statement.where(sa.tuple_(*order) > sa.tuple_(*map(sa.literal, after)))
        rows = list(connection.execute(later.order_by(*order).limit(limit)))
    else:
        newest = statement.order_by(*(column.desc() for column in order)).limit(limit)
        rows = list(connection.execute(newest))[::-1]
    tx, ident = (rows[-1].tx, rows[-1].id) if rows else after or (0, 0)
    return EventList(items=[_view(row) for row in rows], next=f"{tx}-{ident}")


def _view(row: Any) -> EventView:
    return EventView(
        at=row.at,
        noun=row.noun,
        uuid=row.uuid,
        signal=row.signal,
        before=row.before,
        after=row.after,
        cause=row.cause,
    )
