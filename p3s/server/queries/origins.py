"""What workflows read of other DAGs: whether it can be meant, and how it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.plan import Origin
from p3s.engine.problems import Fault, Source, raise_faults
from p3s.engine.states import DatasetState, JobState
from p3s.server.models import dataset, job, job_input, job_need, origin, workflow
from p3s.server.prepared import Prepared, param

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.engine.plan import DatasetPlan, WorkflowPlan

__all__ = ["check_origins", "describe_origin", "explain_wait", "find_circle", "is_read", "list_sources", "show_origin"]

#: Names that a message lists.
NAMED = 10


def check_origins(connection: sa.Connection, owner: str, plan: WorkflowPlan, text: str, file: str) -> None:
    """Check what a plan reads of other DAGs against the newest workflow of each, if there was one.

    Raises
    ------
    BadInput
        If that one has no such parameter or makes no such dataset, or is of the DAG itself; with places in `text`.
    """
    faults = [
        fault
        for entry in plan.datasets.values()
        if entry.origin is not None
        for fault in _check_origin(connection, owner, plan.name, entry, entry.origin)
    ]
    raise_faults(faults, Source(text, file) if text else None)


def _check_origin(connection: sa.Connection, owner: str, name: str, entry: DatasetPlan, source: Origin) -> list[Fault]:
    path = ("datasets", entry.key)
    if (source.owner or owner, source.dag) == (owner, name):
        message = f"'{source.dag}' is this DAG itself, which would wait for its own end; name another DAG"
        return [Fault((*path, "from"), message)]
    newest = connection.execute(
        sa.select(workflow.c.id, workflow.c.uuid, workflow.c.params)
        .where(
            workflow.c.owner == (source.owner or owner),
            workflow.c.name == source.dag,
            workflow.c.started.is_not(None),
            workflow.c.dag_id.is_not(None),
        )
        .order_by(workflow.c.started.desc(), workflow.c.id.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        # It may come later.
        return []
    shown = f"DAG {source.dag} (its newest workflow {newest.uuid[:8]})"
    faults = []
    for wanted in source.match:
        if wanted not in newest.params:
            message = f"{shown} has no parameter '{wanted}'; it has {_list(sorted(newest.params))}"
            place = (*path, "match", wanted)
            faults.append(Fault(place, message, at_key=True, word=wanted, candidates=tuple(newest.params)))
    made = sa.select(dataset.c.key).where(dataset.c.workflow_id == newest.id, dataset.c.producer_id.is_not(None))
    if connection.scalar(made.where(dataset.c.key == source.key)) is None:
        keys = connection.scalars(made.order_by(dataset.c.id).limit(NAMED + 1)).all()
        message = f"{shown} makes no dataset '{source.key}'; it makes {_list(keys)}"
        faults.append(Fault((*path, "from"), message, word=source.key, candidates=keys))
    return faults


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" and more" if len(names) > NAMED else "") if names else "none"


def is_read(ident: int) -> sa.ColumnElement[bool]:
    """Return what holds for inputs that read a dataset: itself, or what another workflow has of it."""
    itself = sa.select(dataset.c.id).where(dataset.c.id == ident)
    followers = sa.select(origin.c.dataset_id).where(origin.c.source_id == ident)
    # One list of ids: for one thing or another, PostgreSQL goes through all inputs.
    return job_input.c.dataset_id.in_(sa.union_all(itself, followers))


def describe_origin(connection: sa.Connection, row: Any) -> tuple[str, str]:
    """Return of a dataset which DAG it is to come from, and which workflow it came from; `row` is of ``dataset``."""
    if row.producer_id is not None or row.workflow_id is None:
        return "", ""
    found = connection.execute(sa.select(origin).where(origin.c.dataset_id == row.id)).one_or_none()
    if found is None:
        return "", ""
    return show_origin(found), f"{found.workflow}/{found.key}" if found.workflow else ""


def show_origin(row: Any) -> str:
    """Return as people write it where data comes from; `row` is of ``origin``."""
    return str(Origin(row.owner, row.dag, row.key, row.match))


_SOURCES = Prepared(
    sa.select(dataset.c.key.label("name"), origin)
    .join(origin, origin.c.dataset_id == dataset.c.id)
    .where(dataset.c.workflow_id == param("workflow", sa.BigInteger()))
    .order_by(dataset.c.id)
)


def list_sources(connection: sa.Connection, workflow_id: int) -> dict[str, str]:
    """Return what a workflow reads of other DAGs: by its own name for it, where it comes from."""
    return {
        row.name: f"{show_origin(row)}: " + (f"workflow {row.workflow[:8]}" if row.workflow else "not bound yet")
        for row in _SOURCES.run(connection, workflow=workflow_id)
    }


def find_circle(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Any:
    """Return data of another workflow that can never come, because its maker waits for one of its readers.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    condition : condition
        On the rows of ``dataset`` to look at.

    Returns
    -------
    Row or None
        The first: its ``key``, and the ``uuid`` and ``name`` of the workflow that it should come from.
    """
    source, upper = dataset.alias("source"), job.alias("upper")
    expected = DatasetState.EXPECTED
    tree = (
        sa.select(dataset.c.id.label("start"), source.c.producer_id.label("id"))
        .join(origin, origin.c.dataset_id == dataset.c.id)
        .join(source, source.c.id == origin.c.source_id)
        .where(condition, dataset.c.state == expected, source.c.state == expected)
        .cte("tree", recursive=True)
    )
    # Outer joins to either kind of edge use the indexes of both.
    kind = sa.union_all(sa.select(sa.literal("need").label("kind")), sa.select(sa.literal("data"))).subquery().c.kind
    read, made = dataset.alias("read"), dataset.alias("made")
    parent = sa.func.coalesce(job_need.c.parent_id, read.c.producer_id, made.c.producer_id)
    edges = (
        sa.join(tree, kind.table, sa.true())
        .outerjoin(job_need, job_need.c.job_id == sa.case((kind == "need", tree.c.id)))
        .outerjoin(job_input, job_input.c.job_id == sa.case((kind == "data", tree.c.id)))
        .outerjoin(read, sa.and_(read.c.id == job_input.c.dataset_id, read.c.state == expected))
        .outerjoin(origin, origin.c.dataset_id == read.c.id)
        .outerjoin(made, made.c.id == origin.c.source_id)
        .join(upper, upper.c.id == parent)
    )
    waits = upper.c.state.in_((JobState.HELD, JobState.WAITING))
    tree = tree.union(sa.select(tree.c.start, parent).select_from(edges).where(waits))
    return connection.execute(
        sa.select(dataset.c.key, workflow.c.uuid, workflow.c.name)
        .select_from(tree)
        .join(job_input, sa.and_(job_input.c.job_id == tree.c.id, job_input.c.dataset_id == tree.c.start))
        .join(dataset, dataset.c.id == tree.c.start)
        .join(origin, origin.c.dataset_id == dataset.c.id)
        .join(workflow, workflow.c.uuid == origin.c.workflow)
        .limit(1)
    ).one_or_none()


def explain_wait(connection: sa.Connection, dataset_id: int) -> tuple[str, str]:
    """Return what data of another DAG waits for: a job, or that no workflow was started; nothing for other data."""
    maker = dataset.alias("maker")
    row = connection.execute(
        sa.select(origin, job.c.name, job.c.state, workflow.c.state.label("workflow_state"))
        .outerjoin(maker, maker.c.id == origin.c.source_id)
        .outerjoin(job, job.c.id == maker.c.producer_id)
        .outerjoin(workflow, workflow.c.id == maker.c.workflow_id)
        .where(origin.c.dataset_id == dataset_id)
    ).one_or_none()
    if row is None:
        return "", ""
    matches = " and ".join(f"{name}={value}" for name, value in row.match.items())
    dag = f"{row.dag} of {row.owner}" + (f" with {matches}" if matches else "")
    if row.workflow is None:
        return "", f"no workflow {dag} was started yet"
    ever = (
        ", which waits for what this one makes: cancel one of the two" if _is_in_circle(connection, dataset_id) else ""
    )
    return f"job {row.name} ({row.state}) of workflow {row.dag} {row.workflow[:8]} ({row.workflow_state}){ever}", ""


def _is_in_circle(connection: sa.Connection, dataset_id: int) -> bool:
    return find_circle(connection, dataset.c.id == dataset_id) is not None
