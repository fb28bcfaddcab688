"""What is wrong, in words for people: what has failed since, and what stands as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.notices import Kind, News, Trouble
from p3s.engine.states import FINAL_JOB, FINAL_WORKFLOW, JobState, WorkflowState
from p3s.server.db import find_open_transaction
from p3s.server.models import arrival, event, job, service, site, workflow
from p3s.server.queries.arrivals import find_service_state
from p3s.server.queries.sites import count_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["find_place", "find_silent", "find_thin_sites", "read_news"]

#: Events that one look takes in; the next one goes on from there.
MOST_EVENTS = 1000
#: Names that a sentence spells out.
NAMED = 3
#: Parameters of one statement.
BATCH = 500


def find_place(connection: sa.Connection) -> str:
    """Return the end of the event log: nothing that is read from there on has happened yet."""
    statement = sa.select(event.c.tx, event.c.id).order_by(event.c.tx.desc(), event.c.id.desc()).limit(1)
    row = connection.execute(_below_open(connection, statement)).one_or_none()
    return f"{row.tx}-{row.id}" if row else "0-0"


def read_news(connection: sa.Connection, cursor: str, known: Iterable[Trouble], now: float, *, settled: bool) -> News:
    """Return what happened after a place in the event log, and what stands.

    Parameters
    ----------
    connection : Connection
        A transaction.
    cursor : str
        The place.
    known : iterable of Trouble
        What was noticed before and is not over.
    now : float
        The server's clock.
    settled : bool
        Whether silence may be judged: not soon after the server's own start or stall, when nobody could be heard.
    """
    before = [trouble for trouble in known if trouble.kind is Kind.DEADLINE]
    rows, end = _read_events(connection, cursor)
    begun, ended = _tell_events(connection, rows)
    risky, over = _find_late(connection, {trouble.subject for trouble in before}, now)
    standing = list(risky)
    judged = {Kind.DEADLINE}
    if settled:
        standing += [*find_silent(connection, now), *find_thin_sites(connection)]
        judged |= {Kind.INJECTOR, Kind.PILOTS}
    return News(tuple(begun), {**ended, **over}, tuple(standing), frozenset(judged), end)


def find_silent(connection: sa.Connection, now: float) -> list[Trouble]:
    """Return the services that should be heard and are not."""
    rows = connection.execute(sa.select(service).where(service.c.stopped.is_(False)).order_by(service.c.name))
    return [
        Trouble(
            kind=Kind.INJECTOR,
            subject=row.name,
            text=f"{row.kind} {row.name} on {row.host} (process {row.pid}) has not been heard for "
            f"{_format_span(now - row.seen)}" + (f"; the last file it saw is {row.last}" if row.last else ""),
        )
        for row in rows
        if find_service_state(row, now) == "silent"
    ]


def find_thin_sites(connection: sa.Connection) -> list[Trouble]:
    """Return the sites that have fewer pilots than they should have."""
    rows = connection.execute(
        sa.select(site.c.name, site.c.pilots).where(site.c.pilots > 0).order_by(site.c.name)
    ).all()
    live = count_live(connection) if rows else {}
    return [
        Trouble(
            kind=Kind.PILOTS,
            subject=row.name,
            text=f"site {row.name} has {live.get(row.name, 0)} of {row.pilots} pilots",
        )
        for row in rows
        if live.get(row.name, 0) < row.pilots
    ]


def _below_open(connection: sa.Connection, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Leave out what an open transaction may still precede (see `queries.events`)."""
    barrier = find_open_transaction(connection)
    return statement if barrier is None else statement.where(event.c.tx < barrier)


def _read_events(connection: sa.Connection, cursor: str) -> tuple[Sequence[Any], str]:
    """Return the ends of workflows and files after a place, and how far the log was read."""
    order = (event.c.tx, event.c.id)
    place = tuple(int(part) for part in cursor.split("-"))
    end = find_place(connection)
    wanted = sa.or_(
        sa.and_(event.c.noun == "workflow", event.c.after.in_(sorted(FINAL_WORKFLOW))),
        sa.and_(event.c.noun == "workflow", event.c.signal == "delete"),
        sa.and_(event.c.noun == "file", event.c.after.in_(("failed", "started"))),
    )
    statement = sa.select(event).where(sa.tuple_(*order) > sa.tuple_(*map(sa.literal, place)), wanted)
    rows = connection.execute(_below_open(connection, statement).order_by(*order).limit(MOST_EVENTS)).all()
    if len(rows) == MOST_EVENTS:
        end = f"{rows[-1].tx}-{rows[-1].id}"
    return rows, max(end, cursor, key=lambda text: tuple(int(part) for part in text.split("-")))


