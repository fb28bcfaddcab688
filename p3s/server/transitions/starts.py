"""Who lets a workflow go that is stored, and who ends a load that is not carried on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import JobState, Reason, Signal, WorkflowState
from p3s.engine.times import compute_due
from p3s.errors import Conflict
from p3s.server.models import job, workflow
from p3s.server.prepared import Prepared, has_state, param
from p3s.server.transitions.spread import end_jobs, release_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.prepared import Conditions
    from p3s.server.transitions.ledger import Ledger

__all__ = [
    "IS_HELD",
    "are_abandoned",
    "delete_abandoned",
    "drop_load",
    "find_unstarted",
    "start_some",
    "touch_load",
]

#: Jobs that one transaction starts.
STEP = 500

_WORKFLOW = workflow.c.id == param("workflow_id", sa.BigInteger())
_TOUCH = Prepared(
    sa.update(workflow)
    .where(_WORKFLOW, has_state(workflow, WorkflowState.LOADING))
    .values(touched=param("now", sa.Double()))
    .returning(workflow.c.id)
)


def touch_load(ledger: Ledger, workflow_id: int) -> None:
    """Say that a load goes on.

    Raises
    ------
    Conflict
        If it was silent for so long that it was taken for abandoned and deleted.
    """
    if not _TOUCH.run(ledger.connection, workflow_id=workflow_id, now=ledger.now):
        raise Conflict("the load stood still for so long that it was given up; load again")


def are_abandoned(before: Any) -> Conditions:
    """Return what holds of workflows whose load has written nothing since a moment."""
    return workflow.c.state == WorkflowState.LOADING, workflow.c.touched <= before


def delete_abandoned(ledger: Ledger, silence: float, uuid: str | None = None) -> bool:
    """Delete workflows whose load has written nothing for `silence` seconds, or this one of them.

    Nothing of them could run, and the same request may load them anew.
    """
    gone = sa.and_(*are_abandoned(ledger.now - silence))
    if uuid is not None:
        gone = sa.and_(gone, workflow.c.uuid == uuid)
    rows = ledger.connection.execute(sa.delete(workflow).where(gone).returning(workflow.c.uuid)).all()
    for row in rows:
        ledger.note("workflow", row.uuid, "abandoned", before=WorkflowState.LOADING, cause="its load was interrupted")
    return False


def drop_load(ledger: Ledger, workflow_id: int) -> None:
    """Delete a workflow whose load was refused on the way."""
    mine = sa.and_(workflow.c.id == workflow_id, workflow.c.state == WorkflowState.LOADING)
    for row in ledger.connection.execute(sa.delete(workflow).where(mine).returning(workflow.c.uuid)).all():
        ledger.note("workflow", row.uuid, "abandoned", before=WorkflowState.LOADING, cause="its load was refused")


#: Of jobs that were not started yet, in the words of their index.
IS_HELD = job.c.state == sa.literal_column(f"'{JobState.HELD}'")
_HELD = Prepared(
    sa.select(job.c.id, job.c.reason)
    .where(job.c.workflow_id == param("workflow", sa.BigInteger), IS_HELD)
    .order_by(job.c.id)
    .limit(STEP)
)

_STARTED = Prepared(
    sa.select(workflow.c.started, workflow.c.critical_path, workflow.c.deadline).where(
        _WORKFLOW, has_state(workflow, WorkflowState.RUNNING), workflow.c.cancelled_by.is_(None)
    )
)


def find_unstarted(connection: sa.Connection) -> Sequence[int]:
    """Return the running workflows with held jobs: their start was interrupted."""
    # From one workflow with held jobs to the next one by the index, however many jobs each has.
    held = sa.select(sa.func.min(job.c.workflow_id).label("id")).where(IS_HELD).cte("held", recursive=True)
    after = sa.select(sa.func.min(job.c.workflow_id)).where(IS_HELD, job.c.workflow_id > held.c.id)
    held = held.union_all(sa.select(after.scalar_subquery()).where(held.c.id.is_not(None)))
    return connection.scalars(
        sa.select(workflow.c.id)
        .join(held, held.c.id == workflow.c.id)
        .where(workflow.c.state == WorkflowState.RUNNING, workflow.c.cancelled_by.is_(None))
    ).all()


def start_some(ledger: Ledger, workflow_id: int) -> bool:
    """Let go up to `STEP` held jobs of a running workflow, and return whether some may be left."""
    sent = _STARTED.send(ledger.connection, workflow_id=workflow_id)
    rows = _HELD.run(ledger.connection, workflow=workflow_id)
    parent = next(iter(sent.rows()), None)
    if parent is None:
        return False
    going = [row.id for row in rows if row.reason != Reason.IF]
    refused = [row.id for row in rows if row.reason == Reason.IF]
    allowance = None if parent.deadline is None else parent.deadline - parent.started
    due = compute_due(parent.started, parent.critical_path, allowance)
    release_jobs(ledger, ledger.move("job", going, Signal.START, due=due))
    if refused:
        end_jobs(ledger, ledger.move("job", refused, Signal.SKIP, ended=ledger.now, cause="its `if` said no"))
    return len(rows) == STEP
