"""Files that arrived and services, as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.fates import Fate
from p3s.errors import NotFound
from p3s.server.db import split_batches
from p3s.server.models import archive, arrival, dataset, service, workflow
from p3s.server.queries.windows import find_floor
from p3s.wire import ArrivalList, ArrivalView, ServiceList, ServiceView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "count_fates",
    "count_services",
    "explain_place",
    "find_service_state",
    "list_arrivals",
    "list_services",
    "view_arrivals",
    "view_known",
]

#: A service is silent after so many of its own periods, and not before `LEAST_SILENCE` seconds.
PERIODS = 3
LEAST_SILENCE = 30.0


def view_arrivals(connection: sa.Connection, ids: Sequence[int]) -> list[ArrivalView]:
    """Return these files, in this order."""
    found: dict[int, ArrivalView] = {}
    for batch in split_batches(sorted(set(ids))):
        found |= {row.id: _view(row) for row in connection.execute(_select().where(arrival.c.id.in_(batch)))}
    return [found[ident] for ident in ids]


def view_known(connection: sa.Connection, name: str, rule: str, places: Sequence[str]) -> list[ArrivalView]:
    """Return what is known of files; nothing of those that were never seen."""
    found: list[ArrivalView] = []
    for batch in split_batches(places):
        mine = sa.and_(service.c.name == name, arrival.c.rule == rule, arrival.c.place.in_(batch))
        found += [_view(row) for row in connection.execute(_select().where(mine).order_by(arrival.c.id))]
    return found


def list_arrivals(
    connection: sa.Connection,
    *,
    name: str | None,
    rule: str | None,
    fate: str | None,
    place: str | None,
    limit: int,
    cursor: str | None,
    window: int | None = None,
) -> ArrivalList:
    """Return a page of files seen, newest first; with a `window` it may be short and still have a cursor."""
    statement = _select().order_by(arrival.c.id.desc()).limit(limit + 1)
    floor = find_floor(connection, arrival, cursor, window)
    if floor:
        statement = statement.where(arrival.c.id >= floor)
    wanted = ((service.c.name, name), (arrival.c.rule, rule), (arrival.c.fate, fate), (arrival.c.place, place))
    for column, value in wanted:
        if value:
            statement = statement.where(column == value)
    if cursor:
        statement = statement.where(arrival.c.id < int(cursor))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else str(floor) if floor else None
    return ArrivalList(items=[_view(row) for row in rows[:limit]], next=more)


def count_fates(connection: sa.Connection) -> dict[int, dict[str, int]]:
    """Return for each service, by its number, how many of its files have each fate."""
    counts: dict[int, dict[str, int]] = {}
    fates = sa.select(arrival.c.service_id, arrival.c.fate, sa.func.count().label("number"))
    for row in connection.execute(fates.group_by(arrival.c.service_id, arrival.c.fate).order_by(arrival.c.fate)):
        counts.setdefault(row.service_id, {})[row.fate] = row.number
    return counts


def list_services(connection: sa.Connection, now: float, fates: Mapping[int, Mapping[str, int]]) -> ServiceList:
    """Return all services with their files by fate, as `count_fates` counted them."""
    rows = connection.execute(sa.select(service).order_by(service.c.name))
    return ServiceList(
        items=[
            ServiceView(
                name=row.name,
                kind=row.kind,
                owner=row.owner,
                state=find_service_state(row, now),
                host=row.host,
                pid=row.pid,
                seen=row.seen,
                last=row.last,
                last_at=row.last_at,
                fates=dict(fates.get(row.id, {})),
            )
            for row in rows
        ]
    )


def count_services(connection: sa.Connection, now: float) -> dict[str, int]:
    """Return how many services are alive, silent and stopped."""
    counts: dict[str, int] = {}
    for row in connection.execute(sa.select(service)):
        state = find_service_state(row, now)
        counts[state] = counts.get(state, 0) + 1
    return dict(sorted(counts.items()))


def find_service_state(row: Any, now: float) -> str:
    """Return ``alive``, ``silent`` or ``stopped``; `row` is of ``service``."""
    if row.stopped:
        return "stopped"
    return "silent" if now - row.seen > max(LEAST_SILENCE, PERIODS * row.period) else "alive"


def explain_place(connection: sa.Connection, place: str, now: float) -> tuple[str, str, str]:
    """Return the uuid and the state of a file by its path, and in a sentence what became of it.

    Raises
    ------
    NotFound
        If neither an injector has seen it nor is it a dataset.
    """
    rows = connection.execute(_select().where(arrival.c.place == place).order_by(arrival.c.id.desc()).limit(3)).all()
    if rows:
        return rows[0].uuid, rows[0].fate, " ".join(_explain(row, now) for row in rows)
    found = connection.execute(
        sa.select(dataset).where(dataset.c.place == place).order_by(dataset.c.id.desc()).limit(1)
    ).one_or_none()
    if found is None:
        raise NotFound("file", place, "no injector has seen it and no dataset is there; `p3s inject list` shows files")
    return found.uuid, found.state, f"It is dataset {found.key} ({found.uuid[:8]}), which is {found.state}."


#: What is said of a file by its fate, but for `started`; `by` says who found it and when, `detail` why.
_SENTENCES: dict[Fate, str] = {
    Fate.GROWING: "It was still growing when it was last looked at {by}{detail}.",
    Fate.TOO_SMALL: "It is too small, as found {by}{detail}.",
    Fate.WAITING: "It is good and waits, as found {by}{detail}.",
    Fate.STARTING: "It is being started {by}, as workflow {workflow}.",
    Fate.DUPLICATE: "It is a duplicate and was not started, as found {by}{detail}.",
    Fate.SAMPLED_OUT: "It was left out of the sample {by}{detail}.",
    Fate.DROPPED: "It was dropped {by}{detail}.",
    Fate.FAILED: ("It could not be started {by}{detail}; `p3s inject run RULES --match NAME --again` tries once more."),
    Fate.GONE: "It went away before it was started, as found {by}{detail}.",
}


def _explain(row: Any, now: float) -> str:
    """Return in one sentence what became of a file."""
    detail = f": {row.message}" if row.message else ""
    by = f"by rule {row.rule} of injector {row.service}, {max(0, round(now - row.decided))} s ago"
    short = (row.workflow or "")[:8]
    if row.fate != Fate.STARTED:
        return _SENTENCES[Fate(row.fate)].format(by=by, detail=detail, workflow=short)
    what = f"workflow {row.workflow_name} ({short})" if row.workflow_name else short
    became = f"which is {row.workflow_state}" if row.workflow_state else "which has been deleted since"
    return f"It was started {by}, as {what}, {became}."


def _select() -> sa.Select[Any]:
    return (
        sa.select(
            arrival,
            service.c.name.label("service"),
            sa.func.coalesce(workflow.c.state, archive.c.state).label("workflow_state"),
            sa.func.coalesce(workflow.c.name, archive.c.name).label("workflow_name"),
        )
        .join(service, service.c.id == arrival.c.service_id)
        .outerjoin(workflow, workflow.c.uuid == arrival.c.workflow)
        .outerjoin(archive, archive.c.uuid == arrival.c.workflow)
    )


def _view(row: Any) -> ArrivalView:
    return ArrivalView(
        uuid=row.uuid,
        service=row.service,
        rule=row.rule,
        place=row.place,
        stamp=row.stamp,
        size=row.size,
        identity=row.identity,
        fate=row.fate,
        message=row.message,
        workflow=row.workflow,
        workflow_state=row.workflow_state,
        arrived=row.arrived,
        decided=row.decided,
    )
