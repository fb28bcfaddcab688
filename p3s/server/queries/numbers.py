"""Numbers of results, beside the params and the time of the workflows that made them."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.server.models import blob_number, dag, dataset, workflow
from p3s.wire import NumberList, NumberView

__all__ = ["list_numbers"]


def list_numbers(
    connection: sa.Connection, *, name: str, owner: str | None, key: str | None, limit: int, cursor: str | None
) -> NumberList:
    """Return a page of the numbers that the workflows of a DAG (all versions) made, newest first."""
    statement = (
        sa.select(
            dataset.c.id,
            dataset.c.key.label("result"),
            workflow.c.uuid.label("workflow"),
            workflow.c.params,
            workflow.c.created,
            dag.c.version,
        )
        .join(workflow, workflow.c.id == dataset.c.workflow_id)
        .join(dag, dag.c.id == workflow.c.dag_id)
        .where(dag.c.name == name, dataset.c.result.is_(True), dataset.c.digest.is_not(None))
        .order_by(dataset.c.id.desc())
        .limit(limit + 1)
    )
    has = sa.exists().where(blob_number.c.digest == dataset.c.digest)
    statement = statement.where(has.where(blob_number.c.key == key) if key else has)
    if owner:
        statement = statement.where(workflow.c.owner == owner)
    if cursor:
        statement = statement.where(dataset.c.id < int(cursor))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    numbers = (
        sa.select(dataset.c.id, blob_number.c.key, blob_number.c.value)
        .join(blob_number, blob_number.c.digest == dataset.c.digest)
        .where(dataset.c.id.in_([row.id for row in rows[:limit]]))
        .order_by(blob_number.c.key)
    )
    if key:
        numbers = numbers.where(blob_number.c.key == key)
    found: dict[int, dict[str, float]] = {}
    for row in connection.execute(numbers):
        found.setdefault(row.id, {})[row.key] = row.value
    items = [
        NumberView(
            workflow=row.workflow,
            version=row.version,
            created=row.created,
            params=row.params,
            result=row.result,
            numbers=found.get(row.id, {}),
        )
        for row in rows[:limit]
    ]
    return NumberList(items=items, next=more)
