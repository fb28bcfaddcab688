"""Who moves finished workflows into the archive: some hundred jobs in each transaction, the last jobs first.

A part of the archive and the end of the rows that it was made of are one transaction. So whatever is killed, and
whenever, each job is in exactly one of both places, and the next step goes on where the last one ended. Jobs go from
the last to the first: whoever needs or reads something goes before what it needs or reads, and takes the edge along.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import FINAL_WORKFLOW, AttemptState
from p3s.server.bulk import BulkInsert
from p3s.server.db import insert_missing, lock_rows
from p3s.server.models import (
    archive,
    archive_blob,
    archive_item,
    archive_job,
    archive_part,
    attempt,
    attempt_log,
    dag,
    dataset,
    event,
    job,
    job_input,
    job_need,
    job_spec,
    meta,
    pilot,
    ripple,
    workflow,
)
from p3s.server.prepared import Prepared, among, param
from p3s.server.queries.archive import pack_part
from p3s.server.queries.datasets import view_datasets
from p3s.server.queries.why import explain_job
from p3s.server.transitions.deletions import find_foreign_reader
from p3s.server.transitions.series import PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["Unready", "move_some", "read_added", "select_disposable"]

#: Jobs that one transaction moves: each has some ten rows.
STEP = 100

_OPEN = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)

#: What the archive has of a workflow as it was, of a job, and not of an attempt.
_COPIED = (
    *("uuid", "owner", "name", "key", "state", "params", "overrides", "message"),
    *("created", "started", "ended", "deadline", "jobs"),
)
_JOB = (
    *("uuid", "name", "family", "owner", "state", "reason", "message", "jobtype", "priority", "timelimit"),
    *("created", "released", "started", "ended", "attempt", "hold", "tolerated", "noop"),
)
_INNER = frozenset({"id", "job_id", "pilot_id", "claim", "watched", "counted"})

_KEEP_JOBS = BulkInsert(archive_job, ("uuid", "archive_id", "number"))
_KEEP_ITEMS = BulkInsert(archive_item, ("uuid", "noun", "archive_id", "number"), replacing=())
_DELETE_JOBS = Prepared(sa.delete(job).where(among(job.c.id, "jobs")))


class Unready(Exception):
    """A workflow cannot be moved yet; the transaction is rolled back and says why."""


def read_added(connection: sa.Connection) -> tuple[int, int]:
    """Return up to which place the event log was added up: no event of a job after it may go."""
    stored = connection.scalar(sa.select(meta.c.value).where(meta.c.key == PLACE))
    if stored is None:
        return -1, -1
    tx, ident, _ = json.loads(stored)
    return tx, ident


def select_disposable(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Return the condition on events that may go.

    Those of jobs have been added up; and none is the newest, whose number SQLite would give again.
    """
    return _is_disposable(*map(sa.literal, (*read_added(connection), _find_newest(connection))))


def _is_disposable(tx: Any, ident: Any, newest: Any) -> sa.ColumnElement[bool]:
    added = sa.tuple_(event.c.tx, event.c.id) <= sa.tuple_(tx, ident)
    return sa.and_(sa.or_(event.c.noun != sa.literal_column("'job'"), added), event.c.id < newest)


def _find_newest(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(sa.func.max(event.c.id))) or 0


def move_some(ledger: Ledger, ident: int) -> tuple[int, bool]:
    """Move up to `STEP` jobs of a workflow that has ended; return how many, and whether that was the rest.

    Raises
    ------
    Unready
        If something of it has not come to rest.
    """
    connection = ledger.connection
    row = connection.execute(lock_rows(sa.select(workflow).where(workflow.c.id == ident))).one_or_none()
    if row is None:
        return 0, True
    if row.archived is None:
        _check_rest(connection, row)
        archive_id = _mark(ledger, row)
    else:
        archive_id = connection.scalar(sa.select(archive.c.id).where(archive.c.uuid == row.uuid)) or 0
    jobs = connection.execute(
        sa.select(job, sa.literal(row.state).label("workflow_state"), job_spec.c.body)
        .outerjoin(job_spec, job_spec.c.job_id == job.c.id)
        .where(job.c.workflow_id == ident)
        .order_by(job.c.id.desc())
        .limit(STEP + 1)
    ).all()
    whole, jobs = len(jobs) <= STEP, jobs[:STEP]
    if jobs:
        _move_part(ledger, row, archive_id, jobs, whole=whole)
    if whole:
        connection.execute(sa.delete(workflow).where(workflow.c.id == ident))
        ledger.note("workflow", row.uuid, "archive", before=row.state, after=row.state)
    return len(jobs), whole


