"""Counts by state, and small files by content."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.states import JobState
from p3s.server.models import blob, dataset, job, pilot, workflow

__all__ = ["count_jobs", "count_states", "find_oldest_ready", "read_blob"]


def count_states(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Return, for workflows, pilots and datasets, how many are in each state."""
    counts = {}
    for noun, table in (("workflows", workflow), ("pilots", pilot), ("datasets", dataset)):
        rows = connection.execute(
            sa.select(table.c.state, sa.func.count().label("number")).group_by(table.c.state).order_by(table.c.state)
        )
        counts[noun] = {row.state: row.number for row in rows}
    return counts


def find_oldest_ready(connection: sa.Connection) -> float | None:
    """Return when that job became ready to run that has been ready for longest."""
    found: float | None = connection.scalar(
        sa.select(sa.func.min(job.c.released)).where(job.c.state == JobState.DEFINED)
    )
    return found


def count_jobs(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Return, for each jobtype, how many jobs are in each state."""
    counts: dict[str, dict[str, int]] = {}
    rows = connection.execute(
        sa.select(job.c.jobtype, job.c.state, sa.func.count().label("number")).group_by(job.c.jobtype, job.c.state)
    )
    for row in rows:
        counts.setdefault(row.jobtype, {})[row.state] = row.number
    return counts


def read_blob(connection: sa.Connection, digest: str) -> bytes | None:
    """Return the content with this SHA-256, None if the server has none."""
    data = connection.scalar(sa.select(blob.c.data).where(blob.c.digest == digest))
    return None if data is None else bytes(data)
