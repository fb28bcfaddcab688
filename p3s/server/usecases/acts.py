"""The smaller wishes: cancel, delete, drain and kill pilots, keep blobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.names import check_host, quote_name
from p3s.engine.numbers import find_numbers
from p3s.engine.states import (
    FINAL_JOB,
    FINAL_WORKFLOW,
    AttemptState,
    JobState,
    PilotStatus,
)
from p3s.engine.states import WorkflowState as W
from p3s.errors import BadInput, Conflict, Problem
from p3s.server.db import insert_missing, insert_new
from p3s.server.models import attempt, blob, blob_number, dag, job, pilot, workflow
from p3s.server.queries.pilots import LIVE
from p3s.server.transitions.deletions import find_foreign_reader
from p3s.server.transitions.ends import cancel_jobs, cancel_some
from p3s.server.transitions.hosts import write_ban
from p3s.wire import CancelReply

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = [
    "ban_host",
    "cancel_job",
    "cancel_workflow",
    "delete_dag",
    "delete_workflow",
    "end_pilot",
    "refuse_loading",
    "store_blob",
    "watch_attempt",
]

#: Seconds for which a look at a running job's output keeps its pilot sending.
WATCH = 30.0


def cancel_workflow(core: Core, row: Any, by: str) -> CancelReply:
    """Cancel all jobs of a workflow that are not final; running payloads are told to stop."""

    def mark(ledger: Ledger) -> None:
        ledger.connection.execute(
            sa.update(workflow)
            .where(workflow.c.id == row.id, workflow.c.state.not_in(sorted(FINAL_WORKFLOW)))
            .values(cancelled_by=by)
        )

    if row.state == W.LOADING:
        raise Conflict(f"workflow {row.uuid} is being loaded; cancel it when that is done")
    core.change(by, mark)
    jobs = stopping = 0
    left = True
    while left:
        more, stops, left = core.change(by, lambda ledger: cancel_some(ledger, row.id, by))
        jobs, stopping = jobs + more, stopping + stops
    with core.db.read() as connection:
        state = connection.scalar(sa.select(workflow.c.state).where(workflow.c.id == row.id))
    return CancelReply(uuid=row.uuid, state=state or "", jobs=jobs, stopping=stopping)


def cancel_job(core: Core, row: Any, by: str) -> CancelReply:
    """Cancel one job; its workflow's other jobs go on where they can."""
    refuse_loading(core, row)
    jobs, stopping = core.change(by, lambda ledger: cancel_jobs(ledger, [row.id], by))
    with core.db.read() as connection:
        state = connection.scalar(sa.select(job.c.state).where(job.c.id == row.id))
    if not jobs and state in FINAL_JOB and state != JobState.CANCELLED:
        raise Conflict(f"job {row.name} is {state} already; there is nothing to cancel")
    return CancelReply(uuid=row.uuid, state=state or "", jobs=jobs, stopping=stopping)


def refuse_loading(core: Core, row: Any) -> None:
    """Check that the workflow of a job is not being loaded.

    Raises
    ------
    Conflict
        If it is.
    """
    with core.db.read() as connection:
        parent = connection.execute(
            sa.select(workflow.c.uuid, workflow.c.state).where(workflow.c.id == row.workflow_id)
        ).one()
    if parent.state == W.LOADING:
        raise Conflict(f"workflow {parent.uuid} of job {row.name} is being loaded; try again when that is done")


def delete_workflow(core: Core, row: Any, by: str) -> None:
    """Delete a workflow that is final or held, with its jobs and the rows of its datasets; files stay.

    Raises
    ------
    Conflict
        If it is not final, or a payload of it has not yet stopped.
    """

    def action(ledger: Ledger) -> None:
        state = ledger.connection.scalar(sa.select(workflow.c.state).where(workflow.c.id == row.id).with_for_update())
        if state is None:
            return
        if state not in FINAL_WORKFLOW and state != W.HELD:
            raise Conflict(f"workflow {row.uuid} is {state}; cancel it first")
        opened = sa.select(attempt.c.id).join(job, job.c.id == attempt.c.job_id)
        open_states = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)
        opened = opened.where(job.c.workflow_id == row.id, attempt.c.state.in_(open_states)).limit(1)
        if ledger.connection.scalar(opened) is not None:
            raise Conflict(f"a payload of workflow {row.uuid} has not yet stopped; try again in a moment")
        reader = find_foreign_reader(ledger.connection, [row.id])
        if reader is not None:
            who = f"job {reader.name} of workflow {reader.workflow[:8]}"
            raise Conflict(f"{who} reads what workflow {row.uuid} made, and has not ended; cancel it first")
        ledger.connection.execute(sa.delete(workflow).where(workflow.c.id == row.id))
        ledger.note("workflow", row.uuid, "delete", before=state)

    core.change(by, action)