def _tell_events(connection: sa.Connection, rows: Sequence[Any]) -> tuple[list[Trouble], dict[str, str]]:
    """Return the failures among events, and how earlier ones ended."""
    last = {(row.noun, row.uuid): row for row in rows}
    flows = _read_by_uuid(connection, workflow, [uuid for noun, uuid in last if noun == "workflow"])
    files = _read_by_uuid(connection, arrival, [uuid for noun, uuid in last if noun == "file"])
    failed = {(row.noun, row.uuid): row.cause for row in rows if row.after == WorkflowState.FAILED}
    begun = []
    for (noun, uuid), cause in failed.items():
        if noun == "file" and uuid in files:
            text = f"no work was started for file {files[uuid].place}: {cause}"
        elif uuid in flows:
            text = _describe_failure(connection, flows[uuid])
        else:
            # Forgotten by somebody meanwhile.
            continue
        begun.append(Trouble(kind=Kind.FAILURE, subject=uuid, text=text))
    ended = {}
    for (noun, uuid), row in last.items():
        if row.after == WorkflowState.FAILED:
            continue
        if noun == "file":
            words = f"work was started for file {files[uuid].place}" if uuid in files else ""
        elif uuid in flows:
            how = "has finished after all" if row.after == WorkflowState.FINISHED else "was cancelled"
            words = f"{_name(flows[uuid])} {how}"
        else:
            words = ""
        ended[f"{Kind.FAILURE} {uuid}"] = words
    return begun, ended


def _read_by_uuid(connection: sa.Connection, table: sa.Table, uuids: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for start in range(0, len(uuids), BATCH):
        rows = connection.execute(sa.select(table).where(table.c.uuid.in_(uuids[start : start + BATCH])))
        found |= {row.uuid: row for row in rows}
    return found


def _name(row: Any) -> str:
    """Return what people call a workflow; a standalone job is a workflow of one."""
    return f"{'workflow' if row.dag_id is not None else 'job'} {row.name} {row.uuid[:8]}"


def _describe_failure(connection: sa.Connection, row: Any) -> str:
    failed = connection.execute(
        sa.select(job.c.name, job.c.reason)
        .where(job.c.workflow_id == row.id, job.c.state == JobState.FAILED)
        .order_by(job.c.ended, job.c.id)
        .limit(NAMED + 1)
    ).all()
    named = [f"{one.name} ({one.reason})" if row.dag_id is not None else str(one.reason) for one in failed[:NAMED]]
    more = " and more" if len(failed) > NAMED else ""
    causes = f": {', '.join(named)}{more}" if named else ""
    return f"{_name(row)} of {row.owner} failed{causes}; `p3s why {row.uuid[:8]}` says more"


def _find_late(connection: sa.Connection, known: set[str], now: float) -> tuple[list[Trouble], dict[str, str]]:
    """Return the workflows that will hardly end in time, and how those ended that were among them.

    A workflow that was at risk once stays so until it ends: what follows from expected times comes and goes.
    """
    # The work that is left is at most the critical path, so this finds all; few pass it.
    near = sa.select(workflow).where(
        workflow.c.state == WorkflowState.RUNNING, workflow.c.deadline < now + workflow.c.critical_path
    )
    rows = {row.uuid: row for row in connection.execute(near.order_by(workflow.c.id).limit(MOST_EVENTS))}
    rows |= _read_by_uuid(connection, workflow, sorted(known - rows.keys()))
    left = _compute_left(connection, [row.id for row in rows.values()], now)
    risky = []
    ended = dict.fromkeys(known - rows.keys(), "")
    for uuid, row in rows.items():
        if row.state in FINAL_WORKFLOW:
            ended[uuid] = _describe_end(row)
            continue
        needed, spare = left.get(row.id, 0.0), row.deadline - now
        if spare < 0:
            text = f"{_name(row)} missed its deadline {_format_span(-spare)} ago"
        elif uuid in known or needed > spare:
            text = (
                f"{_name(row)} is likely to miss its deadline: "
                f"it is due in {_format_span(spare)} and needs {_format_span(needed)} more"
            )
        else:
            continue
        risky.append(Trouble(kind=Kind.DEADLINE, subject=uuid, text=text))
    return risky, {f"{Kind.DEADLINE} {uuid}": words for uuid, words in ended.items()}


def _compute_left(connection: sa.Connection, ids: Sequence[int], now: float) -> dict[int, float]:
    """Return how many seconds workflows are expected to need still, by the ranks of their jobs."""
    begun = sa.func.coalesce(job.c.started, now)
    found: dict[int, float] = {}
    for start in range(0, len(ids), BATCH):
        rows = connection.execute(
            sa.select(job.c.workflow_id, sa.func.max(begun + job.c.rank).label("end"))
            .where(job.c.workflow_id.in_(ids[start : start + BATCH]), job.c.state.not_in(sorted(FINAL_JOB)))
            .group_by(job.c.workflow_id)
        )
        found |= {row.workflow_id: max(0.0, row.end - now) for row in rows}
    return found


def _describe_end(row: Any) -> str:
    if row.state == WorkflowState.CANCELLED:
        return f"{_name(row)}, whose deadline was at risk, was cancelled" + (f": {row.message}" if row.message else "")
    late = row.ended - row.deadline
    when = f"{_format_span(late)} after its deadline" if late > 0 else "in time"
    return f"{_name(row)}, whose deadline was at risk, {row.state} {when}"


def _format_span(seconds: float) -> str:
    """Return a time span as people say it."""
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
