"""Who claims a job: the matching, and the minting of attempts.

The cost does not depend on how many jobs are queued, nor on how many of them this pilot cannot run: what jobs ask
for stands once in ``requirement``, the pilot is matched against those, and of each that fits the index in the
order of work gives the first few jobs. The grouping is the idea of DIRAC's task queues. Several pilots are served
at once: one look finds jobs for all, who take from them in turn, and one statement moves what they took.
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
from p3s.server.pipeline import Later
from p3s.server.prepared import InsertRows, Prepared, among, has_state, param
from p3s.server.queries.orders import Given
from p3s.server.transitions.ledger import Preset, prepare_taking
from p3s.server.transitions.limits import read_room, take_room

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

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
    pilot_id : int
        Who asks.
    cause : str
        Stands in the events.
    number : int
        The claim's.
    fits : dict of int to (int, int)
        The requirements that this pilot meets, with the cpus and bytes each job of them takes.
    memory : int or None
        Bytes free; None does not bound.
    capped : dict of int to str
        The requirements whose jobtype has a cap, with that jobtype.
    """

    pilot_id: int
    cause: str
    number: int
    want: int
    cpus: int
    memory: int | None
    fits: dict[int, tuple[int, int]]
    capped: dict[int, str] = field(default_factory=dict)
    ahead: int = 0


@dataclass(slots=True)
class _Claim:
    """A wish and the rows of jobs that it got."""

    wish: Wish
    chosen: list[Any] = field(default_factory=list)

    @property
    def lacking(self) -> int:
        """How many more it wants."""
        return self.wish.want - len(self.chosen)


#: Taken by one statement, so that nobody waits for rows that another claim holds.
_FREE = sa.select(job.c.id).where(among(job.c.id, "ids"), has_state(job, JobState.DEFINED))
# Inside a subquery of what a statement returns, a column without its table would be the subquery's own.
_SPEC = sa.select(job_spec.c.body).where(job_spec.c.job_id == sa.literal_column("job.id"))
_WORKFLOW_ID: sa.ColumnElement[int] = sa.literal_column("job.workflow_id")


def _tell_of_workflow(column: sa.Column[Any], name: str) -> sa.Label[Any]:
    return sa.select(column).where(workflow.c.id == _WORKFLOW_ID).scalar_subquery().label(name)


#: What a pilot is told, so that nobody need look for it again.
_ORDER = (
    *(job.c[name] for name in ("name", "owner", "jobtype", "timelimit", "attempt", "workflow_id")),
    _SPEC.scalar_subquery().label("body"),
    _tell_of_workflow(workflow.c.uuid, "workflow_uuid"),
    _tell_of_workflow(workflow.c.name, "workflow_name"),
    _tell_of_workflow(workflow.c.params, "params"),
    _tell_of_workflow(workflow.c.bundle_id, "bundle_id"),
)
_VALUES: dict[str, Any] = {"attempt": job.c.attempt + 1, "started": sa.null(), "reason": sa.null(), "message": ""}
_CLAIMED = Preset(
    guard=job.c.id.in_(lock_rows(_FREE.correlate(None), skip_locked=True)),
    returned=_ORDER,
    **_VALUES,
)
_TAKEN = Preset(returned=_ORDER, **_VALUES)
_MINT = InsertRows(
    attempt,
    ("uuid", "job_id", "pilot_id", "number", "claim", "state", "created", "counted"),
    told=("id", "uuid"),
)


def claim_jobs(ledger: Ledger, wishes: Sequence[Wish]) -> tuple[list[list[Given]], Later]:
    """Dispatch to each pilot up to ``want`` jobs; return them in the order of the wishes, each in the order of work.

    On PostgreSQL the new attempts are returned, too, with their ``id`` and ``uuid``.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    wishes : sequence of Wish
        Of different pilots; the first takes first.
    """
    told: dict[int, Any] = {}
    tried: list[int] = []
    claims = asking = [_Claim(wish) for wish in wishes]
    room = _find_room(ledger, wishes)
    if len(claims) == 1 and _fits_anyhow(claims[0].wish):
        rows, is_all = _take_first(ledger, claims[0].wish)
        claims[0].chosen += rows
        told |= {row.id: row for row in rows}
        tried += told
        asking = [] if is_all else claims
    for _ in range(LOOKS):
        if not asking:
            break
        found = _share_out(_find_candidates(ledger.connection, asking, tried, room), asking, room)
        if not found:
            break
        tried += found
        moved = set(
            ledger.move(
                "job",
                list(found),
                Signal.CLAIM,
                cause={ident: claim.wish.cause for ident, (claim, _) in found.items()},
                preset=_CLAIMED,
                take=lambda rows: told.update((row.id, row) for row in rows),
            )
        )
        lost = []
        for ident, (claim, row) in found.items():
            if ident in moved:
                claim.chosen.append(row)
                continue
            lost.append(claim)
            if (name := claim.wish.capped.get(row.requirement_id)) in room:
                room[name] += 1
        # Who lost nothing to others took all that there was for it.
        asking = [claim for claim in asking if claim in lost]
    return _hand_out(ledger, claims, told, room)


