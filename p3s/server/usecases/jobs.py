"""Changing, cancelling, retrying and deleting jobs, many at once, and the caps of jobtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.names import check_label
from p3s.engine.states import FINAL_JOB, FINAL_WORKFLOW, AttemptState, JobState, Reason, WorkflowState
from p3s.errors import BadInput, Conflict, Problem
from p3s.server.db import split_batches
from p3s.server.models import attempt, job, workflow
from p3s.server.transitions.adjust import adjust_jobs as adjust_some
from p3s.server.transitions.deletions import find_foreign_reader
from p3s.server.transitions.ends import cancel_jobs as cancel_some
from p3s.server.transitions.limits import write_cap
from p3s.server.usecases.holds import retry_below
from p3s.wire import CancelJobsReply, ManyReply, RetryJobsReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import AdjustBody

__all__ = ["adjust_jobs", "cancel_jobs", "delete_jobs", "limit_jobtype", "retry_jobs"]

#: Jobs that one transaction changes.
STEP = 250

_OPEN = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)


def adjust_jobs(core: Core, body: AdjustBody, by: str, *, admin: bool) -> ManyReply:
    """Change the priority or the time limit of jobs, hold them or let them go.

    Raises
    ------
    BadInput
        If nothing is asked for.
    """
    if body.priority is None and body.timelimit is None and body.hold is None:
        raise BadInput([Problem("say what to change: a priority, a time limit, or whether to hold", where="priority")])
    rows, left = _find_jobs(core, body.jobs, None if admin else by)
    for batch in split_batches(list(rows), STEP):
        left |= core.change(by, lambda ledger, batch=batch: adjust_some(ledger, batch, body))  # type: ignore[misc]
    return ManyReply(done=[uuid for uuid in rows if uuid not in left], left=left)


def cancel_jobs(core: Core, uuids: Sequence[str], by: str, *, admin: bool) -> CancelJobsReply:
    """Cancel jobs; running payloads are told to stop, and other jobs of their workflows go on where they can."""
    rows, left = _find_jobs(core, uuids, None if admin else by, loaded=True)
    stopping = 0
    for batch in split_batches(list(rows.values()), STEP):
        ids = [row.id for row in batch]
        stops, more = core.change(by, lambda ledger, ids=ids: _cancel_some(ledger, ids, by))  # type: ignore[misc]
        left |= more
        stopping += stops
    return CancelJobsReply(done=[uuid for uuid in rows if uuid not in left], left=left, stopping=stopping)


def retry_jobs(core: Core, uuids: Sequence[str], by: str, *, admin: bool) -> RetryJobsReply:
    """Run jobs again that did not finish, and the skipped ones that depend on them."""
    rows, left = _find_jobs(core, uuids, None if admin else by, loaded=True)
    moved: set[int] = set()
    for batch in split_batches(list(rows.values()), STEP):
        left |= _retry_some(core, batch, by, moved)
    with core.db.read() as connection:
        stay = [row.id for uuid, row in rows.items() if row.id not in moved and uuid not in left]
        left |= {uuid: why for batch in split_batches(stay) for uuid, why in _explain_stay(connection, batch).items()}
    return RetryJobsReply(done=[uuid for uuid in rows if uuid not in left], left=left, jobs=len(moved))


def delete_jobs(core: Core, uuids: Sequence[str], by: str, *, admin: bool) -> ManyReply:
    """Forget standalone jobs that have ended or never started, with the rows of their data; files stay."""
    rows, left = _find_jobs(core, uuids, None if admin else by)
    for batch in split_batches(list(rows), STEP):
        left |= core.change(by, lambda ledger, batch=batch: _delete_some(ledger, batch))  # type: ignore[misc]
    return ManyReply(done=[uuid for uuid in rows if uuid not in left], left=left)


def limit_jobtype(core: Core, name: str, cap: int | None, by: str) -> None:
    """Let at most `cap` jobs of a type be with pilots at once; 0 suspends the type, None lifts the cap.

    Raises
    ------
    BadInput
        If no job could be of such a type.
    """
    if wrong := check_label(name):
        raise BadInput([Problem(f"jobtype '{name}' {wrong}", where="name")])
    core.change(by, lambda ledger: write_cap(ledger, name, cap))
    core.read_caps()
    core.ring_all()


def _find_jobs(
    core: Core, uuids: Sequence[str], owner: str | None, *, loaded: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the rows of jobs that may be acted on, by uuid in the order given, and why the others may not.

    One that is gone or somebody else's keeps none of the others from it. With `loaded`, neither does one of a workflow
    that is being loaded.
    """
    found: dict[str, Any] = {}
    with core.db.read() as connection:
        for batch in split_batches(list(uuids)):
            rows = connection.execute(
                sa.select(job.c.id, job.c.uuid, job.c.owner, job.c.workflow_id, workflow.c.state)
                .join(workflow, workflow.c.id == job.c.workflow_id)
                .where(job.c.uuid.in_(batch))
            )
            found |= {row.uuid: row for row in rows}
    left: dict[str, str] = {}
    for uuid in uuids:
        row = found.get(uuid)
        if row is None:
            left[uuid] = f"there is no job {uuid}, or it is in the archive; `p3s job list` shows ids"
        elif owner not in (None, row.owner):
            left[uuid] = f"it belongs to {row.owner}; only {row.owner} or an admin may change it"
        elif loaded and row.state == WorkflowState.LOADING:
            left[uuid] = "its workflow is being loaded; try again when that is done"
    return {uuid: found[uuid] for uuid in uuids if uuid not in left}, left


