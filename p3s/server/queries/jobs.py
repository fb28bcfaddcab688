"""Jobs as people see them: lists, one with its whole story, and what it printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import FINAL_ATTEMPT, JobState
from p3s.errors import NotFound
from p3s.server.models import attempt, attempt_log, dataset, event, job, job_input, job_spec, workflow
from p3s.server.queries.datasets import list_attempts, view_datasets
from p3s.server.queries.why import explain_job
from p3s.server.queries.windows import find_floor, sort_alone
from p3s.wire import EventView, JobList, JobView, LogView

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "count_inputs",
    "find_attempt",
    "find_first_open",
    "list_jobs",
    "list_workflow_jobs",
    "read_log",
    "show_job",
]

#: Events that `show_job` tells, newest last.
EVENTS = 200


def list_jobs(
    connection: sa.Connection,
    *,
    workflow_id: int | None,
    filters: dict[str, str | None],
    limit: int,
    cursor: str | None,
    prefix: str | None = None,
    before: float | None = None,
    window: int | None = None,
    is_forward: bool = False,
) -> JobList:
    """Return a page of jobs, newest first; `filters` are columns of ``job`` and the values they must have.

    `prefix` is how their uuids begin, `before` the moment before which they were created. With a `window`, only so many
    jobs are gone through, so that a page may be short and still have a cursor. `is_forward` lists them as they were
    written, parents first.
    """
    place = job.c.id if workflow_id is None else sort_alone(job.c.id)
    statement = _select().order_by(place if is_forward else place.desc()).limit(limit + 1)
    floor = find_floor(connection, job, cursor, window)
    if floor:
        statement = statement.where(job.c.id >= floor)
    if workflow_id is not None:
        statement = statement.where(job.c.workflow_id == workflow_id)
    for name, value in filters.items():
        if value:
            statement = statement.where(job.c[name] == value)
    if prefix:
        # A range of the index: "g" comes after all that a uuid can go on with.
        statement = statement.where(job.c.uuid >= prefix, job.c.uuid < prefix + "g")
    if before is not None:
        statement = statement.where(job.c.created < before)
    if cursor:
        statement = statement.where(job.c.id > int(cursor) if is_forward else job.c.id < int(cursor))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else str(floor) if floor else None
    return JobList(items=[_view(row) for row in rows[:limit]], next=more)


def find_first_open(connection: sa.Connection, workflow_id: int) -> Any:
    """Return the first job of a workflow that may be claimed, else the first that waits; None if there is neither."""
    for state in (JobState.DEFINED, JobState.WAITING):
        found = connection.execute(
            _select()
            .where(job.c.workflow_id == workflow_id, job.c.state == state)
            .order_by(sort_alone(job.c.id))
            .limit(1)
        ).one_or_none()
        if found is not None:
            return found
    return None


def list_workflow_jobs(connection: sa.Connection, workflow_id: int) -> list[JobView]:
    """Return all jobs of a workflow, in the order they were written: parents first."""
    rows = connection.execute(_select().where(job.c.workflow_id == workflow_id).order_by(job.c.id))
    return [_view(row) for row in rows]


def show_job(connection: sa.Connection, ident: int, now: float, *, most: int | None = None) -> JobView:
    """Return a job with its description, attempts, data (at most so many in and out), events, and why it is there."""
    row = connection.execute(_select().where(job.c.id == ident)).one()
    body = connection.scalar(sa.select(job_spec.c.body).where(job_spec.c.job_id == ident)) or {}
    # Orders that no index has: else the database goes through all rows to find the first.
    inputs = sa.select(job_input.c.dataset_id).where(job_input.c.job_id == ident).order_by(job_input.c.key).limit(most)
    outputs = sa.select(dataset.c.id).where(dataset.c.producer_id == ident).order_by(dataset.c.key).limit(most)
    attempts = list_attempts(connection, ident)
    return _view(row).model_copy(
        update={
            "spec": body,
            "why": explain_job(connection, row, now),
            "attempts": attempts,
            "inputs": view_datasets(connection, dataset.c.id.in_(inputs)),
            "outputs": view_datasets(connection, dataset.c.id.in_(outputs)),
            "events": _list_events(connection, [row.uuid, *(entry.uuid for entry in attempts)]),
        }
    )


def count_inputs(connection: sa.Connection, ident: int) -> int:
    """Return how many data a job reads."""
    return connection.scalar(sa.select(sa.func.count()).where(job_input.c.job_id == ident)) or 0


def find_attempt(connection: sa.Connection, job_id: int, number: int | None, name: str) -> Any:
    """Return the row of an attempt: this one, or the newest.

    Raises
    ------
    NotFound
        If the job has no such attempt.
    """
    statement = sa.select(attempt).where(attempt.c.job_id == job_id).order_by(attempt.c.number.desc()).limit(1)
    if number is not None:
        statement = statement.where(attempt.c.number == number)
    row = connection.execute(statement).one_or_none()
    if row is None:
        which = "no attempt yet" if number is None else f"no attempt {number}"
        raise NotFound("attempt", name, f"the job has {which}; `p3s job show {name}` tells why")
    return row


def read_log(connection: sa.Connection, row: Any, stream: str, offset: int) -> LogView:
    """Return what is kept of an attempt's output from byte `offset` on."""
    kept = connection.execute(
        sa.select(attempt_log.c.start, attempt_log.c.data).where(
            attempt_log.c.attempt_id == row.id, attempt_log.c.stream == stream
        )
    ).one_or_none()
    start, data = (kept.start, kept.data) if kept is not None else (offset, b"")
    first = max(start, offset)
    piece = data[first - start :]
    return LogView(
        attempt=row.uuid,
        number=row.number,
        stream=stream,
        offset=first,
        next=max(offset, start + len(data)),
        text=piece.decode("utf-8", "replace"),
        final=row.state in FINAL_ATTEMPT,
    )


def _list_events(connection: sa.Connection, uuids: Sequence[str]) -> list[EventView]:
    rows = connection.execute(
        sa.select(event).where(event.c.uuid.in_(uuids)).order_by(event.c.id.desc()).limit(EVENTS)
    ).all()
    return [EventView.model_validate(dict(row._mapping)) for row in reversed(rows)]  # noqa: SLF001 - documented


def _select() -> sa.Select[Any]:
    return sa.select(
        job,
        workflow.c.uuid.label("workflow"),
        workflow.c.name.label("workflow_name"),
        workflow.c.state.label("workflow_state"),
    ).join(workflow, workflow.c.id == job.c.workflow_id)


def _view(row: Any) -> JobView:
    return JobView(
        uuid=row.uuid,
        name=row.name,
        owner=row.owner,
        workflow=row.workflow,
        workflow_name=row.workflow_name,
        state=row.state,
        reason=row.reason,
        jobtype=row.jobtype,
        priority=row.priority,
        timelimit=row.timelimit,
        created=row.created,
        started=row.started,
        ended=row.ended,
        attempt=row.attempt,
        hold=row.hold,
    )
