"""Who claims a job: the matching, and the minting of attempts.

The cost does not depend on how many jobs are queued, nor on how many of them this pilot cannot run: what jobs ask
for stands once in ``requirement``, the pilot is matched against those, and of each that fits the index in the
order of work gives the first few jobs. The grouping is the idea of DIRAC's task queues.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import AttemptState, JobState, Signal
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import attempt, job, job_spec, workflow
from p3s.server.prepared import InsertRows, Prepared, among, has_state, param
from p3s.server.queries.orders import Given
from p3s.server.transitions.ledger import Preset
from p3s.server.transitions.limits import read_room, take_room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["Wish", "claim_jobs"]

#: How often a claim looks again when others were quicker at what it found.
LOOKS = 5
#: Requirements looked through in one statement.
GROUPS = 64


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pilot asks for: up to `want` jobs whose cpus and memory fit together, but for `ahead` of them.

    Attributes
    ----------
    fits : dict of int to (int, int)
        The requirements that this pilot meets, with the cpus and bytes each job of them takes.
    memory : int or None
        Bytes free; None does not bound.
    capped : dict of int to str
        The requirements whose jobtype has a cap, with that jobtype.
    """

    number: int
    want: int
    cpus: int
    memory: int | None
    fits: dict[int, tuple[int, int]]
    capped: dict[int, str] = field(default_factory=dict)
    ahead: int = 0


#: Taken by one statement, so that nobody waits for rows that another claim holds.
_FREE = sa.select(job.c.id).where(among(job.c.id, "ids"), has_state(job, JobState.DEFINED))
# Inside a subquery of what a statement returns, a column without its table would be the subquery's own.
_SPEC = sa.select(job_spec.c.body).where(job_spec.c.job_id == sa.literal_column("job.id"))
_WORKFLOW_ID: sa.ColumnElement[int] = sa.literal_column("job.workflow_id")


def _tell_of_workflow(column: sa.Column[Any], name: str) -> sa.Label[Any]:
    return sa.select(column).where(workflow.c.id == _WORKFLOW_ID).scalar_subquery().label(name)


#: What a pilot is told, so that nobody need look for it again.
_ORDER = (
    *(job.c[name] for name in ("name", "owner", "jobtype", "timelimit", "attempt")),
    _SPEC.scalar_subquery().label("body"),
    _tell_of_workflow(workflow.c.uuid, "workflow_uuid"),
    _tell_of_workflow(workflow.c.name, "workflow_name"),
    _tell_of_workflow(workflow.c.params, "params"),
    _tell_of_workflow(workflow.c.bundle_id, "bundle_id"),
)
_CLAIMED = Preset(
    guard=job.c.id.in_(lock_rows(_FREE.correlate(None), skip_locked=True)),
    returned=_ORDER,
    attempt=job.c.attempt + 1,
    started=sa.null(),
    reason=sa.null(),
    message="",
)
_MINT = InsertRows(attempt, ("uuid", "job_id", "pilot_id", "number", "claim", "state", "created", "counted"))


def claim_jobs(ledger: Ledger, pilot_id: int, wish: Wish) -> list[Given]:
    """Dispatch up to ``wish.want`` jobs to the pilot and return them in the order of work."""
    told: dict[int, Any] = {}
    chosen: list[Any] = []
    tried: list[int] = []
    room = _find_room(ledger.connection, wish)
    for _ in range(LOOKS):
        found = _choose(_find_candidates(ledger.connection, wish, tried, room), wish, chosen, room)
        if not found:
            break
        tried += [row.id for row in found]
        ids = [row.id for row in found]
        moved = set(
            ledger.move(
                "job",
                ids,
                Signal.CLAIM,
                preset=_CLAIMED,
                take=lambda rows: told.update((row.id, row) for row in rows),
            )
        )
        chosen += [row for row in found if row.id in moved]
        if len(moved) == len(found):
            break
    counted = {row.id: name for row in chosen if (name := wish.capped.get(row.requirement_id)) in room}
    given = [_give(told[row.id]) for row in chosen]
    _mint(ledger, pilot_id, wish.number, given, counted)
    ledger.claimed += len(given)
    take_room(ledger, Counter(counted.values()))
    return given


