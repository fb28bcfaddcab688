"""Who holds back and lets go again: pause, resume and retry, in batches that an interruption does not harm.

A paused job is not released. A retry first puts its jobs to ``waiting`` and pauses them; then, as a resume does,
it counts anew what each still misses and lets it go. Where a server dies in between, the sweeper goes on: a
running workflow with paused jobs is one whose resume is not done.
"""

from __future__ import annotations

from collections import Counter, defaultdict
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
    from collections.abc import Mapping, Sequence

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
    connection: sa.Connection, workflows: Sequence[int], *, below: Sequence[int] | None = None, after: int = 0
) -> dict[int, int]:
    """Return the failed, cancelled and skipped jobs without an open attempt, up to `STEP`, each with its workflow.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    workflows : sequence of int
        Whose jobs.
    below : sequence of int, optional
        Only these jobs and the skipped ones that depend on them.
    after : int
        Only jobs with higher ids.
    """
    opened = sa.exists().where(attempt.c.job_id == job.c.id, attempt.c.state.in_(_OPEN))
    statement = (
        sa.select(job.c.id, job.c.workflow_id)
        .where(
            job.c.workflow_id.in_(workflows),
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
    return {row.id: row.workflow_id for row in connection.execute(statement)}


def retake_some(ledger: Ledger, workflows: Sequence[int], *, below: Sequence[int] | None, after: int) -> int:
    """Take anew what up to `STEP` jobs publish that are to be retried; return the last of them, 0 if none is left.

    Raises
    ------
    Conflict
        If a live workflow has one of the names.
    """
    found = list_retriable(ledger.connection, workflows, below=below, after=after)
    retake_names(ledger, found)
    return max(found) if len(found) == STEP else 0


def _select_below(idents: Sequence[int]) -> sa.CTE:
    """Return a recursive table of jobs and of all that depends on them."""
    tree = sa.select(job.c.id).where(job.c.id.in_(idents)).cte("tree", recursive=True)
    # Outer joins to either kind of edge use the indexes of both; of a union SQLite would first write down all edges of
    # all workflows.
    kind = sa.union_all(sa.select(sa.literal("need").label("kind")), sa.select(sa.literal("data"))).subquery().c.kind
    need = job_need.c.parent_id == sa.case((kind == "need", tree.c.id))
    made = dataset.c.producer_id == sa.case((kind == "data", tree.c.id))
    below = sa.func.coalesce(job_need.c.job_id, job_input.c.job_id)
    edges = (
        sa.join(tree, kind.table, sa.true())
        .outerjoin(job_need, need)
        .outerjoin(dataset, made)
        .outerjoin(job_input, job_input.c.dataset_id == dataset.c.id)
    )
    return tree.union(sa.select(below).select_from(edges).where(below.is_not(None)))


def retry_jobs(ledger: Ledger, jobs: Mapping[int, int]) -> list[int]:
    """Put jobs back to ``waiting`` with new budgets, and what they make to ``expected``; they stay paused.

    Parameters
    ----------
    ledger : Ledger
        The open transaction, which has locked the workflows.
    jobs : mapping of int to int
        At most some hundred, each with its workflow.

    Returns
    -------
    list of int
        Those that moved.

    Raises
    ------
    Conflict
        If a live workflow has a name that one of them publishes.
    """
    bad = _read_failures(ledger.connection, list(jobs))
    moved = ledger.move(
        "job",
        list(jobs),
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
        return []
    workflows = sorted({jobs[ident] for ident in moved})
    _reopen(ledger, Counter(jobs[ident] for ident in moved), Counter(jobs[ident] for ident in moved if ident in bad))
    # Only now, when those that publish one name in one request are both alive, does one meet the other.
    retake_names(ledger, {ident: jobs[ident] for ident in moved})
    renew_bindings(ledger, workflows)
    made = list(ledger.connection.scalars(sa.select(dataset.c.id).where(dataset.c.producer_id.in_(moved))))
    ledger.move("dataset", made, Signal.RETRY)
    recount_below(ledger, moved, made)
    spread_sources(ledger, made)
    return moved


def _reopen(ledger: Ledger, jobs: Counter[int], failures: Counter[int]) -> None:
    """Let workflows live again that have so many more jobs to do, and so many failures less."""
    alike = defaultdict(list)
    for ident, count in jobs.items():
        alike[count, failures[ident]].append(ident)
    for (count, failed), ids in sorted(alike.items()):
        ledger.connection.execute(
            sa.update(workflow)
            .where(workflow.c.id.in_(ids))
            .values(remaining=workflow.c.remaining + count, failures=workflow.c.failures - failed, cancelled_by=None)
        )
    ledger.move("workflow", sorted(jobs), Signal.RETRY, ended=None, message="")


def resume_some(ledger: Ledger, workflows: Sequence[int]) -> bool:
    """Let go up to `STEP` paused jobs of running workflows, counting anew what each misses.

    Returns
    -------
    bool
        Whether some may be left now. Jobs whose predecessors' end is still being told wait for the next sweep.
    """
    rows = ledger.connection.execute(
        lock_rows(
            sa.select(job.c.id, job.c.state, job.c.released, job.c.hold)
            .join(workflow, workflow.c.id == job.c.workflow_id)
            .where(
                job.c.workflow_id.in_(workflows),
                job.c.paused.is_(True),
                workflow.c.state == WorkflowState.RUNNING,
            )
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


def _read_failures(connection: sa.Connection, ids: Sequence[int]) -> set[int]:
    """Return the jobs that count as failures of their workflows."""
    # What was skipped for want of data from outside counts as well.
    outside = sa.or_(
        job.c.reason == Reason.MISSING_INPUT, sa.and_(job.c.reason == Reason.UPSTREAM, job.c.message != "")
    )
    lacking = sa.and_(job.c.state == JobState.SKIPPED, outside)
    statement = sa.select(job.c.id).where(
        job.c.id.in_(ids), sa.or_(job.c.state == JobState.FAILED, lacking), job.c.tolerated.is_(False)
    )
    return set(connection.scalars(statement))


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
