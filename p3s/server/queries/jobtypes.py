"""Jobtypes as people see them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from p3s.engine.states import JobState
from p3s.server.models import job, jobtype
from p3s.wire import JobtypeList, JobtypeView

__all__ = ["list_caps", "list_jobtypes"]

_OUT = (JobState.DISPATCHED, JobState.RUNNING)


def list_jobtypes(connection: sa.Connection) -> JobtypeList:
    """Return all jobtypes that have a cap or jobs that have not ended."""
    live = sa.select(job.c.jobtype, job.c.state, sa.func.count().label("number")).where(
        job.c.state.in_((JobState.HELD, JobState.WAITING, JobState.DEFINED, *_OUT))
    )
    found: dict[str, JobtypeView] = {}
    for row in connection.execute(live.group_by(job.c.jobtype, job.c.state)):
        view = found.setdefault(row.jobtype, JobtypeView(name=row.jobtype))
        view.running += row.number if row.state in _OUT else 0
        view.ready += row.number if row.state == JobState.DEFINED else 0
    for row in connection.execute(sa.select(jobtype)):
        view = found.setdefault(row.name, JobtypeView(name=row.name))
        # A cancelled job's payload counts until it has stopped.
        view.cap, view.running = row.cap, row.open
    return JobtypeList(items=[found[name] for name in sorted(found)])


def list_caps(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return name, cap and open attempts of the jobtypes that have a cap."""
    rows = connection.execute(sa.select(jobtype).order_by(jobtype.c.name))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - the documented way
