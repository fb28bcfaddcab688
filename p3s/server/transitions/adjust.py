"""Who changes jobs that are there: their priority, their time limit, and whether somebody holds them.

Whoever holds a job counts as one more predecessor that is not done. So a held job is released by the one rule, and
nothing else needs to know of holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import FINAL_JOB, JobState, Signal
from p3s.server.db import lock_rows
from p3s.server.models import job, requirement
from p3s.server.transitions.spread import release_jobs
from p3s.server.transitions.wishes import FIELDS, find_requirements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.wire import AdjustBody

__all__ = ["adjust_jobs"]

_OUT = (JobState.DISPATCHED, JobState.RUNNING)


def adjust_jobs(ledger: Ledger, uuids: Sequence[str], wish: AdjustBody) -> dict[str, str]:
    """Change jobs, and return by uuid why some were left as they are.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    uuids : sequence of str
        Whole uuids of at most some hundred jobs.
    wish : AdjustBody
        What to change.
    """
    rows = ledger.connection.execute(lock_rows(sa.select(job).where(job.c.uuid.in_(uuids)).order_by(job.c.id))).all()
    left = {row.uuid: why for row in rows if (why := _find_objection(row, wish))}
    rows = [row for row in rows if row.uuid not in left]
    ids = [row.id for row in rows]
    if wish.priority is not None:
        ledger.connection.execute(sa.update(job).where(job.c.id.in_(ids)).values(priority=wish.priority))
    if wish.timelimit is not None:
        _limit_time(ledger, rows, wish.timelimit)
    said = ", ".join(
        f"{name} {value}" for name, value in wish.model_dump(exclude={"jobs"}).items() if value is not None
    )
    for row in rows:
        ledger.note("job", row.uuid, "adjust", before=row.state, after=row.state, cause=f"{ledger.cause}: {said}")
    if wish.hold is True:
        _hold(ledger, [row.id for row in rows if not row.hold])
    if wish.hold is False:
        _let_go(ledger, [row.id for row in rows if row.hold])
    return left


def _find_objection(row: Any, wish: AdjustBody) -> str:
    if row.state in FINAL_JOB:
        return f"it is {row.state} already"
    if row.state in _OUT and wish.hold is not None:
        return f"it is {row.state}; `p3s job cancel` stops it"
    if row.state in _OUT and wish.timelimit is not None:
        return f"it is {row.state} under the time limit that it was given out with"
    return ""


def _hold(ledger: Ledger, ids: Sequence[int]) -> None:
    # It counts as never released, so that whatever counts its predecessors anew counts the hold, too.
    ledger.connection.execute(
        sa.update(job).where(job.c.id.in_(ids)).values(hold=True, missing=job.c.missing + 1, released=None)
    )
    ledger.move("job", ids, Signal.PAUSE)


def _let_go(ledger: Ledger, ids: Sequence[int]) -> None:
    ledger.connection.execute(sa.update(job).where(job.c.id.in_(ids)).values(hold=False, missing=job.c.missing - 1))
    waiting = ledger.connection.scalars(
        sa.select(job.c.id).where(job.c.id.in_(ids), job.c.state == JobState.WAITING, job.c.missing == 0)
    ).all()
    release_jobs(ledger, waiting)


def _limit_time(ledger: Ledger, rows: Sequence[Any], seconds: float) -> None:
    """Give jobs another time limit; it is part of what they ask of a pilot."""
    wishes = ledger.connection.execute(
        sa.select(requirement).where(requirement.c.id.in_({row.requirement_id for row in rows}))
    ).all()
    for old in wishes:
        mine = [row for row in rows if row.requirement_id == old.id]
        new = _find_requirement(ledger.connection, old, seconds)
        ledger.connection.execute(
            sa.update(job).where(job.c.id.in_([row.id for row in mine])).values(timelimit=seconds, requirement_id=new)
        )
        ready = sum(row.state == JobState.DEFINED for row in mine)
        if ready:
            ledger.released[new] += ready


def _find_requirement(connection: sa.Connection, old: Any, seconds: float) -> int:
    wish = {name: getattr(old, name) for name in FIELDS} | {"timelimit": seconds}
    return next(iter(find_requirements(connection, [wish]).values()))