def _hand_out(
    ledger: Ledger, claims: Sequence[_Claim], told: Mapping[int, Any], room: Mapping[str, int]
) -> tuple[list[list[Given]], Later]:
    """Mint the attempts of what was claimed."""
    counted: dict[int, str] = {}
    for claim in claims:
        capped = claim.wish.capped
        counted |= {row.id: name for row in claim.chosen if (name := capped.get(row.requirement_id)) in room}
        for row in claim.chosen:
            # What was released before in this transaction and is claimed now is there for nobody else.
            ledger.released[row.requirement_id] -= ledger.released[row.requirement_id] > 0
    given = [(claim.wish, [_give(told[row.id]) for row in claim.chosen]) for claim in claims]
    minted = _mint(ledger, given, counted)
    ledger.claimed += sum(len(orders) for _, orders in given)
    take_room(ledger, Counter(counted.values()))
    return [orders for _, orders in given], minted


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
        workflow_id=row.workflow_id,
        workflow_uuid=row.workflow_uuid,
        workflow_name=row.workflow_name,
        params=row.params,
        bundle_id=row.bundle_id,
    )


def _find_room(ledger: Ledger, wishes: Sequence[Wish]) -> dict[str, int]:
    """Return how many more attempts each capped jobtype may have, sure to the end of the transaction.

    The counters are locked before jobs, which a claim never waits for, and with those of what ended in the same
    transaction, so nobody waits in a circle. Where all types are full none is locked for a claim.
    """
    names = {name for wish in wishes for name in wish.capped.values()}
    if not names:
        return {}
    # Until then nobody knows what ended.
    ledger.settle()
    room = read_room(ledger.connection, names)
    open_types = [name for name, left in room.items() if left]
    return room | read_room(ledger.connection, open_types, lock=True, ended=ledger.uncounted)


def _fits_anyhow(wish: Wish) -> bool:
    """Tell whether any jobs that a wish is for fit together, so that those in front can be taken without a look."""
    if wish.capped or not 0 < len(wish.fits) <= GROUPS:
        return False
    beside = wish.want - wish.ahead
    cpus, memory = (max(needs) for needs in zip(*wish.fits.values(), strict=True))
    return beside * cpus <= wish.cpus and (wish.memory is None or beside * memory <= wish.memory)


def _take_first(ledger: Ledger, wish: Wish) -> tuple[list[Any], bool]:
    """Dispatch the first jobs that are free; return them in the order of work, and whether that is all there is."""
    limit, size, idents = _arrange_look(wish.fits, wish.want)
    # On the same trip: what was there and was not taken has been locked by another claim.
    seen = None
    if ledger.connection.dialect.name == "postgresql":
        seen = _prepare_candidates(size, limit).send(ledger.connection, tried=[], **idents)
    rows = ledger.move_found(
        "job",
        JobState.DEFINED,
        Signal.CLAIM,
        _prepare_first(size, limit),
        cause=wish.cause,
        tried=[],
        want=wish.want,
        **idents,
    )
    there = min(wish.want, len(seen.rows())) if seen is not None else 0
    return sorted(rows, key=_find_place), len(rows) >= there


def _find_place(row: Any) -> tuple[Any, ...]:
    """Return what orders jobs for work."""
    return -row.priority, row.due, -row.rank, row.id


def _arrange_look(fits: Collection[int], want: int) -> tuple[int, int, dict[str, int]]:
    """Return the limit and the size of a look for jobs of at most `GROUPS` requirements, and its parameters."""
    # Of limits and of lengths a few serve all, and each is compiled once: the next power of two.
    limit, size = 1 << (want - 1).bit_length(), 1 << (len(fits) - 1).bit_length()
    # Filled up with a requirement that no job has.
    filled = [*sorted(fits), *[0] * (size - len(fits))]
    return limit, size, {f"group{place}": ident for place, ident in enumerate(filled)}


