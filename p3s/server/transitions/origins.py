"""Data that another DAG makes: which workflow it comes from, and that it becomes what its source becomes.

Whoever reads such data has a dataset of its own for it, without a producer. It is bound, once, to the dataset of the
newest workflow that matches, or waits for one to start; from then on it follows: available when its source is, failed
when its source fails, expected again when that is retried. `p3s.server.transitions.spread` calls this when a source or
a workflow has something to tell; `p3s.server.transitions.bindings` when a reader is loaded, started or retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from p3s.engine.states import DatasetState, JobState, Signal
from p3s.server.models import dataset, job, origin, workflow
from p3s.server.prepared import Prepared, among, param
from p3s.server.transitions.recounts import recount_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["FOLLOWERS", "WAITERS", "Pair", "bind", "bind_waiters", "follow", "follow_some"]

_READER = dataset.alias("reader")
_FOLLOWERS = (
    sa.select(
        origin.c.dataset_id.label("id"),
        origin.c.source_id.label("source"),
        dataset.c.state,
        dataset.c.place,
        dataset.c.site,
        dataset.c.size,
        dataset.c.checksum,
        dataset.c.message,
        job.c.name.label("maker"),
        job.c.state.label("maker_state"),
        job.c.reason.label("maker_reason"),
        workflow.c.uuid.label("workflow"),
        workflow.c.name.label("workflow_name"),
    )
    .join(dataset, dataset.c.id == origin.c.source_id)
    .join(job, job.c.id == dataset.c.producer_id)
    .join(workflow, workflow.c.id == dataset.c.workflow_id)
)
#: Edges from datasets to those that follow them.
FOLLOWERS = Prepared(
    _FOLLOWERS.where(among(origin.c.source_id, "sources"), origin.c.dataset_id > param("after", sa.BigInteger))
    # Not in words of an index; see `p3s.server.transitions.spread`.
    .order_by(origin.c.source_id + 0, origin.c.dataset_id)
    .limit(param("room", sa.Integer))
)
_THESE = Prepared(_FOLLOWERS.where(among(origin.c.dataset_id, "ids")).order_by(origin.c.source_id, origin.c.dataset_id))
#: Edges from workflows that were started to data that waits for one of their name.
WAITERS = Prepared(
    sa.select(
        origin.c.dataset_id.label("id"),
        workflow.c.id.label("source"),
        workflow.c.uuid.label("workflow"),
        workflow.c.name.label("workflow_name"),
        workflow.c.params,
        origin.c.key,
        origin.c.match,
        _READER.c.uuid,
    )
    .join(workflow, sa.and_(workflow.c.owner == origin.c.owner, workflow.c.name == origin.c.dag))
    .join(_READER, _READER.c.id == origin.c.dataset_id)
    .where(
        among(workflow.c.id, "sources"),
        # Written out, so that the index of what waits is used whatever the parameters.
        origin.c.waiting.is_(True),
        origin.c.dataset_id > param("after", sa.BigInteger),
    )
    .order_by(workflow.c.id + 0, origin.c.dataset_id)
    .limit(param("room", sa.Integer))
)


class Pair(NamedTuple):
    """Data, and the workflow that it is to come from; as a row of `WAITERS` says it."""

    id: int
    uuid: str
    key: str
    source: int
    workflow: str
    workflow_name: str


def bind_waiters(ledger: Ledger, edges: Sequence[Any]) -> list[int]:
    """Bind what waited for workflows of a name and matches; return the datasets whose consumers are to be told."""
    return bind(ledger, [edge for edge in edges if _fits(edge.match, edge.params)])


def bind(ledger: Ledger, pairs: Sequence[Pair | sa.Row[Any]]) -> list[int]:
    """Bind data to workflows.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    pairs : sequence of Pair or rows of `WAITERS`
        What is bound to what.

    Returns
    -------
    list of int
        Those of the data that are not expected any more: their consumers are to be told.
    """
    groups: dict[tuple[int, str], list[Any]] = {}
    for pair in pairs:
        groups.setdefault((pair.source, pair.key), []).append(pair)
    told: list[int] = []
    bound: list[int] = []
    for (source, key), group in sorted(groups.items()):
        ids = [pair.id for pair in group]
        found = ledger.connection.scalar(
            sa.select(dataset.c.id).where(
                dataset.c.workflow_id == source, dataset.c.key == key, dataset.c.producer_id.is_not(None)
            )
        )
        values = {"source_id": found, "workflow": group[0].workflow, "bound": ledger.now, "waiting": False}
        ledger.connection.execute(sa.update(origin).where(origin.c.dataset_id.in_(ids)).values(values))
        name = f"workflow {group[0].workflow_name} {group[0].workflow[:8]}"
        for pair in group:
            ledger.note("dataset", pair.uuid, "bind", after=DatasetState.EXPECTED, cause=f"{name} was started")
        if found is None:
            told += ledger.move("dataset", ids, Signal.FAIL, message=f"will not come: {name} makes no dataset {key}")
        bound += ids if found is not None else []
    return told + follow_some(ledger, bound)


def follow_some(ledger: Ledger, ids: Sequence[int]) -> list[int]:
    """Let these data be what their sources are; return those whose consumers are to be told."""
    return follow(ledger, _THESE.run(ledger.connection, ids=list(ids))) if ids else []


def follow(ledger: Ledger, edges: Sequence[Any]) -> list[int]:
    """Let data be what its source is; return the datasets whose consumers are to be told."""
    sources: dict[int, list[Any]] = {}
    for edge in edges:
        sources.setdefault(edge.source, []).append(edge)
    told: list[int] = []
    for group in sources.values():
        one, ids = group[0], [edge.id for edge in group]
        if one.state == DatasetState.EXPECTED:
            # It is made again. Who bore with its end counts it anew; who was skipped for it has to be retried.
            recount_below(ledger, (), ledger.move("dataset", ids, Signal.RETRY, message=""))
            continue
        if one.state == DatasetState.AVAILABLE:
            signal, values = Signal.REGISTER, _describe(one)
        else:
            signal, values = Signal.FAIL, {"message": one.message or _explain(one)}
        moved = ledger.move("dataset", ids, signal, expected=DatasetState.EXPECTED, **values)
        told += moved
        # The consumers of the others have ended, or did without it: there is nobody to tell.
        ledger.move("dataset", sorted(set(ids) - set(moved)), signal, **values)
    return told


def _describe(one: Any) -> dict[str, Any]:
    return {"place": one.place, "site": one.site, "size": one.size, "checksum": one.checksum, "message": ""}


def _explain(one: Any) -> str:
    if one.maker_state == JobState.FINISHED:
        return f"is {one.state} in workflow {one.workflow_name} {one.workflow[:8]}"
    reason = f" ({one.maker_reason})" if one.maker_reason else ""
    return f"will not come: job {one.maker} of {one.workflow_name} {one.workflow[:8]} is {one.maker_state}{reason}"


def _fits(match: Mapping[str, str], params: Mapping[str, str]) -> bool:
    return all(params.get(name) == value for name, value in match.items())