def _give(row: Any) -> Given:
    return Given(
        uuid=str(uuid.uuid4()),
        number=row.attempt,
        job_id=row.id,
        job_uuid=row.uuid,
        name=row.name,
        owner=row.owner,
        jobtype=row.jobtype,
        timelimit=row.timelimit,
        body=row.body,
        workflow_uuid=row.workflow_uuid,
        workflow_name=row.workflow_name,
        params=row.params,
        bundle_id=row.bundle_id,
    )


def _find_room(connection: sa.Connection, wish: Wish) -> dict[str, int]:
    """Return how many more attempts each capped jobtype may have, sure to the end of the transaction.

    The counters are locked before jobs, which a claim never waits for, so nobody waits in a circle. Where all types are
    full nothing is locked.
    """
    room = read_room(connection, wish.capped.values())
    open_types = [name for name, left in room.items() if left]
    return room | read_room(connection, open_types, lock=True)


@cache
def _prepare_candidates(groups: int, want: int) -> Prepared:
    """Return a look at the first `want` jobs of each of so many requirements, in the order of work.

    The limit is a part of the text: PostgreSQL plans a statement that it has seen often for any limit, and then reads
    and sorts all that is queued instead of the first entries of the index.
    """
    parts = []
    for place in range(groups):
        first = (
            sa.select(
                job.c.id,
                job.c.requirement_id,
                job.c.priority,
                job.c.due,
                job.c.rank,
            )
            .where(
                job.c.requirement_id == param(f"group{place}", sa.BigInteger),
                job.c.state == sa.literal_column("'defined'"),
                sa.not_(among(job.c.id, "tried")),
            )
            .order_by(job.c.priority.desc(), job.c.due, job.c.rank.desc(), job.c.id)
            .limit(sa.literal_column(str(want)))
        )
        parts.append(sa.select(first.subquery()))
    return Prepared(sa.union_all(*parts) if len(parts) > 1 else parts[0])


def _find_candidates(connection: sa.Connection, wish: Wish, tried: list[int], room: Mapping[str, int]) -> list[Any]:
    rows: list[Any] = []
    # What is at its cap is not looked at, however many jobs of it are queued.
    fits = [ident for ident in wish.fits if ident not in wish.capped or room.get(wish.capped[ident], 1)]
    # Of limits and of lengths a few serve all, and each is compiled once: the next power of two.
    limit = 1 << (wish.want - 1).bit_length()
    for group in split_batches(sorted(fits), GROUPS):
        # Filled up with a requirement that no job has.
        size = 1 << (len(group) - 1).bit_length()
        idents = {f"group{place}": ident for place, ident in enumerate([*group, *[0] * (size - len(group))])}
        rows += _prepare_candidates(size, limit).run(connection, tried=tried, **idents)
    rows.sort(key=lambda row: (-row.priority, row.due, -row.rank, row.id))
    return rows


def _choose(rows: Sequence[Any], wish: Wish, chosen: Sequence[Any], room: Mapping[str, int]) -> list[Any]:
    """Take from the top what fits into the slots, cpus, memory and caps left beside what is already chosen.

    All of it fits into the pilot by itself; what does not fit beside the others may wait for them.
    """
    cpus, memory, ahead = wish.cpus, wish.memory, wish.ahead
    picked: list[Any] = []
    taken: Counter[str] = Counter()
    for row in (*chosen, *rows):
        need_cpus, need_memory = wish.fits[row.requirement_id]
        name = wish.capped.get(row.requirement_id)
        if name is not None and taken[name] >= room.get(name, wish.want):
            continue
        beside = need_cpus <= cpus and (memory is None or need_memory <= memory)
        if len(picked) == wish.want or not (beside or ahead):
            continue
        picked.append(row)
        if name is not None:
            taken[name] += 1
        if not beside:
            ahead -= 1
            continue
        cpus -= need_cpus
        memory = None if memory is None else memory - need_memory
    return picked[len(chosen) :]


def _mint(ledger: Ledger, pilot_id: int, number: int, given: Sequence[Given], counted: Mapping[int, str]) -> None:
    minted = [
        {
            "uuid": one.uuid,
            "job_id": one.job_id,
            "pilot_id": pilot_id,
            "number": one.number,
            "claim": number,
            "state": AttemptState.DISPATCHED,
            "created": ledger.now,
            "counted": one.job_id in counted,
        }
        for one in given
    ]
    for one in given:
        ledger.note("attempt", one.uuid, Signal.CLAIM, after=AttemptState.DISPATCHED)
    if minted:
        _MINT.run(ledger.connection, minted)