def _cancel_some(ledger: Ledger, ids: Sequence[int], by: str) -> tuple[int, dict[str, str]]:
    _, stopping = cancel_some(ledger, ids, by)
    rows = ledger.connection.execute(
        sa.select(job.c.uuid, job.c.state).where(job.c.id.in_(ids), job.c.state != JobState.CANCELLED)
    )
    return stopping, {row.uuid: f"it is {row.state} already; there is nothing to cancel" for row in rows}


def _retry_some(core: Core, rows: Sequence[Any], by: str, moved: set[int]) -> dict[str, str]:
    """Retry jobs together, or, where one is in the way of the others, apart; return why some stay as they are."""
    try:
        retry_below(core, rows, by, moved)
    except Conflict as error:
        if len(rows) == 1:
            return {rows[0].uuid: str(error)}
        half = len(rows) // 2
        return _retry_some(core, rows[:half], by, moved) | _retry_some(core, rows[half:], by, moved)
    return {}


def _explain_stay(connection: sa.Connection, ids: Sequence[int]) -> dict[str, str]:
    """Return by uuid why jobs were not retried."""
    opened = sa.exists().where(attempt.c.job_id == job.c.id, attempt.c.state.in_(_OPEN))
    wanted = sa.select(job.c.uuid, job.c.state, job.c.reason, opened.label("opened")).where(job.c.id.in_(ids))
    why = {}
    for row in connection.execute(wanted):
        if row.opened and row.state in FINAL_JOB:
            why[row.uuid] = f"it is {row.state}, and its payload has not yet stopped; try again in a moment"
        elif row.reason == Reason.IF:
            why[row.uuid] = "its own `if` says that it does not run"
        else:
            why[row.uuid] = f"it is {row.state}; only what failed, or was cancelled or skipped, is retried"
    return why


def _delete_some(ledger: Ledger, uuids: Sequence[str]) -> dict[str, str]:
    opened = sa.exists().where(attempt.c.job_id == job.c.id, attempt.c.state.in_(_OPEN))
    rows = ledger.connection.execute(
        sa.select(
            job.c.uuid,
            workflow.c.id.label("workflow_id"),
            workflow.c.uuid.label("workflow"),
            workflow.c.state,
            opened.label("opened"),
        )
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(job.c.uuid.in_(uuids))
        .order_by(workflow.c.id)
        .with_for_update(of=workflow)
    ).all()
    left = {row.uuid: why for row in rows if (why := _find_objection(row))}
    for row in rows:
        if row.uuid not in left and (reader := find_foreign_reader(ledger.connection, [row.workflow_id])) is not None:
            left[row.uuid] = f"job {reader.name} of workflow {reader.workflow[:8]} reads what it made and has not ended"
    going = [row for row in rows if row.uuid not in left]
    ledger.connection.execute(sa.delete(workflow).where(workflow.c.id.in_([row.workflow_id for row in going])))
    for row in going:
        ledger.note("job", row.uuid, "delete", before=row.state)
    return left


def _find_objection(row: Any) -> str:
    if row.uuid != row.workflow:
        return (
            f"it is a part of workflow {row.workflow[:8]}; `p3s workflow delete {row.workflow[:8]}` deletes the whole"
        )
    if row.state not in FINAL_WORKFLOW and row.state != WorkflowState.HELD:
        return "it has not ended; `p3s job cancel` ends it"
    return "its payload has not yet stopped; try again in a moment" if row.opened else ""
