"""Datasets as people see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from p3s.engine.places import normalise_place
from p3s.engine.states import FINAL_JOB
from p3s.server.models import attempt, dataset, job, job_input, pilot, removal, workflow
from p3s.server.queries.origins import describe_origin, is_read
from p3s.server.queries.why import explain_dataset
from p3s.server.queries.windows import sort_alone
from p3s.wire import AttemptView, DatasetList, DatasetView

__all__ = ["find_owner", "is_used_by", "list_attempts", "list_datasets", "show_dataset", "view_datasets"]

#: Consumers that `show_dataset` names.
CONSUMERS = 100


def list_datasets(
    connection: sa.Connection,
    *,
    workflow_id: int | None,
    filters: dict[str, str | None],
    limit: int,
    cursor: str | None,
) -> DatasetList:
    """Return a page of datasets, newest first; of a workflow, also the external ones that its jobs read.

    `filters` are columns and the values they must have; a place may be written in any way.
    """
    place = dataset.c.id if workflow_id is None else sort_alone(dataset.c.id)
    statement = _select().order_by(place.desc()).limit(limit + 1)
    if workflow_id is not None:
        statement = statement.where(is_used_by(workflow_id))
    for name, value in filters.items():
        if value:
            statement = statement.where(dataset.c[name] == (normalise_place(value) if name == "place" else value))
    if cursor:
        statement = statement.where(dataset.c.id < int(cursor))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return DatasetList(items=[_view(row) for row in rows[:limit]], next=more)


def is_used_by(workflow_id: int) -> sa.ColumnElement[bool]:
    """Return what holds for the data of a workflow, and for what its jobs read from elsewhere."""
    mine = sa.select(dataset.c.id).where(dataset.c.workflow_id == workflow_id)
    read = (
        sa.select(job_input.c.dataset_id)
        .join(job, job.c.id == job_input.c.job_id)
        .where(job.c.workflow_id == workflow_id)
    )
    # One list of ids: for one thing or another, PostgreSQL goes through all data.
    return dataset.c.id.in_(sa.union_all(mine, read))


def show_dataset(connection: sa.Connection, ident: int) -> DatasetView:
    """Return one dataset with the jobs that read it, the attempts that wrote it, and why it is where it is."""
    row = connection.execute(_select().where(dataset.c.id == ident)).one()
    readers = connection.execute(
        sa.select(workflow.c.uuid, job.c.name, job.c.state)
        .join(job_input, job_input.c.job_id == job.c.id)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(is_read(ident))
        # Those that still need it first.
        .order_by(job.c.state.in_(sorted(FINAL_JOB)), job.c.id)
        .limit(CONSUMERS)
    ).all()
    origin, source = describe_origin(connection, row)
    return _view(row).model_copy(
        update={
            "origin": origin,
            "source": source,
            "files": _tell_files(connection, row.uuid),
            "why": explain_dataset(connection, row),
            "consumers": [f"{one.uuid[:8]}/{one.name}" for one in readers],
            "waiting": [f"{one.uuid[:8]}/{one.name} ({one.state})" for one in readers if one.state not in FINAL_JOB],
            "attempts": list_attempts(connection, row.producer_id) if row.producer_id is not None else [],
        }
    )


def _tell_files(connection: sa.Connection, uuid: str) -> str:
    """Return what became of the file of a deleted dataset."""
    row = connection.execute(
        sa.select(removal, pilot.c.uuid.label("pilot"), pilot.c.host)
        .outerjoin(pilot, pilot.c.id == removal.c.pilot_id)
        .where(removal.c.dataset == uuid)
    ).one_or_none()
    if row is None:
        return ""
    if row.done is not None:
        at = datetime.fromtimestamp(row.done, tz=UTC).isoformat(timespec="seconds")
        return f"deleted at {at}" + (f" by pilot {row.pilot[:8]} on {row.host}" if row.pilot else "")
    failed = f"; the last try failed: {row.message}" if row.message and row.pilot else ""
    if row.pilot is not None:
        return f"being deleted by pilot {row.pilot[:8]} on {row.host}{failed}"
    return f"not deleted yet: {row.message or 'no pilot has the order'}"


def find_owner(connection: sa.Connection, row: Any) -> str | None:
    """Return who owns the workflow that a dataset belongs to, None for external data."""
    return connection.scalar(sa.select(workflow.c.owner).where(workflow.c.id == row.workflow_id))


def list_attempts(connection: sa.Connection, job_id: int) -> list[AttemptView]:
    """Return the attempts of a job in order."""
    rows = connection.execute(
        sa.select(attempt, pilot.c.uuid.label("pilot"), pilot.c.host)
        .join(pilot, pilot.c.id == attempt.c.pilot_id)
        .where(attempt.c.job_id == job_id)
        .order_by(attempt.c.number)
    )
    return [AttemptView.model_validate(dict(row._mapping)) for row in rows]  # noqa: SLF001 - the documented way


def view_datasets(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[DatasetView]:
    """Return the datasets that fit a condition, in the order they were written."""
    return [_view(row) for row in connection.execute(_select().where(condition).order_by(dataset.c.id))]


def _select() -> sa.Select[Any]:
    return (
        sa.select(dataset, workflow.c.uuid.label("workflow"), job.c.name.label("producer"))
        .outerjoin(workflow, workflow.c.id == dataset.c.workflow_id)
        .outerjoin(job, job.c.id == dataset.c.producer_id)
    )


def _view(row: Any) -> DatasetView:
    return DatasetView(
        uuid=row.uuid,
        key=row.key,
        state=row.state,
        place=row.place,
        size=row.size,
        checksum=row.checksum,
        datatype=row.datatype,
        site=row.site,
        workflow=row.workflow,
        producer=row.producer,
        created=row.created,
        version=row.version,
        comment=row.comment,
        message=row.message,
    )