def delete_dag(core: Core, row: Any, by: str, *, whole: bool) -> None:
    """Delete a version of a DAG, or all of them; workflows made of it stay and lose the link."""

    def action(ledger: Ledger) -> None:
        mine = sa.and_(dag.c.owner == row.owner, dag.c.name == row.name)
        ids = sa.select(dag.c.id).where(mine if whole else dag.c.id == row.id)
        ledger.connection.execute(sa.update(workflow).where(workflow.c.dag_id.in_(ids)).values(dag_id=None))
        ledger.connection.execute(sa.delete(dag).where(dag.c.id.in_(ids)))
        # Its row's number is never used again.
        ledger.note("dag", f"dag-{row.id}", "delete", cause=f"{row.name}, by {by}")

    core.change(by, action)


def end_pilot(core: Core, row: Any, status: PilotStatus, by: str) -> None:
    """Tell a pilot to drain, or to stop at once.

    Raises
    ------
    Conflict
        If it is gone already.
    """

    def action(ledger: Ledger) -> None:
        told = ledger.connection.execute(
            sa.update(pilot)
            .where(pilot.c.id == row.id, pilot.c.state.in_(LIVE))
            .values(status=status, reason=f"{status} by {by}")
        )
        if told.rowcount == 0:
            raise Conflict(f"pilot {row.uuid} is {row.state} already")
        ledger.note("pilot", row.uuid, status.lower(), before=row.state, after=row.state)
        ledger.poked.add(row.id)

    core.change(by, action)


def ban_host(core: Core, name: str, reason: str | None, by: str) -> None:
    """Give a host no more jobs, for a reason; or, with None, give it jobs again.

    Raises
    ------
    BadInput
        If no host can be called so.
    """
    if wrong := check_host(name):
        raise BadInput([Problem(f"{quote_name(name)} {wrong}", where="name")])
    core.change(by, lambda ledger: write_ban(ledger, name, reason, by))
    if reason is None:
        core.ring_all()


def store_blob(core: Core, digest: str, data: bytes, by: str) -> None:
    """Keep a file by its content, and the numbers in it if it is a JSON summary.

    Raises
    ------
    BadInput
        If the content has another digest, or is too large.
    """
    if len(data) > core.settings.max_result:
        raise BadInput([Problem(f"the file has {len(data)} bytes; a result may have {core.settings.max_result}")])
    if hashlib.sha256(data).hexdigest() != digest:
        raise BadInput([Problem(f"the content's SHA-256 is not {digest}; send it again", where="digest")])

    numbers = find_numbers(data)

    def action(ledger: Ledger) -> None:
        row = {"digest": digest, "size": len(data), "data": data, "created": ledger.now}
        if insert_new(ledger.connection, blob, row):
            ledger.note("file", digest[:36], "store", cause=f"{digest}, {len(data)} bytes, by pilot {by}")
        if numbers:
            rows = [{"digest": digest, "key": key, "value": value} for key, value in numbers.items()]
            insert_missing(ledger.connection, blob_number, rows)

    core.change("blob", action)


def watch_attempt(core: Core, ident: int) -> None:
    """Have the pilot of a running attempt send what the payload prints, for a while."""

    def action(ledger: Ledger) -> None:
        row = ledger.connection.execute(
            sa.update(attempt)
            .where(
                attempt.c.id == ident,
                attempt.c.state == AttemptState.RUNNING,
                attempt.c.watched < ledger.now + WATCH / 2,
            )
            .values(watched=ledger.now + WATCH)
            .returning(attempt.c.pilot_id)
        ).one_or_none()
        if row is not None:
            ledger.poked.add(row.pilot_id)

    core.change("watch", action)
