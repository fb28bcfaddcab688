"""Results of all workflows: the newest, with their params and numbers, and their contents."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from p3s.engine.states import DatasetState
from p3s.server.models import blob, blob_number, dag, dataset, job, workflow
from p3s.server.queries.params import matches_param
from p3s.server.queries.windows import sort_alone

__all__ = ["find_content", "list_newest_results"]

#: Datasets that one look goes through.
WINDOW = 20_000


def list_newest_results(
    connection: sa.Connection,
    *,
    dag_name: str | None = None,
    param: str | None = None,
    key: str | None = None,
    workflow_id: int | None = None,
    limit: int,
    cursor: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of results that are there, newest first, and the cursor of the page after it.

    They are looked for among `WINDOW` datasets at a time, so that a page may be short and still have a cursor; those of
    one workflow at once.
    """
    statement = (
        sa.select(
            dataset.c.id,
            dataset.c.uuid.label("dataset"),
            dataset.c.key,
            dataset.c.place,
            dataset.c.size,
            dataset.c.digest,
            job.c.name.label("job"),
            workflow.c.uuid.label("workflow"),
            workflow.c.params,
            workflow.c.created,
            dag.c.name.label("dag"),
        )
        .join(workflow, workflow.c.id == dataset.c.workflow_id)
        .join(job, job.c.id == dataset.c.producer_id)
        .outerjoin(dag, dag.c.id == workflow.c.dag_id)
        .where(dataset.c.result.is_(True), dataset.c.state == DatasetState.AVAILABLE)
        .limit(limit + 1)
    )
    floor = 0
    if workflow_id is not None:
        statement = statement.where(dataset.c.workflow_id == workflow_id).order_by(sort_alone(dataset.c.id).desc())
    else:
        newest = connection.scalar(sa.select(sa.func.max(dataset.c.id)).where(dataset.c.result.is_(True))) or 0
        floor = max(0, (int(cursor) if cursor else newest + 1) - WINDOW)
        statement = statement.where(dataset.c.id >= floor).order_by(dataset.c.id.desc())
    if cursor:
        statement = statement.where(dataset.c.id < int(cursor))
    if dag_name:
        statement = statement.where(dag.c.name == dag_name)
    if key:
        statement = statement.where(dataset.c.key == key)
    if param:
        statement = statement.where(matches_param(param))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else str(floor) if floor else None
    digests = [row.digest for row in rows[:limit] if row.digest]
    numbers: dict[str, dict[str, float]] = {}
    for row in connection.execute(sa.select(blob_number).where(blob_number.c.digest.in_(digests))):
        numbers.setdefault(row.digest, {})[row.key] = row.value
    return (
        [
            dict(row._mapping) | {"numbers": numbers.get(row.digest or "", {})}  # noqa: SLF001 - the documented way
            for row in rows[:limit]
        ],
        more,
    )


def find_content(connection: sa.Connection, uuid: str) -> tuple[str, bytes] | None:
    """Return the place and the content of a result, None if the server does not keep it."""
    row = connection.execute(
        sa.select(dataset.c.place, blob.c.data)
        .join(blob, blob.c.digest == dataset.c.digest)
        .where(dataset.c.uuid == uuid, dataset.c.result.is_(True), dataset.c.state == DatasetState.AVAILABLE)
    ).one_or_none()
    return None if row is None else (row.place or "", bytes(row.data))
