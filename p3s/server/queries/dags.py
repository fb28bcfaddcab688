"""Stored DAGs and their bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.errors import NotFound
from p3s.server.models import blob, bundle_file, dag, workflow
from p3s.wire import BundleFile, DagList, DagView

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["find_dag", "list_bundle", "list_dags", "read_bundle", "read_text_of", "show_dag"]


def find_dag(connection: sa.Connection, name: str, *, version: int | None, owner: str | None) -> Any:
    """Return the row of a DAG: of this version or the newest, of this owner first, else anybody's.

    Raises
    ------
    NotFound
        If there is none.
    """
    statement = sa.select(dag).where(dag.c.name == name).limit(1)
    if version is not None:
        statement = statement.where(dag.c.version == version)
    if owner is not None:
        statement = statement.order_by((dag.c.owner == owner).desc())
    row = connection.execute(statement.order_by(dag.c.version.desc(), dag.c.id.desc())).one_or_none()
    if row is None:
        raise NotFound("dag", name if version is None else f"{name} version {version}")
    return row


def list_bundle(connection: sa.Connection, bundle_id: int | None) -> Sequence[str]:
    """Return the paths of a bundle."""
    statement = sa.select(bundle_file.c.path).where(bundle_file.c.bundle_id == bundle_id)
    return connection.scalars(statement.order_by(bundle_file.c.path)).all()


def read_text_of(connection: sa.Connection, ident: int | None) -> str:
    """Return the text of a DAG by its row id; nothing if it was deleted or there was none."""
    return "" if ident is None else connection.scalar(sa.select(dag.c.text).where(dag.c.id == ident)) or ""


def read_bundle(connection: sa.Connection, bundle_id: int | None) -> list[BundleFile]:
    """Return the files of a bundle with their content."""
    rows = connection.execute(
        sa.select(bundle_file.c.path, bundle_file.c.executable, blob.c.data)
        .join(blob, blob.c.digest == bundle_file.c.digest)
        .where(bundle_file.c.bundle_id == bundle_id)
        .order_by(bundle_file.c.path)
    )
    return [BundleFile(path=row.path, data=row.data, executable=row.executable) for row in rows]


def show_dag(connection: sa.Connection, row: Any) -> DagView:
    """Return a DAG with its text and the names of its files."""
    view = _view(row, _count_workflows(connection, [row.id]))
    return view.model_copy(update={"text": row.text, "files": list(list_bundle(connection, row.bundle_id))})


def list_dags(
    connection: sa.Connection, *, name: str | None, owner: str | None, limit: int, cursor: str | None
) -> DagList:
    """Return the newest version of each DAG, by name."""
    newest = sa.select(sa.func.max(dag.c.id)).group_by(dag.c.owner, dag.c.name)
    statement = sa.select(dag).where(dag.c.id.in_(newest)).order_by(dag.c.name, dag.c.id).limit(limit + 1)
    if name:
        statement = statement.where(dag.c.name == name)
    if owner:
        statement = statement.where(dag.c.owner == owner)
    if cursor:
        last_name, _, last_id = cursor.rpartition(":")
        statement = statement.where(sa.tuple_(dag.c.name, dag.c.id) > (last_name, int(last_id)))
    rows = connection.execute(statement).all()
    counts = _count_workflows(connection, [row.id for row in rows])
    more = f"{rows[limit - 1].name}:{rows[limit - 1].id}" if len(rows) > limit else None
    return DagList(items=[_view(row, counts) for row in rows[:limit]], next=more)


def _view(row: Any, counts: dict[int, int]) -> DagView:
    return DagView(
        name=row.name,
        owner=row.owner,
        version=row.version,
        digest=row.digest,
        created=row.created,
        base=row.base,
        file=row.file,
        workflows=counts.get(row.id, 0),
    )


def _count_workflows(connection: sa.Connection, ids: list[int]) -> dict[int, int]:
    rows = connection.execute(
        sa.select(workflow.c.dag_id, sa.func.count().label("number"))
        .where(workflow.c.dag_id.in_(ids))
        .group_by(workflow.c.dag_id)
    )
    return {row.dag_id: row.number for row in rows}
