"""Pilots as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import AttemptState, PilotState
from p3s.server.models import attempt, host, pilot
from p3s.wire import HostList, HostView, PilotList, PilotView

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LIVE", "list_hosts", "list_pilots", "view_pilot"]

#: States of a pilot that may still be heard.
LIVE = (PilotState.ACTIVE, PilotState.IDLE, PilotState.RUNNING, PilotState.DRAINING)


def view_pilot(connection: sa.Connection, ident: int, now: float) -> PilotView:
    """Return one pilot."""
    row = connection.execute(sa.select(pilot).where(pilot.c.id == ident)).one()
    return _view(row, _count_open(connection, [ident]), now)


def list_pilots(
    connection: sa.Connection, *, state: str | None, live: bool, limit: int, cursor: str | None, now: float
) -> PilotList:
    """Return a page of pilots, newest first."""
    statement = sa.select(pilot).order_by(pilot.c.id.desc()).limit(limit + 1)
    if state:
        statement = statement.where(pilot.c.state == state)
    if live:
        statement = statement.where(pilot.c.state.in_(LIVE))
    if cursor:
        statement = statement.where(pilot.c.id < int(cursor))
    rows = connection.execute(statement).all()
    busy = _count_open(connection, [row.id for row in rows[:limit]])
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return PilotList(items=[_view(row, busy, now) for row in rows[:limit]], next=more)


def list_hosts(connection: sa.Connection) -> HostList:
    """Return the hosts with live pilots and those that are banned, by name."""
    live = connection.execute(
        sa.select(pilot.c.host, sa.func.count().label("number")).where(pilot.c.state.in_(LIVE)).group_by(pilot.c.host)
    )
    pilots = {row.host: row.number for row in live}
    said = {row.name: row for row in connection.execute(sa.select(host))}
    names = sorted(pilots.keys() | {name for name, row in said.items() if row.banned})
    return HostList(
        items=[
            HostView(
                name=name,
                banned=name in said and said[name].banned,
                reason=said[name].reason if name in said else "",
                burnt=len(said[name].burnt) if name in said else 0,
                pilots=pilots.get(name, 0),
            )
            for name in names
        ]
    )


def _count_open(connection: sa.Connection, ids: Sequence[int]) -> dict[int, int]:
    opened = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)
    rows = connection.execute(
        sa.select(attempt.c.pilot_id, sa.func.count().label("number"))
        .where(attempt.c.pilot_id.in_(ids), attempt.c.state.in_(opened))
        .group_by(attempt.c.pilot_id)
    )
    return {row.pilot_id: row.number for row in rows}


def _view(row: Any, busy: dict[int, int], now: float) -> PilotView:
    return PilotView(
        uuid=row.uuid,
        name=row.name,
        site=row.site,
        host=row.host,
        pid=row.pid,
        version=row.version,
        state=row.state,
        status=row.status,
        slots=row.slots,
        busy=busy.get(row.id, 0),
        cpus=row.cpus,
        memory=row.memory,
        labels=row.labels,
        accepts=row.accepts,
        lifetime=row.lifetime,
        age=max(0.0, now - row.seen),
        created=row.created,
        done=row.done,
        failed=row.failed,
        reason=row.reason,
    )
