"""Who counts the open attempts of capped jobtypes; of others nobody counts anything.

All changes of a counter stand in the transactions that begin and end attempts. Ends lock its row last, after attempts
and jobs; a claim locks it before jobs, for which it never waits, so nobody waits in a circle. An attempt that stands in
the counter says so itself, so a cap that comes or goes while attempts are open miscounts nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.states import AttemptState, JobState
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import attempt, job, jobtype, requirement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from p3s.server.transitions.ledger import Ledger

__all__ = ["give_back", "read_room", "take_room", "write_cap"]

_OPEN = (AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)


def read_room(
    connection: sa.Connection, names: Collection[str], *, lock: bool = False, ended: Collection[int] = ()
) -> dict[str, int]:
    """Return how many more attempts each capped jobtype may have; one without a cap is left out.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    names : collection of str
        Jobtypes.
    lock : bool
        Whether the counters are to stay as they are until the end of the transaction.
    ended : collection of int
        Attempts that ended in this transaction and will leave their counters: those are locked along with the others,
        in one order.
    """
    if not names:
        return {}
    if ended:
        of_them = sa.select(job.c.jobtype).join(attempt, attempt.c.job_id == job.c.id)
        names = {*names, *connection.scalars(of_them.where(attempt.c.id.in_(sorted(ended))))}
    statement = sa.select(jobtype).where(jobtype.c.name.in_(sorted(set(names)))).order_by(jobtype.c.name)
    rows = connection.execute(lock_rows(statement) if lock else statement)
    return {row.name: max(0, row.cap - row.open) for row in rows}


def take_room(ledger: Ledger, taken: Mapping[str, int]) -> None:
    """Count new attempts; the counters were locked by `read_room`."""
    for name, number in sorted(taken.items()):
        ledger.connection.execute(sa.update(jobtype).where(jobtype.c.name == name).values(open=jobtype.c.open + number))


def give_back(ledger: Ledger) -> None:
    """Take the counted attempts that ended in this transaction out of the counters, and wake who waited for that."""
    freed: Counter[str] = Counter()
    for batch in split_batches(sorted(ledger.uncounted)):
        rows = ledger.connection.execute(
            sa.update(attempt)
            .where(attempt.c.id.in_(batch), attempt.c.counted.is_(True))
            .values(counted=False)
            .returning(attempt.c.job_id)
        ).all()
        jobs = sa.select(job.c.id, job.c.jobtype).where(job.c.id.in_([row.job_id for row in rows]))
        names = {row.id: row.jobtype for row in ledger.connection.execute(jobs)}
        freed.update(names[row.job_id] for row in rows)
    for name in sorted(freed):
        ledger.connection.execute(
            sa.update(jobtype).where(jobtype.c.name == name).values(open=jobtype.c.open - freed[name])
        )
        _ring(ledger, name, freed[name])
    ledger.uncounted.clear()


def write_cap(ledger: Ledger, name: str, cap: int | None) -> None:
    """Cap a jobtype, or with None lift its cap; what is open counts from here on."""
    known = ledger.connection.scalar(lock_rows(sa.select(jobtype.c.name).where(jobtype.c.name == name)))
    ledger.note("jobtype", "", "limit", after="none" if cap is None else str(cap), cause=f"{ledger.cause}: {name}")
    mine = sa.select(job.c.id).where(job.c.jobtype == name)
    if cap is None:
        counted = sa.and_(attempt.c.counted.is_(True), attempt.c.job_id.in_(mine))
        ledger.connection.execute(sa.update(attempt).where(counted).values(counted=False))
        ledger.connection.execute(sa.delete(jobtype).where(jobtype.c.name == name))
    elif known is not None:
        ledger.connection.execute(sa.update(jobtype).where(jobtype.c.name == name).values(cap=cap))
    else:
        opened = sa.and_(attempt.c.state.in_(_OPEN), attempt.c.job_id.in_(mine))
        found = ledger.connection.execute(sa.update(attempt).where(opened).values(counted=True)).rowcount
        ledger.connection.execute(sa.insert(jobtype).values(name=name, cap=cap, open=found))


def _ring(ledger: Ledger, name: str, number: int) -> None:
    there = sa.exists().where(
        job.c.requirement_id == requirement.c.id, job.c.state == sa.literal_column(f"'{JobState.DEFINED}'")
    )
    waiting = ledger.connection.scalars(sa.select(requirement.c.id).where(requirement.c.jobtype == name, there))
    ledger.released.update(dict.fromkeys(waiting, number))
