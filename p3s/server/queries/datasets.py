"""Datasets as people see them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from p3s.server.models import dataset, job, job_input, workflow
from p3s.wire import DatasetList, DatasetView

__all__ = ["list_datasets", "show_dataset", "view_datasets"]

#: Consumers that `show_dataset` names.
CONSUMERS = 100


def list_datasets(
    connection: sa.Connection, *, workflow_id: int | None, state: str | None, limit: int, cursor: str | None
) -> DatasetList:
    """Return a page of datasets, newest first; of a workflow, also the external ones that its jobs read."""
    statement = _select().order_by(dataset.c.id.desc()).limit(limit + 1)
    if workflow_id is not None:
        read = (
            sa.select(job_input.c.dataset_id)
            .join(job, job.c.id == job_input.c.job_id)
            .where(job.c.workflow_id == workflow_id)
        )
        statement = statement.where(sa.or_(dataset.c.workflow_id == workflow_id, dataset.c.id.in_(read)))
    if state:
        statement = statement.where(dataset.c.state == state)
    if cursor:
        statement = statement.where(dataset.c.id < int(cursor))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return DatasetList(items=[_view(row) for row in rows[:limit]], next=more)


def show_dataset(connection: sa.Connection, ident: int) -> DatasetView:
    """Return one dataset with the jobs that read it."""
    row = connection.execute(_select().where(dataset.c.id == ident)).one()
    readers = connection.execute(
        sa.select(workflow.c.uuid, job.c.name)
        .join(job_input, job_input.c.job_id == job.c.id)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(job_input.c.dataset_id == ident)
        .order_by(job.c.id)
        .limit(CONSUMERS)
    )
    return _view(row).model_copy(update={"consumers": [f"{row.uuid[:8]}/{row.name}" for row in readers]})


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
    )
