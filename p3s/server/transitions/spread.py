"""Telling successors what ended: the one rule at work, in steps of bounded size.

What ended lies in a worklist. Each edge that leaves it is crossed once: a predecessor that is done lowers its
successor's count of missing ones, and the last one releases it; one that ended badly skips a successor that does
not take partial input, and the skipped job ends in its turn. What a transaction has no room for becomes a
``ripple`` row, and later transactions go on from there.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import DatasetState, JobState, Reason, Signal, WorkflowState
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import dataset, job, job_input, job_need, ripple, workflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["continue_ripples", "end_jobs", "release_jobs", "settle_workflow", "spread_datasets"]

#: States of a job whose count of missing predecessors matters.
_WAITING = (JobState.HELD, JobState.WAITING)
#: Edges that one transaction crosses (promise 4).
ROOM = 1000


@dataclass(slots=True)
class _Wave:
    """The worklist of one transaction: (noun, source id, last edge crossed)."""

    todo: deque[tuple[str, int, int]] = field(default_factory=deque)
    room: int = ROOM


def end_jobs(ledger: Ledger, ids: Sequence[int], *, failed: bool = False, tell_needs: bool = True) -> None:
    """Count jobs that just became final, and tell their successors.

    Parameters
    ----------
    ledger : Ledger
        The open transaction; the jobs' states are already written.
    ids : sequence of int
        The jobs.
    failed : bool
        Whether they count as failures of their workflow, unless tolerated.
    tell_needs : bool
        False where the successors are ended by the caller.
    """
    wave = _Wave()
    _end(ledger, wave, ids, failed=failed)
    if tell_needs:
        _run(ledger, wave)


def spread_datasets(ledger: Ledger, ids: Iterable[int]) -> None:
    """Tell the consumers of datasets that became available or failed."""
    _run(ledger, _Wave(deque(("dataset", ident, 0) for ident in ids)))


def release_jobs(ledger: Ledger, ids: Sequence[int]) -> None:
    """Release waiting jobs that miss nothing: to matching, or, sync points, to their end."""
    wave = _Wave()
    _release(ledger, wave, ids)
    _run(ledger, wave)


def continue_ripples(ledger: Ledger) -> bool:
    """Tell the successors that an earlier transaction had no room for; return whether some are left."""
    rows = ledger.connection.execute(
        lock_rows(sa.select(ripple).order_by(ripple.c.id).limit(20), skip_locked=True)
    ).all()
    if rows:
        ledger.connection.execute(sa.delete(ripple).where(ripple.c.id.in_([row.id for row in rows])))
        _run(ledger, _Wave(deque((row.noun, row.source_id, row.after) for row in rows)))
    return ledger.rippling or len(rows) == 20


def _run(ledger: Ledger, wave: _Wave) -> None:
    while wave.todo and wave.room > 0:
        noun, source, after = wave.todo.popleft()
        # A source with few edges is the rule; crossing those of many sources at once is for the ripple's later days.
        edges = _read_edges(ledger.connection, noun, source, after, wave.room)
        wave.room -= max(1, len(edges))
        if edges:
            if wave.room <= 0:
                wave.todo.appendleft((noun, source, edges[-1].id))
            _cross(ledger, wave, edges)
    if wave.todo:
        ledger.rippling = True
        ledger.connection.execute(
            sa.insert(ripple),
            [{"noun": noun, "source_id": source, "after": after} for noun, source, after in wave.todo],
        )


def _read_edges(connection: sa.Connection, noun: str, source: int, after: int, limit: int) -> Sequence[Any]:
    """Return up to `limit` edges with ``id``, ``job_id`` and ``done``: whether crossing it counts as done."""
    if noun == "job":
        edge, column = job_need, job_need.c.parent_id
        good = sa.or_(job_need.c.done, job.c.state == JobState.FINISHED)
        join = sa.join(job_need, job, job.c.id == job_need.c.parent_id)
    else:
        edge, column = job_input, job_input.c.dataset_id
        good = sa.or_(job_input.c.partial, dataset.c.state == DatasetState.AVAILABLE)
        join = sa.join(job_input, dataset, dataset.c.id == job_input.c.dataset_id)
    statement = (
        sa.select(edge.c.id, edge.c.job_id, good.label("done"))
        .select_from(join)
        .where(column == source, edge.c.id > after)
        .order_by(edge.c.id)
        .limit(limit)
    )
    return connection.execute(statement).all()


def _cross(ledger: Ledger, wave: _Wave, edges: Sequence[Any]) -> None:
    done = Counter(edge.job_id for edge in edges if edge.done)
    broken = sorted({edge.job_id for edge in edges if not edge.done})
    if done:
        _lower_missing(ledger, wave, done)
    if broken:
        skipped = ledger.move(
            "job",
            broken,
            Signal.SKIP,
            reason=Reason.UPSTREAM,
            ended=ledger.now,
            cause="a predecessor ended badly",
        )
        _end(ledger, wave, skipped, failed=False)


def _lower_missing(ledger: Ledger, wave: _Wave, done: Counter[int]) -> None:
    # Rows are locked in one order, whatever the statements after it do.
    for batch in split_batches(sorted(done)):
        ledger.connection.execute(lock_rows(sa.select(job.c.id).where(job.c.id.in_(batch)).order_by(job.c.id)))
    for count in sorted(set(done.values())):
        ids = [ident for ident, times in done.items() if times == count]
        for batch in split_batches(ids):
            rows = ledger.connection.execute(
                sa.update(job)
                # A job that was released once has all it needs, also when a parent that it bore with is retried.
                .where(job.c.id.in_(batch), job.c.released.is_(None), job.c.state.in_(_WAITING))
                .values(missing=job.c.missing - count)
                .returning(job.c.id, job.c.missing, job.c.state)
            ).all()
            _release(ledger, wave, [row.id for row in rows if row.missing == 0 and row.state == JobState.WAITING])


def _release(ledger: Ledger, wave: _Wave, ids: Sequence[int]) -> None:
    if not ids:
        return
    noops: list[int] = []
    real: list[int] = []
    for batch in split_batches(ids):
        rows = ledger.connection.execute(
            sa.select(job.c.id, job.c.noop, job.c.requirement_id).where(
                job.c.id.in_(batch), job.c.missing == 0, job.c.not_before <= ledger.now, job.c.paused.is_(False)
            )
        ).all()
        noops += [row.id for row in rows if row.noop]
        wanted = {row.id: row.requirement_id for row in rows if not row.noop}
        moved = ledger.move("job", list(wanted), Signal.RELEASE, released=ledger.now) if wanted else []
        real += moved
        ledger.released.update(wanted[ident] for ident in moved)
    if noops:
        ended = ledger.move(
            "job", noops, Signal.SUCCEED, expected=JobState.WAITING, started=ledger.now, ended=ledger.now
        )
        _end(ledger, wave, ended, failed=False)


def _end(ledger: Ledger, wave: _Wave, ids: Sequence[int], *, failed: bool) -> None:
    """Count final jobs in their workflows, end what they leave unmade, and put them on the worklist."""
    for batch in split_batches(ids):
        rows = ledger.connection.execute(
            sa.select(job.c.id, job.c.workflow_id, job.c.tolerated, job.c.state).where(job.c.id.in_(batch))
        ).all()
        made = ledger.connection.execute(
            sa.select(dataset.c.id, dataset.c.producer_id)
            .where(dataset.c.producer_id.in_(batch))
            .order_by(dataset.c.id)
        ).all()
        finished = {row.id for row in rows if row.state == JobState.FINISHED}
        unmade = [row.id for row in made if row.producer_id not in finished]
        if unmade:
            ledger.move("dataset", unmade, Signal.FAIL)
        wave.todo.extend(("dataset", row.id, 0) for row in made)
        wave.todo.extend(("job", row.id, 0) for row in rows)
        _count(ledger, rows, failed=failed)


def _count(ledger: Ledger, rows: Sequence[Any], *, failed: bool) -> None:
    ended = Counter(row.workflow_id for row in rows)
    failures = Counter(row.workflow_id for row in rows if failed and not row.tolerated)
    for ident in sorted(ended):
        left = ledger.connection.execute(
            sa.update(workflow)
            .where(workflow.c.id == ident)
            .values(remaining=workflow.c.remaining - ended[ident], failures=workflow.c.failures + failures[ident])
            .returning(workflow.c.remaining)
        ).one()
        if left.remaining == 0:
            settle_workflow(ledger, ident)


def settle_workflow(ledger: Ledger, ident: int) -> None:
    """Write how a workflow ended, if none of its jobs is left and it is not being loaded."""
    row = ledger.connection.execute(
        sa.select(workflow.c.remaining, workflow.c.failures, workflow.c.cancelled_by).where(workflow.c.id == ident)
    ).one()
    if row.remaining:
        return
    cancelled = sa.exists().where(
        job.c.workflow_id == ident, job.c.state == JobState.CANCELLED, job.c.tolerated.is_(False)
    )
    if row.failures and row.cancelled_by is None:
        signal = Signal.FAIL
    elif row.cancelled_by is not None or ledger.connection.scalar(sa.select(cancelled)):
        signal = Signal.CANCEL
    else:
        signal = Signal.SUCCEED
    guard = workflow.c.state != WorkflowState.LOADING
    if ledger.move("workflow", [ident], signal, guard=guard, ended=ledger.now):
        ledger.ended.add(ident)
