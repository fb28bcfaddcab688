"""Who claims a job: the matching, and the minting of attempts.

The cost does not depend on how many jobs are queued, nor on how many of them this pilot cannot run: what jobs ask
for stands once in ``requirement``, the pilot is matched against those, and of each that fits the index in the
order of work gives the first few jobs. The grouping is the idea of DIRAC's task queues.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import AttemptState, JobState, Signal
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import attempt, job
from p3s.server.prepared import InsertRows, Prepared, among, param
from p3s.server.transitions.ledger import Preset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["Wish", "claim_jobs"]

#: How often a claim looks again when others were quicker at what it found.
LOOKS = 5
#: Requirements looked through in one statement.
GROUPS = 64


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


#: Taken by one statement, so that nobody waits for rows that another claim holds.
_FREE = sa.select(job.c.id).where(among(job.c.id, "ids"), job.c.state == JobState.DEFINED)
_CLAIMED = Preset(
    guard=job.c.id.in_(lock_rows(_FREE.correlate(None), skip_locked=True)),
    attempt=job.c.attempt + 1,
    started=sa.null(),
    reason=sa.null(),
    message="",
)
_MINT = InsertRows(attempt, ("uuid", "job_id", "pilot_id", "number", "claim", "state", "created"))


def claim_jobs(ledger: Ledger, pilot_id: int, wish: Wish) -> int:
    """Dispatch up to ``wish.want`` jobs to the pilot and return their number."""
    chosen: list[Any] = []
    tried: list[int] = []
    for _ in range(LOOKS):
        found = _choose(_find_candidates(ledger.connection, wish, tried), wish, chosen)
        if not found:
            break
        tried += [row.id for row in found]
        moved = set(ledger.move("job", [row.id for row in found], Signal.CLAIM, preset=_CLAIMED))
        chosen += [row for row in found if row.id in moved]
        if len(moved) == len(found):
            break
    _mint(ledger, pilot_id, wish.number, chosen)
    return len(chosen)


@cache
def _prepare_candidates(groups: int) -> Prepared:
    """Return a look at the first few jobs of each of so many requirements, in the order of work."""
    parts = []
    for place in range(groups):
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
            .where(
                job.c.requirement_id == param(f"group{place}", sa.BigInteger),
                job.c.state == sa.literal_column("'defined'"),
                sa.not_(among(job.c.id, "tried")),
            )
            .order_by(job.c.priority.desc(), job.c.due, job.c.rank.desc(), job.c.id)
            .limit(param("want", sa.Integer))
        )
        parts.append(sa.select(first.subquery()))
    return Prepared(sa.union_all(*parts) if len(parts) > 1 else parts[0])


def _find_candidates(connection: sa.Connection, wish: Wish, tried: list[int]) -> list[Any]:
    rows: list[Any] = []
    for group in split_batches(sorted(wish.fits), GROUPS):
        # A few lengths, filled up with a requirement that no job has, serve all: each is compiled once.
        size = 1 << (len(group) - 1).bit_length()
        idents = {f"group{place}": ident for place, ident in enumerate([*group, *[0] * (size - len(group))])}
        rows += _prepare_candidates(size).run(connection, tried=tried, want=wish.want, **idents)
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


def _mint(ledger: Ledger, pilot_id: int, number: int, rows: Sequence[Any]) -> None:
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
    ]
    for row in minted:
        ledger.note("attempt", str(row["uuid"]), Signal.CLAIM, after=str(row["state"]))
    if minted:
        _MINT.run(ledger.connection, minted)