def _check_rest(connection: sa.Connection, row: Any) -> None:
    if row.state not in FINAL_WORKFLOW:
        raise Unready(f"it is {row.state}")
    opened = sa.select(attempt.c.id).join(job, job.c.id == attempt.c.job_id)
    if connection.scalar(opened.where(job.c.workflow_id == row.id, attempt.c.state.in_(_OPEN)).limit(1)) is not None:
        raise Unready("a payload of it has not yet stopped")
    if connection.scalar(sa.select(ripple.c.id).limit(1)) is not None:
        raise Unready("a release goes on in batches")
    reader = find_foreign_reader(connection, [row.id])
    if reader is not None:
        raise Unready(f"job {reader.name} of workflow {reader.workflow[:8]} reads what it made, and has not ended")


def _mark(ledger: Ledger, row: Any) -> int:
    connection = ledger.connection
    stored = connection.execute(sa.select(dag.c.name, dag.c.version).where(dag.c.id == row.dag_id)).one_or_none()
    counts = connection.execute(
        sa.select(job.c.state, sa.func.count().label("number"))
        .where(job.c.workflow_id == row.id)
        .group_by(job.c.state)
        .order_by(job.c.state)
    )
    made = sa.select(sa.func.count()).select_from(dataset).where(dataset.c.workflow_id == row.id)
    alone = sa.select(job.c.id).where(job.c.uuid == row.uuid)
    values = {name: getattr(row, name) for name in _COPIED} | {
        "standalone": connection.scalar(alone) is not None,
        "dag": stored.name if stored else None,
        "version": stored.version if stored else None,
        "datasets": connection.scalar(made) or 0,
        "counts": {entry.state: entry.number for entry in counts},
        "archived": ledger.now,
        "moved": 0,
        "parts": 0,
        "size": 0,
    }
    connection.execute(sa.update(workflow).where(workflow.c.id == row.id).values(archived=ledger.now))
    return int(connection.scalar(sa.insert(archive).values(values).returning(archive.c.id)) or 0)


def _move_part(ledger: Ledger, row: Any, archive_id: int, jobs: Sequence[Any], *, whole: bool) -> None:
    connection = ledger.connection
    ids = [entry.id for entry in jobs]
    attempts = _read_attempts(connection, ids)
    inputs, needs = _read_edges(connection, ids)
    made = sa.and_(dataset.c.producer_id.in_(ids), dataset.c.workflow_id == row.id)
    read = sa.select(job_input.c.dataset_id).where(job_input.c.job_id.in_(ids))
    views = view_datasets(connection, sa.or_(made, dataset.c.id.in_(read)))
    outputs = connection.execute(
        sa.select(dataset.c.uuid, dataset.c.producer_id, dataset.c.result, dataset.c.digest)
        .where(made)
        .order_by(dataset.c.id)
    ).all()
    uuids = [entry.uuid for entry in jobs] + [row["uuid"] for found in attempts.values() for row in found]
    uuids += [entry.uuid for entry in outputs] + ([row.uuid] if whole else [])
    events = _take_events(connection, list(dict.fromkeys(uuids)))
    part = {
        "jobs": [
            _write_job(connection, entry, ledger.now)
            | {
                "attempts": attempts.get(entry.id, []),
                "inputs": inputs.get(entry.id, []),
                "needs": needs.get(entry.id, []),
                "outputs": [one.uuid for one in outputs if one.producer_id == entry.id],
            }
            for entry in jobs
        ],
        "datasets": {view.uuid: view.model_dump(mode="json", exclude_defaults=True) for view in views},
        "results": {entry.uuid: entry.digest for entry in outputs if entry.result},
        "events": events,
    }
    body = pack_part(part)
    number = connection.scalar(
        sa.update(archive)
        .where(archive.c.id == archive_id)
        .values(moved=archive.c.moved + len(jobs), parts=archive.c.parts + 1, size=archive.c.size + len(body))
        .returning(archive.c.parts)
    )
    connection.execute(sa.insert(archive_part).values(archive_id=archive_id, number=number, body=body))
    _KEEP_JOBS.run(connection, [(entry.uuid, archive_id, number) for entry in jobs])
    # What a job reads is written with the last of its readers, and again with its maker.
    items = {view.uuid: "dataset" for view in views if view.workflow == row.uuid}
    items |= {entry["uuid"]: "attempt" for found in attempts.values() for entry in found}
    _KEEP_ITEMS.run(connection, [(one, items[one], archive_id, number) for one in sorted(items)])
    digests = {entry.digest for entry in outputs if entry.result and entry.digest}
    if digests:
        kept = [{"archive_id": archive_id, "digest": digest} for digest in sorted(digests)]
        insert_missing(connection, archive_blob, kept)
    # What belongs to a job goes with its row.
    _DELETE_JOBS.run(connection, jobs=ids)


