"""Pause, resume and retry, of a workflow, a job or the whole server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import Signal, WorkflowState
from p3s.errors import Conflict
from p3s.server.db import lock_rows
from p3s.server.models import job, meta, workflow
from p3s.server.transitions.pauses import list_retriable, pause_some, resume_some, retake_some, retry_jobs
from p3s.server.usecases.acts import refuse_loading
from p3s.wire import RetryReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = [
    "pause_server",
    "pause_workflow",
    "resume_server",
    "resume_workflow",
    "retry_below",
    "retry_job",
    "retry_workflow",
]


def pause_workflow(core: Core, row: Any, by: str) -> None:
    """Hold back what is not dispatched; what is dispatched runs on and counts.

    Raises
    ------
    Conflict
        If the workflow is neither running nor paused.
    """

    def mark(ledger: Ledger) -> None:
        paused = ledger.move("workflow", [row.id], Signal.PAUSE, message=f"paused by {by}")
        if not paused and row.state != WorkflowState.PAUSED:
            raise Conflict(f"workflow {row.uuid} is {row.state}, and only a running one can be paused")

    core.change(by, mark)
    while core.change(by, lambda ledger: pause_some(ledger, row.id)):
        pass


def resume_workflow(core: Core, row: Any, by: str) -> None:
    """Let a paused workflow go on.

    Raises
    ------
    Conflict
        If it is neither paused nor running.
    """

    def mark(ledger: Ledger) -> None:
        if not ledger.move("workflow", [row.id], Signal.RESUME, message="") and row.state != WorkflowState.RUNNING:
            raise Conflict(f"workflow {row.uuid} is {row.state}, and only a paused one can be resumed")

    core.change(by, mark)
    _let_go(core, [row.id], by)


def retry_workflow(core: Core, row: Any, by: str) -> RetryReply:
    """Run again what did not finish, keeping what did.

    Failed, cancelled and skipped jobs go back to waiting with new budgets; those with a payload that has not yet
    stopped stay as they are and can be retried later.
    """
    if row.state in {WorkflowState.LOADING, WorkflowState.HELD}:
        raise Conflict(f"workflow {row.uuid} is {row.state}; nothing of it has run yet")
    moved: set[int] = set()
    _retry(core, [row.id], by, moved, below=None)
    return _report(core, row.id, row.uuid, len(moved))


def retry_job(core: Core, row: Any, by: str) -> RetryReply:
    """Run a failed, cancelled or skipped job again, and the skipped ones that depend on it.

    Raises
    ------
    Conflict
        If there is nothing to retry.
    """
    refuse_loading(core, row)
    moved: set[int] = set()
    retry_below(core, [row], by, moved)
    if not moved:
        raise Conflict(f"job {row.name} is {row.state}; only what failed, or was cancelled or skipped, is retried")
    return _report(core, row.workflow_id, row.uuid, len(moved))


def retry_below(core: Core, rows: Sequence[Any], by: str, moved: set[int]) -> None:
    """Run jobs again that did not finish, and the skipped ones that depend on them.

    Parameters
    ----------
    core : Core
        The server.
    rows : sequence of Row
        At most some hundred, of ``job``.
    by : str
        Who asks.
    moved : set of int
        Gets the ids of what runs again, as soon as it is committed.

    Raises
    ------
    Conflict
        If a live workflow has a name that one of them publishes, or a workflow is on its way into the archive.
    """
    _retry(core, sorted({row.workflow_id for row in rows}), by, moved, below=[row.id for row in rows])


def _retry(core: Core, workflows: Sequence[int], by: str, moved: set[int], *, below: Sequence[int] | None) -> None:
    def step(ledger: Ledger) -> list[int]:
        # The lock keeps them from being moved into the archive meanwhile.
        locked = sa.select(workflow.c.id, workflow.c.archived).where(workflow.c.id.in_(workflows))
        rows = ledger.connection.execute(lock_rows(locked.order_by(workflow.c.id))).all()
        if len(rows) < len(workflows) or any(row.archived is not None for row in rows):
            raise Conflict("its workflow is moved into the archive at this moment, and changes no more")
        return retry_jobs(ledger, list_retriable(ledger.connection, workflows, below=below))

    # All names first: what one batch after the other found out would leave a workflow half retried.
    last = 0
    while last := core.change(by, partial(retake_some, workflows=workflows, below=below, after=last)):
        pass
    while more := core.change(by, step):
        moved.update(more)
    _let_go(core, workflows, by)


def _report(core: Core, workflow_id: int, uuid: str, jobs: int) -> RetryReply:
    with core.db.read() as connection:
        state = connection.scalar(sa.select(workflow.c.state).where(workflow.c.id == workflow_id))
        kept = connection.scalar(
            sa.select(sa.func.count()).where(job.c.workflow_id == workflow_id, job.c.state == "finished")
        )
    return RetryReply(uuid=uuid, state=state or "", jobs=jobs, kept=kept or 0)


def _let_go(core: Core, workflows: Sequence[int], by: str) -> None:
    while core.change(by, partial(resume_some, workflows=workflows)):
        pass


def pause_server(core: Core, by: str) -> None:
    """Give out no more jobs until the server is resumed; what is dispatched runs on."""

    def action(ledger: Ledger) -> None:
        ledger.connection.execute(sa.delete(meta).where(meta.c.key == "paused"))
        ledger.connection.execute(sa.insert(meta).values(key="paused", value=by))
        ledger.note("server", "", "pause", cause=by)

    core.change(by, action)
    core.read_pause()


def resume_server(core: Core, by: str) -> None:
    """Give out jobs again."""

    def action(ledger: Ledger) -> None:
        ledger.connection.execute(sa.delete(meta).where(meta.c.key == "paused"))
        ledger.note("server", "", "resume", cause=by)

    core.change(by, action)
    core.read_pause()
    core.ring_all()
