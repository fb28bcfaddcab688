"""Where the data of a job is."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.matching import ANYWHERE
from p3s.engine.states import DatasetState
from p3s.server.models import dataset, job_input

__all__ = ["explain_conflict"]


def explain_conflict(connection: sa.Connection, job_id: int) -> str:
    """Return which inputs of a job are at sites of which no pilot has more than one."""
    rows = connection.execute(
        sa.select(dataset.c.site, sa.func.min(job_input.c.key).label("key"))
        .join(job_input, job_input.c.dataset_id == dataset.c.id)
        .where(job_input.c.job_id == job_id, dataset.c.state == DatasetState.AVAILABLE, dataset.c.site.not_in(ANYWHERE))
        .group_by(dataset.c.site)
        .order_by(dataset.c.site)
    ).all()
    parts = ", ".join(f"dataset {row.key} only at site {row.site}" for row in rows)
    return (
        f"no pilot can read all its inputs: {parts}; register one of them at a URL, or give the pilots that make "
        "them `--data` at a URL"
    )
