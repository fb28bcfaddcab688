"""Who holds back and lets go again: pause, resume and retry, in batches that an interruption does not harm.

A paused job is not released. A retry first puts its jobs to ``waiting`` and pauses them; then, as a resume does,
it counts anew what each still misses and lets it go. Where a server dies in between, the sweeper goes on: a
running workflow with paused jobs is one whose resume is not done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import (
    FINAL_JOB,
    AttemptState,
    DatasetState,
    JobState,
    Reason,
    Signal,
    WorkflowState,
)
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import attempt, dataset, job, job_input, job_need, ripple, workflow
from p3s.server.transitions.bindings import renew_bindings
from p3s.server.transitions.publications import retake_names
from p3s.server.transitions.recounts import recount_below
from p3s.server.transitions.spread import release_jobs, skip_jobs, spread_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["list_retriable", "pause_some", "resume_some", "retake_some", "retry_jobs"]

STEP = 500

_OPEN = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)
_BAD = (JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED)


def pause_some(ledger: Ledger, workflow_id: int) -> bool:
    """Hold back up to `STEP` jobs of a paused workflow; return whether some may be left.

    What is dispatched runs on and counts; its successors and its further tries are held back.
    """
    ids = list(
        ledger.connection.scalars(
            sa.select(job.c.id)
            .where(job.c.workflow_id == workflow_id, job.c.paused.is_(False), job.c.state.not_in(sorted(FINAL_JOB)))
            .order_by(job.c.id)
            .limit(STEP)
        )
    )
    for batch in split_batches(ids):
        ledger.connection.execute(sa.update(job).where(job.c.id.in_(batch)).values(paused=True))
    ledger.move("job", ids, Signal.PAUSE)
    return len(ids) == STEP


def list_retriable(
    connection: sa.Connection, workflow_id: int, *, below: int | None = None, after: int = 0
) -> list[int]:
    """Return the failed, cancelled and skipped jobs without an open attempt, up to `STEP` of them.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    workflow_id : int
        Whose jobs.
    below : int, optional
        Only this job and the skipped ones that depend on it.
    after : int
        Only jobs with higher ids.
    """
    opened = sa.exists().where(attempt.c.job_id == job.c.id, attempt.c.state.in_(_OPEN))
    statement = (
        sa.select(job.c.id)
        .where(
            job.c.workflow_id == workflow_id,
            job.c.id > after,
            job.c.state.in_(_BAD),
            # What its own `if` refused stays refused.
            sa.or_(job.c.reason.is_(None), job.c.reason != Reason.IF),
            ~opened,
        )
        .order_by(job.c.id)
        .limit(STEP)
    )
    if below is not None:
        statement = statement.where(job.c.id.in_(sa.select(_select_below(below).c.id)))
    return list(connection.scalars(statement))


def retake_some(ledger: Ledger, workflow_id: int, *, below: int | None, after: int) -> int:
    """Take anew what up to `STEP` jobs publish that are to be retried; return the last of them, 0 if none is left.

    Raises
    ------
    Conflict
        If a live workflow has one of the names.
    """
    ids = list_retriable(ledger.connection, workflow_id, below=below, after=after)
    retake_names(ledger, workflow_id, ids)
    return ids[-1] if len(ids) == STEP else 0


def _select_below(ident: int) -> sa.CTE:
    """Return a recursive table of a job and all skipped jobs that depend on it."""
    edges = sa.union_all(
        sa.select(job_need.c.parent_id.label("source_id"), job_need.c.job_id),
        sa.select(dataset.c.producer_id, job_input.c.job_id).join(job_input, job_input.c.dataset_id == dataset.c.id),
    ).subquery()
    tree = sa.select(sa.literal(ident, sa.BigInteger).label("id")).cte("tree", recursive=True)
    return tree.union(sa.select(edges.c.job_id).join(tree, tree.c.id == edges.c.source_id))


def retry_jobs(ledger: Ledger, workflow_id: int, ids: Sequence[int]) -> int:
    """Put jobs back to ``waiting`` with new budgets, and what they make to ``expected``; they stay paused.

    Returns
    -------
    int
        How many moved.
    """
    workflow_row = lock_rows(sa.select(workflow.c.id).where(workflow.c.id == workflow_id))
    ledger.connection.execute(workflow_row)
    failed = _count_failures(ledger.connection, ids)
    moved = ledger.move(
        "job",
        ids,
        Signal.RETRY,
        paused=True,
        reason=None,
        message="",
        failures=0,
        losses=0,
        not_before=0,
        released=None,
        started=None,
        ended=None,
    )
    if not moved:
        return 0
    retake_names(ledger, workflow_id, moved)
    renew_bindings(ledger, workflow_id)
    made = list(ledger.connection.scalars(sa.select(dataset.c.id).where(dataset.c.producer_id.in_(moved))))
    ledger.move("dataset", made, Signal.RETRY)
    recount_below(ledger, moved, made)
    spread_sources(ledger, made)
    ledger.connection.execute(
        sa.update(workflow)
        .where(workflow.c.id == workflow_id)
        .values(
            remaining=workflow.c.remaining + len(moved),
            failures=workflow.c.failures - failed,
            cancelled_by=None,
        )
    )
    ledger.move("workflow", [workflow_id], Signal.RETRY, ended=None, message="")
    return len(moved)


def resume_some(ledger: Ledger, workflow_id: int) -> bool:
    """Let go up to `STEP` paused jobs of a running workflow, counting anew what each misses.

    Returns
    -------
    bool
        Whether some may be left now. Jobs whose predecessors' end is still being told wait for the next sweep.
    """
    rows = ledger.connection.execute(
        lock_rows(
            sa.select(job.c.id, job.c.state, job.c.released, job.c.hold)
            .join(workflow, workflow.c.id == job.c.workflow_id)
            .where(job.c.workflow_id == workflow_id, job.c.paused.is_(True), workflow.c.state == WorkflowState.RUNNING)
            .order_by(job.c.id)
            .limit(STEP)
        )
    ).all()
    ids = [row.id for row in rows]
    if not ids:
        return False
    # What was released once, or has ended, misses nothing.
    counted = [row.id for row in rows if row.released is None and row.state in (JobState.HELD, JobState.WAITING)]
    edges = _read_predecessors(ledger.connection, counted)
    unsettled = _find_unsettled(ledger.connection, edges)
    broken = {edge.job_id for edge in edges if edge.final and not edge.done}
    missing = {row.id: int(row.hold) for row in rows}
    for edge in edges:
        missing[edge.job_id] += not edge.done
    ready = [ident for ident in ids if ident not in unsettled]
    for count in sorted({missing[ident] for ident in ready}):
        batch = [ident for ident in counted if ident not in unsettled and missing[ident] == count]
        ledger.connection.execute(sa.update(job).where(job.c.id.in_(batch)).values(missing=count, paused=False))
    waiting = {row.id for row in rows if row.state == JobState.WAITING}
    others = sorted(set(ids) - set(counted))
    if others:
        ledger.connection.execute(sa.update(job).where(job.c.id.in_(others)).values(paused=False))
    stopped = sorted(broken & waiting - unsettled)
    if stopped:
        skip_jobs(ledger, stopped)
    release_jobs(ledger, [ident for ident in ready if missing[ident] == 0 and ident in waiting])
    return len(rows) == STEP and bool(ready)


def _count_failures(connection: sa.Connection, ids: Sequence[int]) -> int:
    # What was skipped for want of data from outside counts as well.
    outside = sa.or_(
        job.c.reason == Reason.MISSING_INPUT, sa.and_(job.c.reason == Reason.UPSTREAM, job.c.message != "")
    )
    lacking = sa.and_(job.c.state == JobState.SKIPPED, outside)
    statement = sa.select(sa.func.count()).where(
        job.c.id.in_(ids), sa.or_(job.c.state == JobState.FAILED, lacking), job.c.tolerated.is_(False)
    )
    return connection.scalar(statement) or 0


def _read_predecessors(connection: sa.Connection, ids: Sequence[int]) -> list[Any]:
    """Return each edge into the jobs: whether it counts as done, whether its source is final, and the source."""
    parent = job.alias("parent")
    final = parent.c.state.in_(sorted(FINAL_JOB))
    needs = (
        sa.select(
            job_need.c.job_id,
            sa.literal("job").label("noun"),
            parent.c.id.label("source_id"),
            final.label("final"),
            sa.or_(parent.c.state == JobState.FINISHED, sa.and_(job_need.c.done, final)).label("done"),
        )
        .join(parent, parent.c.id == job_need.c.parent_id)
        .where(job_need.c.job_id.in_(ids))
    )
    gone = dataset.c.state.in_((DatasetState.FAILED, DatasetState.DELETED))
    inputs = (
        sa.select(
            job_input.c.job_id,
            sa.literal("dataset").label("noun"),
            dataset.c.id.label("source_id"),
            sa.or_(gone, dataset.c.state == DatasetState.AVAILABLE).label("final"),
            sa.or_(dataset.c.state == DatasetState.AVAILABLE, sa.and_(job_input.c.partial, gone)).label("done"),
        )
        .join(dataset, dataset.c.id == job_input.c.dataset_id)
        .where(job_input.c.job_id.in_(ids))
    )
    return [*connection.execute(needs).all(), *connection.execute(inputs).all()]


def _find_unsettled(connection: sa.Connection, edges: Sequence[Any]) -> set[int]:
    """Return the jobs with a predecessor whose end is still being told: counting now would count it twice."""
    pending = {(row.noun, row.source_id) for row in connection.execute(sa.select(ripple.c.noun, ripple.c.source_id))}
    return {edge.job_id for edge in edges if (edge.noun, edge.source_id) in pending} if pending else set()
