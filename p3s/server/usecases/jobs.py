"""Changing and deleting jobs, many at once, and the caps of jobtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.names import check_label
from p3s.engine.states import FINAL_WORKFLOW, AttemptState, WorkflowState
from p3s.errors import BadInput, NotAllowed, Problem
from p3s.server.db import split_batches
from p3s.server.models import attempt, job, workflow
from p3s.server.transitions.adjust import adjust_jobs as adjust_some
from p3s.server.transitions.deletions import find_foreign_reader
from p3s.server.transitions.limits import write_cap
from p3s.wire import ManyReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import AdjustBody

__all__ = ["adjust_jobs", "delete_jobs", "limit_jobtype"]

#: Jobs that one transaction changes.
STEP = 250

_OPEN = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)


def adjust_jobs(core: Core, body: AdjustBody, by: str, *, admin: bool) -> ManyReply:
    """Change the priority or the time limit of jobs, hold them or let them go.

    Raises
    ------
    BadInput
        If nothing is asked for, or a job is not there; all problems are listed, and nothing is changed.
    NotAllowed
        If nothing is wrong but that jobs are somebody else's; nothing is changed then.
    """
    if body.priority is None and body.timelimit is None and body.hold is None:
        raise BadInput([Problem("say what to change: a priority, a time limit, or whether to hold", where="priority")])
    _check_jobs(core, body.jobs, None if admin else by)
    left: dict[str, str] = {}
    for batch in split_batches(body.jobs, STEP):
        left |= core.change(by, lambda ledger, batch=batch: adjust_some(ledger, batch, body))  # type: ignore[misc]
    return ManyReply(done=[uuid for uuid in body.jobs if uuid not in left], left=left)


def delete_jobs(core: Core, uuids: Sequence[str], by: str, *, admin: bool) -> ManyReply:
    """Forget standalone jobs that have ended or never started, with the rows of their data; files stay.

    Raises
    ------
    BadInput
        If a job is not there; all problems are listed, and nothing is deleted.
    NotAllowed
        If nothing is wrong but that jobs are somebody else's; nothing is deleted then.
    """
    _check_jobs(core, uuids, None if admin else by)
    left: dict[str, str] = {}
    for batch in split_batches(list(uuids), STEP):
        left |= core.change(by, lambda ledger, batch=batch: _delete_some(ledger, batch))  # type: ignore[misc]
    return ManyReply(done=[uuid for uuid in uuids if uuid not in left], left=left)


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


def _check_jobs(core: Core, uuids: Sequence[str], owner: str | None) -> None:
    found: dict[str, str] = {}
    with core.db.read() as connection:
        for batch in split_batches(list(uuids)):
            rows = connection.execute(sa.select(job.c.uuid, job.c.owner).where(job.c.uuid.in_(batch)))
            found |= {row.uuid: row.owner for row in rows}
    problems = []
    is_foreign = True
    for number, uuid in enumerate(uuids):
        if uuid not in found:
            is_foreign = False
            problems.append(Problem(f"there is no job {uuid}; `p3s job list` shows ids", where=f"jobs[{number}]"))
        elif owner is not None and found[uuid] != owner:
            message = f"job {uuid} belongs to {found[uuid]}; only {found[uuid]} or an admin may change it"
            problems.append(Problem(message, where=f"jobs[{number}]"))
    if problems and is_foreign:
        more = f"; the same holds for {len(problems) - 1} more of these jobs" if len(problems) > 1 else ""
        raise NotAllowed(f"{problems[0].message}{more}")
    if problems:
        raise BadInput(problems)


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