def _write_job(connection: sa.Connection, row: Any, now: float) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in _JOB}
    return found | {"spec": row.body or {}, "why": explain_job(connection, row, now)}


_ATTEMPTS = Prepared(
    sa.select(attempt, pilot.c.uuid.label("pilot"), pilot.c.name.label("pilot_name"), pilot.c.host)
    .join(pilot, pilot.c.id == attempt.c.pilot_id)
    .where(among(attempt.c.job_id, "jobs"))
    .order_by(attempt.c.job_id, attempt.c.number)
)
_LOGS = Prepared(sa.select(attempt_log).where(among(attempt_log.c.attempt_id, "attempts")))


def _read_attempts(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    rows = _ATTEMPTS.run(connection, jobs=ids)
    logs: dict[int, dict[str, Any]] = {}
    for printed in _LOGS.run(connection, attempts=[row.id for row in rows]):
        data = base64.b64encode(printed.data).decode()
        logs.setdefault(printed.attempt_id, {})[printed.stream] = (printed.start, data)
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        kept = {name: value for name, value in row._asdict().items() if name not in _INNER}
        found.setdefault(row.job_id, []).append(kept | {"logs": logs.get(row.id, {})})
    return found


_INPUTS = Prepared(
    sa.select(job_input.c.job_id, dataset.c.uuid, job_input.c.key, job_input.c.partial)
    .join(dataset, dataset.c.id == job_input.c.dataset_id)
    .where(among(job_input.c.job_id, "jobs"))
    .order_by(job_input.c.id)
)
_NEEDS = Prepared(
    sa.select(job_need.c.job_id, job.c.name, job_need.c.done)
    .join(job, job.c.id == job_need.c.parent_id)
    .where(among(job_need.c.job_id, "jobs"))
    .order_by(job_need.c.id)
)


def _read_edges(
    connection: sa.Connection, ids: Sequence[int]
) -> tuple[dict[int, list[tuple[str, str, bool]]], dict[int, list[tuple[str, bool]]]]:
    """Return, by job, the uuids, keys and tolerance of what it reads, and the names and tolerance of its parents."""
    inputs: dict[int, list[tuple[str, str, bool]]] = {}
    for row in _INPUTS.run(connection, jobs=ids):
        inputs.setdefault(row.job_id, []).append((row.uuid, row.key, row.partial))
    needs: dict[int, list[tuple[str, bool]]] = {}
    for need in _NEEDS.run(connection, jobs=ids):
        needs.setdefault(need.job_id, []).append((need.name, need.done))
    return inputs, needs


_EVENTS = Prepared(sa.select(event).where(among(event.c.uuid, "uuids")).order_by(event.c.id))
_DELETE_EVENTS = Prepared(
    sa.delete(event).where(
        among(event.c.id, "ids"),
        _is_disposable(param("tx", sa.BigInteger()), param("place", sa.BigInteger()), param("newest", sa.BigInteger())),
    )
)


def _take_events(connection: sa.Connection, uuids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the events of objects, and delete them from the log."""
    tx, place = read_added(connection)
    found = _EVENTS.run(connection, uuids=uuids)
    if any(row.noun == "job" and (row.tx, row.id) > (tx, place) for row in found):
        raise Unready("its last events have not been added up yet")
    newest = _find_newest(connection)
    _DELETE_EVENTS.run(connection, ids=[row.id for row in found], tx=tx, place=place, newest=newest)
    names = ("at", "noun", "uuid", "signal", "before", "after", "cause")
    return [{name: getattr(row, name) for name in names} for row in found]
