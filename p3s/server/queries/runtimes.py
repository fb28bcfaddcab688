"""How long jobs of a DAG took: samples are added when a workflow ends, and read when the next one is loaded."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import JobState
from p3s.server.db import insert_missing
from p3s.server.models import dag, job, runtime, workflow

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["estimate_end", "read_expected", "record_runtimes"]

#: Samples kept for each family of jobs: enough for a median, few enough to follow a change.
SAMPLES = 25


def read_expected(connection: sa.Connection, owner: str) -> dict[str, dict[str, float]]:
    """Return, for each DAG of an owner, the median seconds of each family of jobs; those never run are left out."""
    expected: dict[str, dict[str, float]] = {}
    for row in connection.execute(sa.select(runtime).where(runtime.c.owner == owner)):
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


def record_runtimes(connection: sa.Connection, workflows: Collection[int]) -> None:
    """Add what the finished jobs of workflows that just ended took; standalone jobs have no DAG."""
    if not workflows:
        return
    rows = connection.execute(
        sa.select(dag.c.owner, dag.c.name, job.c.family, job.c.started, job.c.ended)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .join(dag, dag.c.id == workflow.c.dag_id)
        .where(
            workflow.c.id.in_(workflows),
            job.c.state == JobState.FINISHED,
            job.c.noop.is_(False),
            job.c.started.is_not(None),
        )
        .order_by(job.c.id.desc())
        .limit(20_000)
    ).all()
    fresh: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        samples = fresh.setdefault((row.owner, row.name, row.family), [])
        if len(samples) < SAMPLES:
            samples.append(round(row.ended - row.started, 3))
    # One order of rows, whoever records: two endings of one DAG must not lock each other out.
    for (owner, name, family), samples in sorted(fresh.items()):
        key = (runtime.c.owner == owner, runtime.c.dag == name, runtime.c.family == family)
        known = connection.scalar(sa.select(runtime.c.samples).where(*key).with_for_update())
        if known is None:
            values = {"owner": owner, "dag": name, "family": family, "samples": samples}
            insert_missing(connection, runtime, [values])
        else:
            connection.execute(sa.update(runtime).where(*key).values(samples=(known + samples)[-SAMPLES:]))
