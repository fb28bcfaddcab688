"""Who has jobs counted anew that bore with an end which is none any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.states import JobState, Signal
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import job, job_input, job_need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["recount_below"]


def recount_below(ledger: Ledger, parents: Sequence[int], made: Sequence[int]) -> None:
    """Have the successors that nobody runs yet counted anew: what they bore with is not final any more."""
    by_need = sa.select(job_need.c.job_id).where(job_need.c.parent_id.in_(parents))
    by_data = sa.select(job_input.c.job_id).where(job_input.c.dataset_id.in_(made))
    below = ledger.connection.scalars(
        lock_rows(
            sa.select(job.c.id)
            .where(
                sa.or_(job.c.id.in_(by_need), job.c.id.in_(by_data)),
                job.c.state.in_((JobState.HELD, JobState.WAITING, JobState.DEFINED)),
            )
            .order_by(job.c.id)
        )
    ).all()
    for batch in split_batches(below):
        ledger.connection.execute(sa.update(job).where(job.c.id.in_(batch)).values(paused=True, released=None))
    if below:
        ledger.move("job", below, Signal.PAUSE)
