"""Workflows as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import DatasetState, WorkflowState
from p3s.errors import NotFound
from p3s.server.models import dag, dataset, job, job_input, job_need, workflow
from p3s.server.prepared import Prepared, param
from p3s.server.queries.origins import list_sources
from p3s.wire import ResultList, ResultView, WorkflowList, WorkflowView

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["list_edges", "list_results", "list_workflows", "view_workflow"]


def view_workflow(connection: sa.Connection, ident: int) -> WorkflowView:
    """Return one workflow with its jobs counted by state.

    Raises
    ------
    NotFound
        If it was deleted meanwhile.
    """
    sent = _VIEWED.send(connection, ident=ident)
    counted = _COUNTED.send(connection, ident=ident)
    sources = list_sources(connection, ident)
    if not (rows := sent.rows()):
        raise NotFound("workflow", f"number {ident}", "it was deleted a moment ago")
    view = _view(rows[0], {ident: {one.state: one.number for one in counted.rows()}})
    return view.model_copy(update={"sources": sources})


def list_workflows(
    connection: sa.Connection,
    *,
    state: str | None,
    owner: str | None,
    name: str | None,
    limit: int,
    cursor: str | None,
    late: bool = False,
    since: float | None = None,
    before: float | None = None,
    counted: bool = True,
) -> WorkflowList:
    """Return a page of workflows, newest first.

    `late` leaves only those that run past their deadline, `since` and `before` those that were loaded then. Counting
    the jobs of each by state takes longer than all else, and may be left out.
    """
    statement = _SELECT.order_by(workflow.c.id.desc()).limit(limit + 1)
    for column, value in ((workflow.c.state, state), (workflow.c.owner, owner), (workflow.c.name, name)):
        if value:
            statement = statement.where(column == value)
    if late:
        statement = statement.where(workflow.c.late, workflow.c.state == WorkflowState.RUNNING)
    if since is not None:
        statement = statement.where(workflow.c.created >= since)
    if before is not None:
        statement = statement.where(workflow.c.created < before)
    if cursor:
        statement = statement.where(workflow.c.id < int(cursor))
    rows = connection.execute(statement).all()
    counts = _count_jobs(connection, [row.id for row in rows[:limit]]) if counted else {}
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return WorkflowList(items=[_view(row, counts) for row in rows[:limit]], next=more)


def list_results(connection: sa.Connection, ident: int) -> ResultList:
    """Return the files that ``results`` names and that are there."""
    rows = connection.execute(
        sa.select(dataset, job.c.name.label("job"))
        .join(job, job.c.id == dataset.c.producer_id)
        .where(dataset.c.workflow_id == ident, dataset.c.result, dataset.c.state == DatasetState.AVAILABLE)
        .order_by(dataset.c.id)
    )
    return ResultList(
        items=[
            ResultView(key=row.key, job=row.job, place=row.place, size=row.size or 0, digest=row.digest) for row in rows
        ]
    )


def list_edges(connection: sa.Connection, ident: int) -> list[dict[str, Any]]:
    """Return the edges of a workflow's graph between ``job:NAME`` and ``dataset:KEY``."""
    parent = job.alias("parent")
    needs = connection.execute(
        sa.select(parent.c.name.label("parent"), job.c.name, job_need.c.done)
        .join(job_need, job_need.c.job_id == job.c.id)
        .join(parent, parent.c.id == job_need.c.parent_id)
        .where(job.c.workflow_id == ident)
    )
    inputs = connection.execute(
        sa.select(job_input.c.key, job.c.name, job_input.c.partial)
        .join(job, job.c.id == job_input.c.job_id)
        .where(job.c.workflow_id == ident)
    )
    made = connection.execute(
        sa.select(dataset.c.key, job.c.name)
        .join(job, job.c.id == dataset.c.producer_id)
        .where(dataset.c.workflow_id == ident)
    )
    edges = [_edge(f"job:{row.parent}", f"job:{row.name}", partial=row.done) for row in needs]
    edges += [_edge(f"dataset:{row.key}", f"job:{row.name}", partial=row.partial) for row in inputs]
    return edges + [_edge(f"job:{row.name}", f"dataset:{row.key}", partial=False) for row in made]


def _edge(source: str, target: str, *, partial: bool) -> dict[str, Any]:
    return {"source": source, "target": target, "partial": partial}


_SELECT = sa.select(workflow, dag.c.name.label("dag"), dag.c.version.label("dag_version")).outerjoin(
    dag, dag.c.id == workflow.c.dag_id
)
_COUNTS = sa.select(job.c.workflow_id, job.c.state, sa.func.count().label("number")).group_by(
    job.c.workflow_id, job.c.state
)
_IDENT = param("ident", sa.BigInteger())
_VIEWED = Prepared(_SELECT.where(workflow.c.id == _IDENT))
_COUNTED = Prepared(_COUNTS.where(job.c.workflow_id == _IDENT))


def _count_jobs(connection: sa.Connection, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    counts: dict[int, dict[str, int]] = {}
    for row in connection.execute(_COUNTS.where(job.c.workflow_id.in_(ids))):
        counts.setdefault(row.workflow_id, {})[row.state] = row.number
    return counts


def _view(row: Any, counts: dict[int, dict[str, int]]) -> WorkflowView:
    return WorkflowView(
        uuid=row.uuid,
        name=row.name,
        owner=row.owner,
        state=row.state,
        dag=row.dag,
        version=row.dag_version,
        params=row.params,
        overrides=row.overrides or {},
        counts=counts.get(row.id, {}),
        jobs=row.jobs,
        key=row.key,
        created=row.created,
        started=row.started,
        ended=row.ended,
        deadline=row.deadline,
        message=row.message,
    )
