"""What a passed deadline brings about: a workflow goes last within its priority, or is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import FINAL_JOB, WorkflowState
from p3s.server.models import job, workflow

if TYPE_CHECKING:
    from p3s.server.prepared import Conditions
    from p3s.server.transitions.ledger import Ledger

__all__ = ["are_late", "are_past", "pass_deadlines", "rewrite_some"]

#: Added to the due time of overdue work: beyond any date, so that it sorts after all that is not overdue.
LATE = 1e10
STEP = 500


_IS_RUNNING = workflow.c.state == sa.literal_column(f"'{WorkflowState.RUNNING}'")


def are_past(now: Any) -> Conditions:
    """Return what holds of workflows whose deadline has passed, which nobody has marked yet."""
    return _IS_RUNNING, workflow.c.late.is_(False), workflow.c.deadline < now


def are_late() -> Conditions:
    """Return what holds of workflows that are marked as late."""
    return _IS_RUNNING, workflow.c.late.is_(True)


def pass_deadlines(ledger: Ledger) -> bool:
    """Mark workflows whose deadline has passed; those that drop are cancelled from here on."""
    rows = ledger.connection.execute(
        sa.select(workflow.c.id, workflow.c.uuid, workflow.c.on_deadline)
        .where(*are_past(ledger.now))
        .order_by(workflow.c.id)
        .limit(STEP)
        .with_for_update()
    ).all()
    for row in rows:
        dropped = {"cancelled_by": "its deadline"} if row.on_deadline == "drop" else {}
        ledger.connection.execute(sa.update(workflow).where(workflow.c.id == row.id).values(late=True, **dropped))
        ledger.note("workflow", row.uuid, "deadline", before="running", after="running", cause="its deadline passed")
    return len(rows) == STEP


def rewrite_some(ledger: Ledger) -> bool:
    """Put up to `STEP` jobs of overdue workflows behind all others of their priority; return if some are left."""
    overdue = ledger.connection.scalars(sa.select(workflow.c.id).where(*are_late())).all()
    if not overdue:
        return False
    ids = list(
        ledger.connection.scalars(
            sa.select(job.c.id)
            .where(job.c.workflow_id.in_(overdue[:STEP]), job.c.due < LATE, job.c.state.not_in(sorted(FINAL_JOB)))
            .order_by(job.c.id)
            .limit(STEP)
        )
    )
    if ids:
        ledger.connection.execute(sa.update(job).where(job.c.id.in_(ids)).values(due=job.c.due + LATE))
    return len(ids) == STEP
