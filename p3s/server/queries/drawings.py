"""What drawings of a workflow show: its graph with families as one node where they are closed, and its attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.server.models import attempt, dataset, job, job_input, job_need, pilot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Families",
    "Node",
    "count_families",
    "list_attempts",
    "list_foreign",
    "list_links",
    "list_nodes",
    "list_parents",
    "read_ends",
]


#: Inputs that one statement names by number.
FEW = 500


@dataclass(frozen=True, slots=True)
class Families:
    """How many jobs each family has, and how many data each external name stands for."""

    jobs: dict[str, int]
    externals: dict[str, int]

    def __len__(self) -> int:
        return len(self.jobs) + len(self.externals)


@dataclass(slots=True)
class Node:
    """A job or a dataset; or all of a family or of a name, with their number by state.

    Attributes
    ----------
    key : str
        ``job:NAME``, ``family:NAME``, ``dataset:KEY`` or ``group:NAME``.
    uuid : str
        Of the one that it stands for, or of any of them.
    external : bool
        Whether the workflow reads it and does not make it.
    """

    key: str
    uuid: str
    external: bool = False
    states: dict[str, int] = field(default_factory=dict)


def count_families(connection: sa.Connection, ident: int) -> Families:
    """Count the members of a workflow's families of jobs and of external data."""
    jobs = connection.execute(
        sa.select(job.c.family, sa.func.count()).where(job.c.workflow_id == ident).group_by(job.c.family)
    )
    externals = connection.execute(
        sa.select(job_input.c.name, sa.func.count(job_input.c.key.distinct()))
        .select_from(_join_inputs())
        .where(job.c.workflow_id == ident, _is_foreign(ident))
        .group_by(job_input.c.name)
    )
    return Families({name: number for name, number in jobs}, {name: number for name, number in externals})  # noqa: C416


def list_foreign(connection: sa.Connection, ident: int) -> list[int]:
    """Return the numbers of the inputs of a workflow's jobs that it does not make itself."""
    statement = sa.select(job_input.c.id).select_from(_join_inputs())
    return list(connection.scalars(statement.where(job.c.workflow_id == ident, _is_foreign(ident))))


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
        The inputs that `list_foreign` found.
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


def list_links(
    connection: sa.Connection, ident: int, closed: Iterable[str], shut: Iterable[str]
) -> list[tuple[str, str]]:
    """Return the edges between the nodes that `list_nodes` returns, each once."""
    closed, shut = list(closed), list(shut)
    parent = job.alias("parent")
    mine = job.c.workflow_id == ident
    needs = (
        sa.select(_name_job(parent, closed), _name_job(job, closed))
        .select_from(
            job_need.join(job, job.c.id == job_need.c.job_id).join(parent, parent.c.id == job_need.c.parent_id)
        )
        .where(mine)
    )
    makes = (
        sa.select(_name_job(job, closed), _name_made(closed))
        .join_from(dataset, job, job.c.id == dataset.c.producer_id)
        .where(dataset.c.workflow_id == ident)
    )
    maker = job.alias("maker")
    reads = (
        sa.select(_name_made(closed, maker), _name_job(job, closed))
        .select_from(_join_inputs().join(maker, maker.c.id == dataset.c.producer_id))
        .where(mine, maker.c.workflow_id == ident)
    )
    takes = (
        sa.select(_name_external(shut), _name_job(job, closed))
        .select_from(_join_inputs())
        .where(mine, _is_foreign(ident))
    )
    links: dict[tuple[str, str], None] = {}
    for statement in (needs, makes, reads, takes):
        links |= dict.fromkeys((row[0], row[1]) for row in connection.execute(statement.distinct()))
    # A family whose members feed each other would be its own predecessor.
    return [link for link in links if link[0] != link[1]]


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
    )
    return {row.id: row.ended for row in rows}


def list_parents(connection: sa.Connection, ident: int) -> dict[int, list[int]]:
    """Return the parents of each job of a workflow: those it needs, and those that make what it reads."""
    needs = (
        sa.select(job_need.c.job_id, job_need.c.parent_id)
        .join(job, job.c.id == job_need.c.job_id)
        .where(job.c.workflow_id == ident)
    )
    reads = (
        sa.select(job_input.c.job_id, dataset.c.producer_id)
        .select_from(_join_inputs())
        .where(job.c.workflow_id == ident, dataset.c.workflow_id == ident, dataset.c.producer_id.is_not(None))
    )
    parents: dict[int, list[int]] = {}
    for child, parent in connection.execute(sa.union_all(needs, reads)):
        parents.setdefault(child, []).append(parent)
    return parents


def _gather(
    nodes: dict[str, Node], connection: sa.Connection, statement: sa.Select[Any], *, external: bool = False
) -> None:
    for key, state, number, uuid, _ in sorted(connection.execute(statement), key=lambda row: row[4]):
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
