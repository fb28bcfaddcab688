"""What drawings of a workflow show: its graph with families as one node where they are closed, and its attempts."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.folding import Graph, Node
from p3s.server.models import attempt, dataset, job, job_input, job_need, pilot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["list_attempts", "list_nodes", "read_ends", "read_graph"]


#: Inputs that one statement names by number.
FEW = 500


def read_graph(connection: sa.Connection, ident: int) -> Graph[int]:
    """Return a workflow's jobs and data with their edges, by the numbers of their rows."""
    mine = job.c.workflow_id == ident
    jobs = connection.execute(
        sa.select(job.c.id, job.c.uuid, job.c.name, job.c.family).where(mine).order_by(job.c.id)
    ).all()
    made = connection.execute(
        sa.select(dataset.c.id, dataset.c.uuid, dataset.c.key, dataset.c.name, dataset.c.producer_id)
        .where(dataset.c.workflow_id == ident, dataset.c.producer_id.is_not(None))
        .order_by(dataset.c.id)
    ).all()
    reads = connection.execute(
        sa.select(job_input.c.id, job_input.c.job_id, job_input.c.dataset_id, job_input.c.name, job_input.c.key)
        .join(job, job.c.id == job_input.c.job_id)
        .where(mine)
        .order_by(job_input.c.id)
    ).all()
    needs = connection.execute(
        sa.select(job_need.c.job_id, job_need.c.parent_id)
        .join(job, job.c.id == job_need.c.job_id)
        .where(mine)
        .order_by(job_need.c.id)
    ).all()
    known = {row[0]: (row[1], row[2], row[3]) for row in jobs}
    # Of a workflow that is being loaded, edges may be there that have been written after its jobs were read.
    return Graph(
        known,
        {row[0]: (row[1], row[2], row[3], row[4]) for row in made if row[4] in known},
        [(row[0], row[1], row[2], row[3], row[4]) for row in reads if row[1] in known],
        [(row[0], row[1]) for row in needs if row[0] in known and row[1] in known],
    )


def list_nodes(
    connection: sa.Connection, ident: int, closed: Iterable[str], shut: Iterable[str], foreign: Sequence[int]
) -> list[Node]:
    """Return the nodes of a workflow's graph with their states, in the order in which they were written.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    ident : int
        The workflow.
    closed, shut : iterable of str
        Families of jobs, and names of external data, that are one node each.
    foreign : sequence of int
        The numbers of its inputs that it does not make itself.
    """
    closed, shut = list(closed), list(shut)
    # A few are found by their numbers, many together with all other inputs.
    outer = job_input.c.id.in_(foreign) if len(foreign) <= FEW else _is_foreign(ident)
    nodes: dict[str, Node] = {}
    key = _name_job(job, closed).label("node")
    _gather(
        nodes,
        connection,
        sa.select(key, job.c.state, sa.func.count(), sa.func.min(job.c.uuid), sa.func.min(job.c.id))
        .where(job.c.workflow_id == ident)
        .group_by("node", job.c.state),
    )
    made = _name_made(closed).label("node")
    _gather(
        nodes,
        connection,
        sa.select(made, dataset.c.state, sa.func.count(), sa.func.min(dataset.c.uuid), sa.func.min(dataset.c.id))
        .join(job, job.c.id == dataset.c.producer_id)
        .where(dataset.c.workflow_id == ident)
        .group_by("node", dataset.c.state),
    )
    read = _name_external(shut).label("node")
    _gather(
        nodes,
        connection,
        sa.select(
            read,
            dataset.c.state,
            sa.func.count(dataset.c.id.distinct()),
            sa.func.min(dataset.c.uuid),
            sa.func.min(dataset.c.id),
        )
        .select_from(_join_inputs())
        .where(job.c.workflow_id == ident, outer)
        .group_by("node", dataset.c.state),
        external=True,
    )
    return list(nodes.values())


def list_attempts(connection: sa.Connection, ident: int, limit: int) -> list[Any]:
    """Return a workflow's newest attempts with their job and pilot, oldest first."""
    rows = connection.execute(
        sa.select(
            attempt.c.number,
            attempt.c.state,
            attempt.c.reason,
            attempt.c.created,
            attempt.c.started,
            attempt.c.ended,
            job.c.id.label("job_id"),
            job.c.uuid.label("job"),
            job.c.name,
            pilot.c.uuid.label("pilot"),
            pilot.c.name.label("pilot_name"),
            pilot.c.host,
        )
        .join(job, job.c.id == attempt.c.job_id)
        .join(pilot, pilot.c.id == attempt.c.pilot_id)
        .where(job.c.workflow_id == ident)
        .order_by(attempt.c.id.desc())
        .limit(limit)
    ).all()
    return list(reversed(rows))


def read_ends(connection: sa.Connection, ident: int) -> dict[int, float]:
    """Return when the jobs of a workflow ended that ran or that the server finished."""
    rows = connection.execute(
        sa.select(job.c.id, job.c.ended).where(job.c.workflow_id == ident, job.c.ended.is_not(None))
    ).all()
    return {row[0]: row[1] for row in rows}


def _gather(
    nodes: dict[str, Node], connection: sa.Connection, statement: sa.Select[Any], *, external: bool = False
) -> None:
    for key, state, number, uuid, _ in sorted(connection.execute(statement).all(), key=itemgetter(4)):
        nodes.setdefault(key, Node(key, uuid, external)).states[state] = number


def _join_inputs() -> sa.Join:
    return job_input.join(job, job.c.id == job_input.c.job_id).join(dataset, dataset.c.id == job_input.c.dataset_id)


def _is_foreign(ident: int) -> sa.ColumnElement[bool]:
    return sa.or_(dataset.c.producer_id.is_(None), dataset.c.workflow_id != ident)


def _name_job(table: sa.FromClause, closed: list[str]) -> sa.ColumnElement[str]:
    return _name(table.c.family.in_(closed), "family:", table.c.family, "job:", table.c.name)


def _name_made(closed: list[str], maker: sa.FromClause = job) -> sa.ColumnElement[str]:
    return _name(maker.c.family.in_(closed), "group:", dataset.c.name, "dataset:", dataset.c.key)


def _name_external(shut: list[str]) -> sa.ColumnElement[str]:
    # The row may be another workflow's, with that one's name for it.
    return _name(job_input.c.name.in_(shut), "group:", job_input.c.name, "dataset:", job_input.c.key)


def _name(
    is_one: sa.ColumnElement[bool], kind: str, name: sa.ColumnElement[str], single: str, key: sa.ColumnElement[str]
) -> sa.ColumnElement[str]:
    """Return the key of a node: of the whole kind where `is_one` says so, else of the single object."""
    whole = sa.literal_column(f"'{kind}'", sa.Text).concat(name)
    return sa.case((is_one, whole), else_=sa.literal_column(f"'{single}'", sa.Text).concat(key))
