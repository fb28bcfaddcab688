"""Telling successors what ended: the one rule at work, in steps of bounded size.

What ended lies in a worklist. Each edge that leaves it is crossed once: a predecessor that is done lowers its
successor's count of missing ones, and the last one releases it; one that ended badly skips a successor that does
not take partial input, and the skipped job ends in its turn; data of another workflow follows its source (see
`p3s.server.transitions.origins`). What a transaction has no room for becomes a
``ripple`` row, and later transactions go on from there.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from p3s.engine.states import DatasetState, JobState, Reason, Signal
from p3s.server.db import lock_rows
from p3s.server.models import dataset, job, job_input, job_need, origin, ripple, workflow
from p3s.server.prepared import Prepared, among, has_state, param, there_is
from p3s.server.transitions.edges import EDGES
from p3s.server.transitions.ledger import move_where
from p3s.server.transitions.origins import bind_waiters, follow
from p3s.server.transitions.settle import settle_workflows
from p3s.server.transitions.wishes import narrow_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from p3s.server.pipeline import Later
    from p3s.server.transitions.ledger import Ledger

__all__ = [
    "FinishedJob",
    "announce_workflow",
    "continue_ripples",
    "end_jobs",
    "finish_jobs",
    "release_jobs",
    "skip_jobs",
    "spread_datasets",
    "spread_sources",
]

#: States of a job whose count of missing predecessors matters.
_WAITING = (JobState.HELD, JobState.WAITING)
#: Edges that one transaction crosses (promise 4).
ROOM = 1000


@dataclass(slots=True)
class _Wave:
    """The worklist of one transaction: (noun, source id, last edge crossed)."""

    todo: deque[tuple[str, int, int]] = field(default_factory=deque)
    room: int = field(default_factory=lambda: ROOM)
    #: What is left to run in workflows whose jobs ended.
    left: list[Later] = field(default_factory=list)


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
    if not tell_needs:
        # What other workflows read is told all the same.
        wave.todo = deque(entry for entry in wave.todo if entry[0] == "source")
    _run(ledger, wave)


class FinishedJob(NamedTuple):
    """A job that just succeeded: whether jobs need it, whether it makes data, and the edges to the jobs, if known."""

    id: int
    workflow_id: int
    needed: bool
    makes: bool
    edges: Sequence[Any] | None = None


def finish_jobs(ledger: Ledger, jobs: Sequence[FinishedJob]) -> None:
    """Do as `end_jobs` for jobs that succeeded, of which all that is asked for is known.

    Where the edges are known, too, it does not wait for the database.
    """
    wave = _Wave()
    made = _MADE.run(ledger.connection, ids=makers) if (makers := [one.id for one in jobs if one.makes]) else []
    _note_ends(wave, made, [one.id for one in jobs if one.needed and one.edges is None])
    _count(ledger, wave, Counter(one.workflow_id for one in jobs))
    if known := [edge for one in jobs if one.needed for edge in one.edges or ()]:
        wave.room -= len(known)
        _cross(ledger, wave, known)
    left, wave.left = wave.left, []
    _run(ledger, wave)
    ledger.defer(lambda: _settle_left(ledger, left))


def spread_datasets(ledger: Ledger, ids: Iterable[int]) -> None:
    """Tell the consumers of datasets that became available or failed."""
    _run(ledger, _Wave(deque(("dataset", ident, 0) for ident in ids)))


def spread_sources(ledger: Ledger, ids: Iterable[int]) -> None:
    """Let the data of other workflows follow these datasets."""
    _run(ledger, _Wave(deque(("source", ident, 0) for ident in ids)))


def announce_workflow(ledger: Ledger, ident: int) -> None:
    """Bind what waits for a workflow of this name, which was started."""
    _run(ledger, _Wave(deque([("workflow", ident, 0)])))


def release_jobs(ledger: Ledger, ids: Sequence[int]) -> None:
    """Release waiting jobs that miss nothing: to matching, or, sync points, to their end."""
    wave = _Wave()
    _release(ledger, wave, ids)
    _run(ledger, wave)


def skip_jobs(ledger: Ledger, ids: Sequence[int], message: str | None = None) -> None:
    """Skip jobs that can never run, and what depends on them.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    ids : sequence of int
        Jobs that nobody runs.
    message : str, optional
        What keeps data from coming that their workflow does not make; else it is read from the graph.
    """
    wave = _Wave()
    if message is not None:
        _skip_outside(ledger, wave, dict.fromkeys(ids, (Reason.MISSING_INPUT, message)))
    elif ids:
        _skip(ledger, wave, ids)
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
        noun, sources, after = _take_sources(wave)
        edges = EDGES[noun].run(ledger.connection, sources=sources, after=after, room=wave.room)
        if len(edges) == wave.room:
            # Some may be left of the last source met, and all of those behind it.
            last = edges[-1]
            behind = [(noun, source, 0) for source in sources if source > last.source]
            wave.todo.extendleft([*reversed(behind), (noun, last.source, last.id)])
        wave.room -= max(len(sources), len(edges))
        if edges and noun in {"source", "workflow"}:
            told = (follow if noun == "source" else bind_waiters)(ledger, edges)
            wave.todo.extend(("dataset", ident, 0) for ident in told)
        elif edges:
            _cross(ledger, wave, edges)
    # Whether that was the last one is looked at when all have been told.
    _settle_left(ledger, wave.left)
    if wave.todo:
        ledger.rippling = True
        ledger.connection.execute(
            sa.insert(ripple),
            [{"noun": noun, "source_id": source, "after": after} for noun, source, after in wave.todo],
        )


def _settle_left(ledger: Ledger, left: Sequence[Later]) -> None:
    settle_workflows(ledger, [row.id for one in left for row in one.rows() if row.remaining == 0])


def _take_sources(wave: _Wave) -> tuple[str, list[int], int]:
    """Take from the worklist what one look at edges can answer: a source half told, or untold ones of one noun."""
    noun, source, after = wave.todo.popleft()
    sources = [source]
    while after == 0 and wave.todo and wave.todo[0][0] == noun and wave.todo[0][2] == 0 and len(sources) < wave.room:
        sources.append(wave.todo.popleft()[1])
    return noun, sorted(set(sources)), after


def _cross(ledger: Ledger, wave: _Wave, edges: Sequence[Any]) -> None:
    done = Counter(edge.job_id for edge in edges if edge.done)
    broken = sorted({edge.job_id for edge in edges if not edge.done})
    bound: dict[int, set[str]] = {}
    for edge in edges:
        if edge.binds:
            bound.setdefault(edge.job_id, set()).add(edge.binds)
    if bound:
        _bind(ledger, wave, bound)
    if done:
        _lower_missing(ledger, wave, done, noops=any(edge.noop for edge in edges if edge.done))
    if broken:
        _skip(ledger, wave, broken)


def _skip(ledger: Ledger, wave: _Wave, ids: Sequence[int]) -> None:
    outside = _explain_outside(ledger.connection, ids)
    inside = [ident for ident in ids if ident not in outside]
    cause = "a predecessor ended badly"
    skipped = ledger.move("job", inside, Signal.SKIP, cause=cause, reason=Reason.UPSTREAM, message="", ended=ledger.now)
    _end(ledger, wave, skipped, failed=False)
    _skip_outside(ledger, wave, outside)


def _skip_outside(ledger: Ledger, wave: _Wave, causes: Mapping[int, tuple[Reason, str]]) -> None:
    """Skip jobs for want of data that their own workflow does not make: to it, each counts as a failure."""
    for reason, message in sorted(set(causes.values())):
        ids = [ident for ident, cause in causes.items() if cause == (reason, message)]
        skipped = ledger.move("job", ids, Signal.SKIP, reason=reason, message=message, ended=ledger.now, cause=message)
        if skipped:
            mine = sa.select(job.c.workflow_id).where(job.c.id.in_(skipped), job.c.tolerated.is_(False))
            told = sa.update(workflow).where(workflow.c.id.in_(mine), workflow.c.message == "").values(message=message)
            ledger.connection.execute(told)
        _end(ledger, wave, skipped, failed=True)


_MAKER = job.alias("maker")
_OUTSIDE = Prepared(
    sa.select(
        job_input.c.job_id, job_input.c.key, dataset.c.message, dataset.c.state, dataset.c.workflow_id, _MAKER.c.id
    )
    .join(dataset, dataset.c.id == job_input.c.dataset_id)
    .outerjoin(_MAKER, _MAKER.c.id == dataset.c.producer_id)
    .where(
        among(job_input.c.job_id, "ids"),
        job_input.c.partial.is_(False),
        dataset.c.state.in_([DatasetState.FAILED, DatasetState.DELETED]),
        # What was made and deleted since is lost to its own workflow as well.
        sa.or_(dataset.c.producer_id.is_(None), _MAKER.c.state == JobState.FINISHED),
    )
    .order_by(job_input.c.id.desc())
)


def _explain_outside(connection: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[Reason, str]]:
    """Return, of jobs that can never run, those that lack data which their own workflow does not make, and why."""
    # What another DAG should have made is a row of whoever reads it, without a producer.
    return {
        row.job_id: (
            Reason.UPSTREAM if row.workflow_id is not None and row.id is None else Reason.MISSING_INPUT,
            f"dataset {row.key} {row.message or f'is {row.state}'}",
        )
        for row in _OUTSIDE.run(connection, ids=list(ids))
    }


def _bind(ledger: Ledger, wave: _Wave, bound: Mapping[int, set[str]]) -> None:
    """Let jobs ask for pilots that can read what came for them; those that can have none fail."""
    if ledger.connection.dialect.name == "postgresql":
        _LOCK.send(ledger.connection, ids=sorted(bound))
    torn = narrow_jobs(ledger, bound, sa.and_(job.c.released.is_(None), job.c.state.in_(_WAITING)))
    for ident, message in torn.items():
        moved = ledger.move("job", [ident], Signal.FAIL, reason=Reason.MISSING_INPUT, message=message, ended=ledger.now)
        _end(ledger, wave, moved, failed=True)


_LOCK = Prepared(lock_rows(sa.select(job.c.id).where(among(job.c.id, "ids")).order_by(job.c.id)))
_NOW: sa.BindParameter[float] = param("now", sa.Double)
_LACKS = job.c.missing - param("count", sa.Integer)
_CAN_RUN = sa.and_(_LACKS == 0, job.c.not_before <= _NOW, job.c.paused.is_(False), job.c.noop.is_(False))
#: The last one that was missing releases the job, but no sync point, which has no pilot to wait for.
_LOWER = Prepared(
    sa.update(job)
    # A job that was released once has all it needs, also when a parent that it bore with is retried.
    .where(among(job.c.id, "ids"), job.c.released.is_(None), job.c.state.concat("").in_(_WAITING))
    .values(
        missing=_LACKS,
        state=move_where("job", JobState.WAITING, Signal.RELEASE, _CAN_RUN),
        released=sa.case((sa.and_(has_state(job, JobState.WAITING), _CAN_RUN), _NOW)),
    )
    .returning(
        *(job.c[name] for name in ("id", "uuid", "missing", "state", "noop", "requirement_id", "not_before", "paused"))
    )
)


def _lower_missing(ledger: Ledger, wave: _Wave, done: Counter[int], *, noops: bool) -> None:
    """Lower the counts of missing predecessors; the database is waited for only if some are sync points."""
    if len(done) > 1 and ledger.connection.dialect.name == "postgresql":
        # Rows are locked in one order, whatever the statements after it do.
        _LOCK.send(ledger.connection, ids=sorted(done))
    lowered = [
        _LOWER.send(
            ledger.connection,
            ids=[ident for ident, times in done.items() if times == count],
            count=count,
            now=ledger.now,
        )
        for count in sorted(set(done.values()))
    ]

    def note(moved: list[int]) -> None:
        wanted = {row.id: row.requirement_id for one in lowered for row in one.rows()}
        ledger.released.update(wanted[ident] for ident in moved)

    ledger.take_moved("job", JobState.WAITING, Signal.RELEASE, lowered, note)
    if noops:
        rows = [row for one in lowered for row in one.rows() if row.noop and row.missing == 0]
        rows = [row for row in rows if row.state == JobState.WAITING and row.not_before <= ledger.now]
        _end_noops(ledger, wave, [row.id for row in rows if not row.paused])


_READY = Prepared(
    sa.select(job.c.id, job.c.noop, job.c.requirement_id).where(
        among(job.c.id, "ids"),
        job.c.missing == 0,
        job.c.not_before <= param("now", sa.Double),
        job.c.paused.is_(False),
    )
)


def _release(ledger: Ledger, wave: _Wave, ids: Sequence[int]) -> None:
    rows = _READY.run(ledger.connection, ids=list(ids), now=ledger.now) if ids else []
    wanted = {row.id: row.requirement_id for row in rows if not row.noop}

    def note(moved: list[int]) -> None:
        ledger.released.update(wanted[ident] for ident in moved)

    ledger.send("job", list(wanted), Signal.RELEASE, expected=JobState.WAITING, then=note, released=ledger.now)
    _end_noops(ledger, wave, [row.id for row in rows if row.noop])


def _end_noops(ledger: Ledger, wave: _Wave, ids: Sequence[int]) -> None:
    ended = ledger.move("job", ids, Signal.SUCCEED, expected=JobState.WAITING, started=ledger.now, ended=ledger.now)
    _end(ledger, wave, ended, failed=False)


_ENDED = Prepared(
    sa.select(
        job.c.id,
        job.c.workflow_id,
        job.c.tolerated,
        job.c.state,
        there_is(job_need.c.parent_id == job.c.id).label("needed"),
        there_is(dataset.c.producer_id == job.c.id).label("makes"),
    ).where(among(job.c.id, "ids"))
)
_MADE = Prepared(
    sa.select(
        dataset.c.id,
        dataset.c.producer_id,
        there_is(origin.c.source_id == dataset.c.id).label("is_source"),
    )
    .where(among(dataset.c.producer_id, "ids"))
    .order_by(dataset.c.id)
)


def _end(ledger: Ledger, wave: _Wave, ids: Sequence[int], *, failed: bool) -> None:
    """Count final jobs in their workflows, end what they leave unmade, and put them on the worklist."""
    if not ids:
        return
    rows = _ENDED.run(ledger.connection, ids=list(ids))
    makers = [row.id for row in rows if row.makes]
    made = _MADE.run(ledger.connection, ids=makers) if makers else []
    finished = {row.id for row in rows if row.state == JobState.FINISHED}
    ledger.move("dataset", [row.id for row in made if row.producer_id not in finished], Signal.FAIL)
    _note_ends(wave, made, [row.id for row in rows if row.needed])
    failures = Counter(row.workflow_id for row in rows if failed and not row.tolerated)
    _count(ledger, wave, Counter(row.workflow_id for row in rows), failures)


def _note_ends(wave: _Wave, made: Sequence[Any], needed: Sequence[int]) -> None:
    wave.todo.extend(("dataset", row.id, 0) for row in made)
    wave.todo.extend(("source", row.id, 0) for row in made if row.is_source)
    wave.todo.extend(("job", ident, 0) for ident in needed)


_COUNT = Prepared(
    sa.update(workflow)
    .where(workflow.c.id == param("id_", sa.BigInteger))
    .values(
        remaining=workflow.c.remaining - param("ended", sa.Integer),
        failures=workflow.c.failures + param("failed", sa.Integer),
    )
    .returning(workflow.c.id, workflow.c.remaining)
)


def _count(ledger: Ledger, wave: _Wave, ended: Mapping[int, int], failures: Mapping[int, int] | None = None) -> None:
    for ident, number in sorted(ended.items()):
        failed = (failures or {}).get(ident, 0)
        wave.left.append(_COUNT.send(ledger.connection, id_=ident, ended=number, failed=failed))
