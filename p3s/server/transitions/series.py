"""Adds the event log up into minutes, a little at a time, so that plots never count a large table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import JobState, Signal
from p3s.server.db import cut_minutes, find_open_transaction
from p3s.server.models import event, job, meta, minute, workflow

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger

__all__ = ["PLACE", "add_up"]

#: Seconds for which minutes are kept.
KEPT = 8 * 86400
#: Workflows past their deadline that are counted at most.
MOST_LATE = 10_000
#: The key of `meta` under which stands how far the log was added up, and how many jobs were ready to run there.
PLACE = "series"
#: After all numbers of rows.
_LAST = 2**62


def add_up(ledger: Ledger) -> None:
    """Add what the event log has got since last time to its minutes.

    Events of transactions that are still open are waited for, as those who follow the log do.
    """
    connection = ledger.connection
    stored = connection.scalar(sa.select(meta.c.value).where(meta.c.key == PLACE))
    end = _find_end(connection)
    if stored is None or tuple(json.loads(stored)[:2]) > end:
        # The first time, or in a database that was moved and numbers its transactions anew.
        connection.execute(sa.delete(meta).where(meta.c.key == PLACE))
        queue = _count_queue(connection, end)
        connection.execute(sa.insert(meta).values(key=PLACE, value=_write(end, queue)))
        _store(connection, int(ledger.now) // 60 * 60, {}, queue, _measure_lateness(connection, ledger.now))
        return
    tx, ident, queue = json.loads(stored)
    rows = connection.execute(_sum_events(connection, (tx, ident), end)).all()
    now = int(ledger.now) // 60 * 60
    is_new = connection.scalar(sa.select(minute.c.at).where(minute.c.at == now)) is None
    if not rows and not is_new:
        return
    for row in rows:
        queue += row.queued
        _store(connection, row.at, {name: getattr(row, name) for name in ("started", "finished", "failed")}, queue)
    _store(connection, now, {}, queue, _measure_lateness(connection, ledger.now))
    connection.execute(sa.update(meta).where(meta.c.key == PLACE).values(value=_write(end, queue)))
    if is_new:
        connection.execute(sa.delete(minute).where(minute.c.at < ledger.now - KEPT))


def _find_end(connection: sa.Connection) -> tuple[int, int]:
    """Return the place in the log before which nothing will be added any more."""
    barrier = find_open_transaction(connection)
    if barrier is not None:
        return barrier - 1, _LAST
    # One writer at a time, this one: the newest row is the end.
    return 0, connection.scalar(sa.select(sa.func.max(event.c.id))) or 0


def _sum_events(connection: sa.Connection, start: tuple[int, int], end: tuple[int, int]) -> sa.Executable:
    place = sa.tuple_(event.c.tx, event.c.id)
    at = cut_minutes(connection, event.c.at).label("at")
    return (
        sa.select(
            at,
            _count(event.c.signal == Signal.BEGIN).label("started"),
            _count(event.c.after == JobState.FINISHED).label("finished"),
            _count(event.c.after == JobState.FAILED).label("failed"),
            _sum_queued().label("queued"),
        )
        .where(
            place > sa.tuple_(*map(sa.literal, start)),
            place <= sa.tuple_(*map(sa.literal, end)),
            event.c.noun == "job",
            # What is noted of a job without moving it is no start and no end.
            event.c.before != event.c.after,
        )
        .group_by(at)
        .order_by(at)
    )


def _sum_queued() -> sa.ColumnElement[int]:
    return _count(event.c.after == JobState.DEFINED) - _count(event.c.before == JobState.DEFINED)


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _count_queue(connection: sa.Connection, end: tuple[int, int]) -> int:
    """Return how many jobs were ready to run at a place in the log; in one statement, so that both parts fit."""
    there = sa.select(sa.func.count()).where(job.c.state == JobState.DEFINED).scalar_subquery()
    later = (
        sa.select(_sum_queued())
        .where(sa.tuple_(event.c.tx, event.c.id) > sa.tuple_(*map(sa.literal, end)), event.c.noun == "job")
        .scalar_subquery()
    )
    return int(connection.scalar(sa.select(there - later)) or 0)


def _measure_lateness(connection: sa.Connection, now: float) -> dict[str, float]:
    """Return how long the oldest job that may be claimed has waited, and how many workflows run past their deadline."""
    first = sa.select(job.c.released).where(job.c.state == JobState.DEFINED).order_by(job.c.id).limit(1)
    released = connection.scalar(first)
    late = sa.select(workflow.c.id).where(workflow.c.state == sa.literal_column("'running'"), workflow.c.late.is_(True))
    number = connection.scalar(sa.select(sa.func.count()).select_from(late.limit(MOST_LATE).subquery()))
    return {"wait": 0.0 if released is None else max(0.0, now - released), "late": number or 0}


def _store(
    connection: sa.Connection, at: int, counts: dict[str, int], queue: int, levels: dict[str, float] | None = None
) -> None:
    more: dict[str, Any] = {name: minute.c[name] + number for name, number in counts.items()} | (levels or {})
    found = connection.execute(sa.update(minute).where(minute.c.at == at).values(queue=queue, **more))
    if found.rowcount == 0:
        none = {"started": 0, "finished": 0, "failed": 0}
        connection.execute(sa.insert(minute).values(at=at, queue=queue, **(none | counts | (levels or {}))))


def _write(end: tuple[int, int], queue: int) -> str:
    return json.dumps([*end, queue])
