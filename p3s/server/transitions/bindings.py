"""Who binds the data that another DAG makes: at the start of its reader, at the start of its maker, at a retry.

Reader and maker may start at the same moment. Both hold the DAG's name, so that one of them sees the other's commit.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import DatasetState, Signal
from p3s.errors import Conflict
from p3s.server.db import lock_name
from p3s.server.models import dataset, origin, workflow
from p3s.server.prepared import Prepared, param
from p3s.server.queries.origins import find_circle
from p3s.server.transitions.origins import Pair, bind, follow_some
from p3s.server.transitions.recounts import recount_below
from p3s.server.transitions.spread import announce_workflow, spread_datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.engine.plan import DatasetPlan
    from p3s.server.transitions.ledger import Ledger

__all__ = ["admit_origins", "find_newest", "inherit_bindings", "meet_workflows", "renew_bindings"]

#: What workflows read of other DAGs: ``name`` is their own name for it, ``key`` that of the maker.
_ORIGINS = (
    sa.select(
        dataset.c.id,
        dataset.c.uuid,
        dataset.c.key.label("name"),
        origin.c.owner,
        origin.c.dag,
        origin.c.key,
        origin.c.match,
        origin.c.source_id,
        origin.c.workflow,
    )
    .join(origin, origin.c.dataset_id == dataset.c.id)
    .order_by(dataset.c.id)
)
_WORKFLOW = param("workflow_id", sa.BigInteger())
_MINE = Prepared(sa.select(workflow.c.owner, workflow.c.name).where(workflow.c.id == _WORKFLOW))
_UNBOUND = Prepared(_ORIGINS.where(dataset.c.workflow_id == _WORKFLOW, origin.c.workflow.is_(None)))


def admit_origins(
    ledger: Ledger, workflow_id: int, owner: str, plans: Sequence[DatasetPlan]
) -> dict[tuple[int, str], int]:
    """Insert a workflow's data that other DAGs make, not yet bound; return row ids by workflow and key."""
    ids = {}
    for plan in plans:
        assert plan.origin is not None
        row = {
            "uuid": str(uuid.uuid4()),
            "workflow_id": workflow_id,
            "key": plan.key,
            "name": plan.name,
            "state": DatasetState.EXPECTED,
            "datatype": plan.datatype,
            "comment": plan.comment,
            "result": False,
            "created": ledger.now,
        }
        ident = ledger.connection.scalar(sa.insert(dataset).values(row).returning(dataset.c.id))
        assert ident is not None
        ids[workflow_id, plan.key] = ident
        source = {"owner": plan.origin.owner or owner, "dag": plan.origin.dag, "key": plan.origin.key}
        ledger.connection.execute(sa.insert(origin).values(source | {"dataset_id": ident, "match": plan.origin.match}))
    return ids


def find_newest(connection: sa.Connection, owner: str, dag: str, match: Mapping[str, str]) -> Any:
    """Return the workflow of a DAG that was started last and whose parameters match; None if there is none."""
    same = [workflow.c.params[name].as_string() == value for name, value in match.items()]
    return connection.execute(
        sa.select(workflow.c.id, workflow.c.uuid, workflow.c.name, workflow.c.params)
        .where(
            workflow.c.owner == owner,
            workflow.c.name == dag,
            workflow.c.started.is_not(None),
            # A standalone job is a workflow of no DAG.
            workflow.c.dag_id.is_not(None),
            *same,
        )
        .order_by(workflow.c.started.desc(), workflow.c.id.desc())
        .limit(1)
    ).one_or_none()


def meet_workflows(ledger: Ledger, workflow_id: int) -> None:
    """Bind what a workflow that was just started reads of others, and what others wait for of it.

    Raises
    ------
    Conflict
        If it would wait for one that waits for it.
    """
    named = _MINE.send(ledger.connection, workflow_id=workflow_id)
    unbound = _UNBOUND.run(ledger.connection, workflow_id=workflow_id)
    mine = named.rows()[0]
    wanted = {_name(row.owner, row.dag) for row in unbound}
    # In one order, whoever takes them.
    for name in sorted(wanted | {_name(mine.owner, mine.name)}):
        lock_name(ledger.connection, name, share=name not in wanted)
    spread_datasets(ledger, _bind_newest(ledger, unbound))
    announce_workflow(ledger, workflow_id)
    circle = find_circle(ledger.connection, dataset.c.workflow_id == workflow_id) if unbound else None
    if circle is not None:
        other = f"workflow {circle.name} {circle.uuid[:8]}"
        raise Conflict(
            f"dataset {circle.key} comes from {other}, which waits for what this workflow makes: both would wait for "
            f"ever; cancel {other} first, or read what does not depend on it"
        )


def renew_bindings(ledger: Ledger, workflows: Sequence[int]) -> None:
    """Look anew for what workflows that are retried lack of others: a newer one may have been started since.

    Their consumers are counted anew by the retry, so they are not told.
    """
    lost = _read_origins(ledger.connection, workflows, dataset.c.state == DatasetState.FAILED)
    for name in sorted({_name(row.owner, row.dag) for row in lost}):
        lock_name(ledger.connection, name)
    recount_below(ledger, (), ledger.move("dataset", [row.id for row in lost], Signal.RETRY, place=None, message=""))
    _bind_newest(ledger, lost)


def inherit_bindings(ledger: Ledger, workflow_id: int, earlier: int) -> None:
    """Bind a workflow that takes over from an earlier one to what that one has read."""
    known = {
        row.name: row for row in _read_origins(ledger.connection, [earlier], dataset.c.state == DatasetState.AVAILABLE)
    }
    bound = []
    for row in _read_origins(ledger.connection, [workflow_id], sa.true()):
        old = known.get(row.name)
        if old is None or old.source_id is None or _describe(old) != _describe(row):
            continue
        values = {"source_id": old.source_id, "workflow": old.workflow, "bound": ledger.now}
        ledger.connection.execute(sa.update(origin).where(origin.c.dataset_id == row.id).values(values))
        bound.append(row.id)
    spread_datasets(ledger, follow_some(ledger, bound))


def _bind_newest(ledger: Ledger, rows: Sequence[Any]) -> list[int]:
    pairs, waiting = [], []
    for row in rows:
        found = find_newest(ledger.connection, row.owner, row.dag, row.match)
        if found is None:
            waiting.append(row.id)
        else:
            pairs.append(Pair(row.id, row.uuid, row.key, found.id, found.uuid, found.name))
    if waiting:
        values = {"waiting": True, "source_id": None, "workflow": None, "bound": None}
        ledger.connection.execute(sa.update(origin).where(origin.c.dataset_id.in_(waiting)).values(values))
    return bind(ledger, pairs)


def _read_origins(
    connection: sa.Connection, workflows: Sequence[int], condition: sa.ColumnElement[bool]
) -> Sequence[Any]:
    return connection.execute(_ORIGINS.where(dataset.c.workflow_id.in_(workflows), condition)).all()


def _describe(row: Any) -> tuple[Any, ...]:
    return row.owner, row.dag, row.key, row.match


def _name(owner: str, dag: str) -> str:
    return f"{owner}/{dag}"
