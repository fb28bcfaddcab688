"""Who cancels: a job's state ends at once, its open attempt goes to ``stopping`` until the pilot confirms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.states import FINAL_JOB, AttemptState, Reason, Signal
from p3s.server.db import lock_rows
from p3s.server.models import attempt, job
from p3s.server.transitions.spread import end_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["cancel_jobs", "cancel_some"]

STEP = 500


def cancel_jobs(ledger: Ledger, ids: Sequence[int], by: str, *, tell: bool = True) -> tuple[int, int]:
    """Cancel the jobs among `ids` that are not final; return how many, and how many attempts are to stop."""
    opened = ledger.connection.execute(
        lock_rows(
            sa.select(attempt.c.id, attempt.c.pilot_id)
            .where(
                attempt.c.job_id.in_(ids),
                attempt.c.state.in_([AttemptState.DISPATCHED, AttemptState.RUNNING]),
            )
            .order_by(attempt.c.id)
        )
    ).all()
    stopping = ledger.move("attempt", [row.id for row in opened], Signal.CANCEL) if opened else []
    moved = ledger.move(
        "job", ids, Signal.CANCEL, reason=Reason.CANCELLED_BY, message=f"cancelled by {by}", ended=ledger.now
    )
    ledger.poked.update(row.pilot_id for row in opened)
    end_jobs(ledger, moved, tell_needs=tell)
    return len(moved), len(stopping)


def cancel_some(ledger: Ledger, workflow_id: int, by: str) -> tuple[int, int, bool]:
    """Cancel up to `STEP` jobs of a workflow; return jobs, stopping attempts, and whether some may be left."""
    ids = list(
        ledger.connection.scalars(
            sa.select(job.c.id)
            .where(job.c.workflow_id == workflow_id, job.c.state.not_in(sorted(FINAL_JOB)))
            .order_by(job.c.id)
            .limit(STEP)
        )
    )
    if not ids:
        return 0, 0, False
    # All jobs of the workflow are being ended, so there is nobody to tell.
    jobs, stopping = cancel_jobs(ledger, ids, by, tell=False)
    return jobs, stopping, len(ids) == STEP
