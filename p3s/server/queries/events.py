"""The event log: a page of it, and what came after a place in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from p3s.server.db import find_open_transaction
from p3s.server.models import event
from p3s.wire import EventList, EventView, WhyReply

__all__ = ["explain_gone", "list_events", "list_newest"]

#: Events that one look goes through where no index helps.
WINDOW = 20_000
#: How things go for good, and how that is told.
_ENDS = {"delete": "was deleted", "purge": "was purged from the archive"}


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


def list_newest(
    connection: sa.Connection, *, noun: str | None, thing: str | None, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of events, newest first, and the cursor of the page after it.

    Events of a noun are looked for among `WINDOW` at a time, so that a page may be short and still have a cursor.
    """
    newest = connection.scalar(sa.select(sa.func.max(event.c.id))) or 0
    top = int(cursor) if cursor else newest + 1
    statement = sa.select(event).where(event.c.id < top).order_by(event.c.id.desc()).limit(limit + 1)
    floor = 0
    if thing:
        statement = statement.where(event.c.uuid >= thing, event.c.uuid < thing + "~")
    elif noun:
        floor = max(0, top - WINDOW)
        statement = statement.where(event.c.id >= floor)
    if noun:
        statement = statement.where(event.c.noun == noun)
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else str(floor) if floor else None
    return [dict(row._mapping) for row in rows[:limit]], more  # noqa: SLF001 - the documented way


def explain_gone(connection: sa.Connection, thing: str) -> WhyReply | None:
    """Return what the log says last of an object that is not there any more; None if it does not know it."""
    if len(thing) < 4:
        return None
    mine = sa.and_(event.c.uuid >= thing, event.c.uuid < thing + "~")
    if len(connection.scalars(sa.select(event.c.uuid).where(mine).distinct().limit(2)).all()) != 1:
        return None
    row = connection.execute(sa.select(event).where(mine).order_by(event.c.id.desc()).limit(1)).one()
    if row.signal not in _ENDS:
        return None
    day = datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    was = f", and was {row.before}" if row.before else ""
    sentence = f"It {_ENDS[row.signal]} on {day} ({row.cause}){was}; nothing more is known of it."
    return WhyReply(noun=row.noun, uuid=row.uuid, state="gone", sentence=sentence)


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
