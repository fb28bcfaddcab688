"""How long jobs of a DAG took: samples are added when a workflow ends, and read when the next one is loaded."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import JobState
from p3s.server.bulk import BulkInsert, encode_json
from p3s.server.db import lock_rows
from p3s.server.models import dag, job, runtime, workflow
from p3s.server.prepared import Prepared, among, param

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["estimate_end", "read_expected", "record_runtimes"]

#: Samples kept for each family of jobs: enough for a median, few enough to follow a change.
SAMPLES = 25


_EXPECTED = Prepared(
    sa.select(runtime.c.dag, runtime.c.family, runtime.c.samples).where(runtime.c.owner == param("owner", sa.Text()))
)


def read_expected(connection: sa.Connection, owner: str) -> dict[str, dict[str, float]]:
    """Return, for each DAG of an owner, the median seconds of each family of jobs; those never run are left out."""
    expected: dict[str, dict[str, float]] = {}
    for row in _EXPECTED.run(connection, owner=owner):
        expected.setdefault(row.dag, {})[row.family] = median(row.samples)
    return expected


def estimate_end(connection: sa.Connection, row: Any, name: str | None, now: float) -> float | None:
    """Return when a running workflow ends if nothing waits for a pilot; None as long as no run times are known.

    That is when its longest path ends: ranks were computed from the run times that were known at its load.
    """
    if row.state != "running" or name is None:
        return None
    known = sa.select(runtime.c.family).where(runtime.c.owner == row.owner, runtime.c.dag == name).limit(1)
    if connection.scalar(known) is None:
        return None
    gone = sa.case((job.c.state == JobState.RUNNING, now - job.c.started), else_=0.0)
    open_states = (JobState.WAITING, JobState.DEFINED, JobState.DISPATCHED, JobState.RUNNING)
    left = connection.scalar(
        sa.select(sa.func.max(job.c.rank - gone)).where(job.c.workflow_id == row.id, job.c.state.in_(open_states))
    )
    # To the minute, so that the page stays the same while nothing happens.
    return None if left is None else round((now + max(0.0, left)) / 60) * 60.0


_FAMILIES = (
    sa.select(
        dag.c.owner,
        dag.c.name,
        job.c.family,
        job.c.started,
        job.c.ended,
        sa.func.row_number()
        .over(partition_by=(dag.c.owner, dag.c.name, job.c.family), order_by=job.c.id.desc())
        .label("place"),
    )
    .join(workflow, workflow.c.id == job.c.workflow_id)
    .join(dag, dag.c.id == workflow.c.dag_id)
    .where(
        among(workflow.c.id, "workflows"),
        job.c.state == sa.literal_column(f"'{JobState.FINISHED}'"),
        job.c.noop.is_(False),
        job.c.started.is_not(None),
    )
    .subquery()
)
#: The last ones of each family.
_FRESH = Prepared(sa.select(_FAMILIES).where(_FAMILIES.c.place <= SAMPLES).order_by(_FAMILIES.c.place))
#: Locked in one order, whoever records: two endings of one DAG must not lock each other out.
_KNOWN = Prepared(
    lock_rows(
        sa.select(runtime.c.family, runtime.c.samples)
        .where(
            runtime.c.owner == param("owner", sa.Text()),
            runtime.c.dag == param("dag", sa.Text()),
            among(runtime.c.family, "families"),
        )
        .order_by(runtime.c.family)
    )
)
_KEEP = BulkInsert(runtime, ("owner", "dag", "family", "samples"), replacing=("samples",))


def record_runtimes(connection: sa.Connection, workflows: Collection[int]) -> None:
    """Add what the finished jobs of workflows that just ended took; standalone jobs have no DAG."""
    if not workflows:
        return
    fresh: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in _FRESH.run(connection, workflows=sorted(workflows)):
        families = fresh.setdefault((row.owner, row.name), {})
        families.setdefault(row.family, []).append(round(row.ended - row.started, 3))
    for (owner, name), families in sorted(fresh.items()):
        rows = _KNOWN.run(connection, owner=owner, dag=name, families=sorted(families))
        known = {row.family: row.samples for row in rows}
        kept = {family: (known.get(family, []) + samples)[-SAMPLES:] for family, samples in sorted(families.items())}
        _KEEP.run(connection, [(owner, name, family, encode_json(samples)) for family, samples in kept.items()])