@cache
def _prepare_first(groups: int, want: int) -> Prepared:
    """Return what dispatches the first jobs of so many requirements: as many as the parameter ``want`` says."""
    there = _select_candidates(groups, want).subquery()
    order = (there.c.priority.desc(), there.c.due, there.c.rank.desc(), there.c.id)
    first = sa.select(there.c.id).order_by(*order).limit(param("want", sa.Integer()))
    told = (job.c.requirement_id, job.c.priority, job.c.due, job.c.rank)
    return prepare_taking("job", JobState.DEFINED, Signal.CLAIM, first, _TAKEN, *told)


@cache
def _prepare_candidates(groups: int, want: int) -> Prepared:
    """Return a look at the first `want` jobs of each of so many requirements."""
    return Prepared(_select_candidates(groups, want))


def _select_candidates(groups: int, want: int) -> Any:
    """Return the statement of a look: what it gives of each requirement is in the order of work.

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
    return sa.union_all(*parts) if len(parts) > 1 else parts[0]


def _find_candidates(
    connection: sa.Connection, claims: Sequence[_Claim], tried: list[int], room: Mapping[str, int]
) -> list[Any]:
    """Return jobs that some of the claims may take, in the order of work: of each requirement as many as all want."""
    # Pilots that offer the same share one mapping.
    wishes = {id(claim.wish.fits): claim.wish for claim in claims}.values()
    # What is at its cap is not looked at, however many jobs of it are queued.
    fits = {ident for wish in wishes for ident in wish.fits if room.get(wish.capped.get(ident, ""), 1)}
    rows: list[Any] = []
    for group in split_batches(sorted(fits), GROUPS):
        limit, size, idents = _arrange_look(group, sum(claim.lacking for claim in claims))
        rows += _prepare_candidates(size, limit).run(connection, tried=tried, **idents)
    return sorted(rows, key=_find_place)


def _share_out(rows: Sequence[Any], claims: Sequence[_Claim], room: dict[str, int]) -> dict[int, tuple[_Claim, Any]]:
    """Let each claim in turn take of `rows` what it may have; `room` shrinks by what is taken."""
    found: dict[int, tuple[_Claim, Any]] = {}
    for claim in claims:
        picked = _choose(rows, claim, room)
        found |= {row.id: (claim, row) for row in picked}
        room_taken = Counter(claim.wish.capped.get(row.requirement_id) for row in picked)
        for name in room.keys() & room_taken.keys():
            room[name] -= room_taken[name]
        rows = [row for row in rows if row.id not in found]
    return found


def _choose(rows: Sequence[Any], claim: _Claim, room: Mapping[str, int]) -> list[Any]:
    """Take from the top what fits into the slots, cpus, memory and caps left beside what is already chosen.

    All of it fits into the pilot by itself; what does not fit beside the others may wait for them.
    """
    wish = claim.wish
    cpus, memory, ahead = wish.cpus, wish.memory, wish.ahead
    picked: list[Any] = []
    taken: Counter[str] = Counter()
    for place, row in enumerate((*claim.chosen, *rows)):
        fresh = place >= len(claim.chosen)
        if len(picked) == claim.lacking:
            break
        if row.requirement_id not in wish.fits:
            continue
        need_cpus, need_memory = wish.fits[row.requirement_id]
        name = wish.capped.get(row.requirement_id)
        if fresh and name is not None and taken[name] >= room.get(name, wish.want):
            continue
        beside = need_cpus <= cpus and (memory is None or need_memory <= memory)
        if not (beside or ahead):
            continue
        if fresh:
            picked.append(row)
            if name is not None:
                taken[name] += 1
        if not beside:
            ahead -= 1
            continue
        cpus -= need_cpus
        memory = None if memory is None else memory - need_memory
    return picked


def _mint(ledger: Ledger, given: Sequence[tuple[Wish, Sequence[Given]]], counted: Mapping[int, str]) -> Later:
    minted = [
        {
            "uuid": one.uuid,
            "job_id": one.job_id,
            "pilot_id": wish.pilot_id,
            "number": one.number,
            "claim": wish.number,
            "state": AttemptState.DISPATCHED,
            "created": ledger.now,
            "counted": one.job_id in counted,
        }
        for wish, orders in given
        for one in orders
    ]
    for wish, orders in given:
        for one in orders:
            ledger.note("attempt", one.uuid, Signal.CLAIM, after=AttemptState.DISPATCHED, cause=wish.cause)
    return _MINT.run(ledger.connection, minted) if minted else Later(found=[])
