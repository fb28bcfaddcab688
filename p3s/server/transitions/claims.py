"""Who claims a job: the matching, and the minting of attempts.

The cost does not depend on how many jobs are queued, nor on how many of them this pilot cannot run: what jobs ask
for stands once in ``requirement``, the pilot is matched against those, and of each that fits the index in the
order of work gives the first few jobs. The grouping is the idea of DIRAC's task queues.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import AttemptState, JobState, Signal
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import attempt, job

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["Wish", "claim_jobs"]

#: How often a claim looks again when others were quicker at what it found.
LOOKS = 5
#: Requirements looked through in one statement.
GROUPS = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pilot asks for: up to `want` jobs whose cpus and memory fit together.

    Attributes
    ----------
    fits : dict of int to (int, int)
        The requirements that this pilot meets, with the cpus and bytes each job of them takes.
    memory : int or None
        Bytes free; None does not bound.
    """

    number: int
    want: int
    cpus: int
    memory: int | None
    fits: dict[int, tuple[int, int]]


def claim_jobs(ledger: Ledger, pilot_id: int, wish: Wish) -> int:
    """Dispatch up to ``wish.want`` jobs to the pilot and return their number."""
    chosen: list[Any] = []
    tried: set[int] = set()
    for _ in range(LOOKS):
        found = _choose(_find_candidates(ledger.connection, wish, tried), wish, chosen)
        if not found:
            break
        tried.update(row.id for row in found)
        locked = set(
            ledger.connection.scalars(
                lock_rows(
                    sa.select(job.c.id).where(job.c.id.in_([row.id for row in found]), job.c.state == JobState.DEFINED),
                    skip_locked=True,
                )
            )
        )
        chosen += [row for row in found if row.id in locked]
        if len(locked) == len(found):
            break
    return _mint(ledger, pilot_id, wish.number, chosen)


def _find_candidates(connection: sa.Connection, wish: Wish, tried: Collection[int]) -> list[Any]:
    rows: list[Any] = []
    for group in split_batches(sorted(wish.fits), GROUPS):
        parts = []
        for ident in group:
            first = (
                sa.select(
                    job.c.id,
                    job.c.uuid,
                    job.c.requirement_id,
                    job.c.priority,
                    job.c.due,
                    job.c.rank,
                    job.c.attempt,
                )
                .where(job.c.requirement_id == ident, job.c.state == sa.literal_column("'defined'"))
                .order_by(job.c.priority.desc(), job.c.due, job.c.rank.desc(), job.c.id)
                .limit(wish.want)
            )
            if tried:
                first = first.where(job.c.id.not_in(tried))
            parts.append(sa.select(first.subquery()))
        rows += connection.execute(sa.union_all(*parts) if len(parts) > 1 else parts[0]).all()
    rows.sort(key=lambda row: (-row.priority, row.due, -row.rank, row.id))
    return rows


def _choose(rows: Sequence[Any], wish: Wish, chosen: Sequence[Any]) -> list[Any]:
    """Take from the top what fits into the slots, cpus and memory left beside what is already chosen."""
    cpus, memory = wish.cpus, wish.memory
    picked: list[Any] = []
    for row in (*chosen, *rows):
        need_cpus, need_memory = wish.fits[row.requirement_id]
        if len(picked) == wish.want or need_cpus > cpus or (memory is not None and need_memory > memory):
            continue
        picked.append(row)
        cpus -= need_cpus
        memory = None if memory is None else memory - need_memory
    return picked[len(chosen) :]


def _mint(ledger: Ledger, pilot_id: int, number: int, rows: Sequence[Any]) -> int:
    if not rows:
        return 0
    ids = [row.id for row in rows]
    moved = set(ledger.move("job", ids, Signal.CLAIM, attempt=job.c.attempt + 1, started=None, reason=None, message=""))
    minted = [
        {
            "uuid": str(uuid.uuid4()),
            "job_id": row.id,
            "pilot_id": pilot_id,
            "number": row.attempt + 1,
            "claim": number,
            "state": AttemptState.DISPATCHED,
            "created": ledger.now,
        }
        for row in rows
        if row.id in moved
    ]
    for row in minted:
        ledger.note("attempt", str(row["uuid"]), Signal.CLAIM, after=str(row["state"]))
    if minted:
        ledger.connection.execute(sa.insert(attempt), minted)
    return len(minted)
