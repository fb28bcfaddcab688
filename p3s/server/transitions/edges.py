"""Edges: looked at from what ended, whose successors are to be told, or ahead of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import ANYWHERE
from p3s.engine.states import DatasetState, JobState
from p3s.server.models import attempt, dataset, job, job_input, job_need
from p3s.server.prepared import Prepared, among, param
from p3s.server.transitions.origins import FOLLOWERS, WAITERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.pipeline import Later
    from p3s.server.transitions.ledger import Ledger

__all__ = ["AHEAD", "EDGES", "look_ahead"]

#: Edges that are looked for before it is known whether what they leave from has ended.
AHEAD = 64


_SUCCESSOR = job.alias("successor")


def _tell_noop(edge: sa.Table) -> sa.Label[Any]:
    found = sa.select(_SUCCESSOR.c.noop).where(_SUCCESSOR.c.id == edge.c.job_id)
    return found.scalar_subquery().label("noop")


def _prepare_edges(
    edge: sa.Table, source: sa.Column[int], good: sa.ColumnElement[bool], binds: sa.ColumnElement[str], join: sa.Join
) -> Prepared:
    """Return a look at edges.

    A row has ``id``, ``source``, ``job_id``, ``done``: whether crossing it counts as done; ``binds``: the site or
    the URL that binds whoever reads what lies behind it; and ``noop``: whether it leads to a sync point.
    """
    columns = (edge.c.id, source.label("source"), edge.c.job_id, good.label("done"), binds.label("binds"))
    return Prepared(
        sa.select(*columns, _tell_noop(edge))
        .select_from(join)
        # The sources' own rows are asked for by their ids, too: of a table taken for small PostgreSQL reads all.
        .where(among(source, "sources"), among(join.right.c.id, "sources"), edge.c.id > param("after", sa.BigInteger))
        # Not in words of an index: in its order PostgreSQL would look through all edges for those of the sources.
        .order_by(source + 0, edge.c.id)
        .limit(param("room", sa.Integer))
    )


EDGES = {
    "job": _prepare_edges(
        job_need,
        job_need.c.parent_id,
        sa.or_(job_need.c.done, job.c.state == JobState.FINISHED),
        sa.literal_column("''"),
        sa.join(job_need, job, job.c.id == job_need.c.parent_id),
    ),
    "dataset": _prepare_edges(
        job_input,
        job_input.c.dataset_id,
        sa.or_(job_input.c.partial, dataset.c.state == DatasetState.AVAILABLE),
        sa.case(
            (dataset.c.state != DatasetState.AVAILABLE, ""),
            (dataset.c.site.not_in(ANYWHERE), dataset.c.site),
            (dataset.c.place.contains("://"), dataset.c.place),
            else_="",
        ),
        sa.join(job_input, dataset, dataset.c.id == job_input.c.dataset_id),
    ),
    "source": FOLLOWERS,
    "workflow": WAITERS,
}


#: Each is done when it is crossed: by the success of the job that it leaves from.
_EDGES_AHEAD = Prepared(
    sa.select(
        job_need.c.id,
        job_need.c.parent_id.label("source"),
        job_need.c.job_id,
        sa.literal_column("1").label("done"),
        sa.literal_column("''").label("binds"),
        _tell_noop(job_need),
    )
    .join(attempt, attempt.c.job_id == job_need.c.parent_id)
    .where(among(attempt.c.uuid, "uuids"))
    .limit(sa.literal_column(str(AHEAD)))
)


def look_ahead(ledger: Ledger, attempts: Sequence[str]) -> Later:
    """Send for the edges that leave the jobs of attempts; `AHEAD` of them may not be all."""
    return _EDGES_AHEAD.send(ledger.connection, uuids=list(attempts))
