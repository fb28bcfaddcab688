"""What pilots say and ask, of several of them in one transaction: reports first, then claims.

Each step is one for all calls, in a fixed order, and each locks rows in the order of their ids. So the calls that come
while the database writes cost one more statement here and there, and not a transaction each; and nobody waits in a
circle with another server that does the same.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import Offer
from p3s.engine.states import PILOT, AttemptState, PilotState, PilotStatus, Signal
from p3s.errors import NoToken
from p3s.server.db import lock_rows
from p3s.server.models import attempt, attempt_log, host, pilot
from p3s.server.pipeline import Later
from p3s.server.prepared import Prepared, param, there_is
from p3s.server.queries.orders import make_orders, read_orders
from p3s.server.secrets import fits_attempt, hash_token
from p3s.server.transitions.claims import Wish, claim_jobs
from p3s.server.transitions.edges import look_ahead
from p3s.server.transitions.leases import look_for_kept, return_unknown
from p3s.server.transitions.removals import HAS_REMOVALS, note_removed, read_removals
from p3s.server.transitions.reports import Sheaf, look_up, take_reports
from p3s.server.usecases.memory import Left
from p3s.wire import TAIL_BYTES, ExchangeBody, ExchangeReply, StopOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.queries.orders import Given
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.server.usecases.memory import Recalled
    from p3s.wire import LogChunk

__all__ = ["Call", "Seen", "take_calls"]

#: Jobs reported and asked for by a call that may go along with others.
SMALL = 64


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a pilot.

    Attributes
    ----------
    core : Core
        The server.
    uuid, secret : str
        Of the pilot, as it says.
    body : ExchangeBody
        What it says and asks.
    held : bool
        Whether it is held, and looked after in the transaction of another.
    """

    core: Core
    uuid: str
    secret: str
    body: ExchangeBody
    held: bool = False

    @property
    def cause(self) -> str:
        """What stands in the events."""
        return f"pilot {self.uuid[:8]}"

    @property
    def key(self) -> str:
        """Calls with the same one follow each other: what the first does to the pilot's row, the second has to see."""
        return self.uuid

    @property
    def weight(self) -> int | None:
        """Jobs reported and asked for; None for a call that does not go along with others."""
        body = self.body
        if body.logs or body.removed or body.state == "leaving":
            return None
        jobs = len(body.reports) + (body.claim.want if body.claim is not None else 0)
        return jobs if jobs <= SMALL else None

    @staticmethod
    def act(ledger: Ledger, calls: Sequence[Call]) -> list[Seen | None]:
        """Take calls of different pilots; see `take_calls`."""
        return take_calls(ledger, calls)


@dataclass(slots=True)
class Seen:
    """What one transaction of a call found: the answer so far, what a wait needs, and what is to be remembered."""

    reply: ExchangeReply
    pilot_id: int
    heard: frozenset[str]
    offer: Offer | None = None
    left: Left | None = None

    @property
    def silent(self) -> bool:
        """Whether there is nothing new to say."""
        orders = {*self.reply.watch, *(stop.attempt for stop in self.reply.stop)}
        orders.update(order.uuid for order in self.reply.removals)
        return self.reply.status is PilotStatus.OK and not self.reply.jobs and orders <= self.heard


@dataclass(slots=True)
class _Visit:
    """A call on its way through the transaction: the pilot's row, and what is found for it."""

    call: Call
    row: Any
    seen: Seen
    #: What the row's state is by now.
    state: PilotState
    sheaf: Sheaf
    #: What the pilot has and does not know of.
    unknown: list[Any]
    #: The number of the claim that it is given jobs for, and these.
    claimed: int = 0
    given: Sequence[Given] = ()


def take_calls(ledger: Ledger, calls: Sequence[Call]) -> list[Seen | None]:
    """Act on calls of different pilots, and return what each is answered with.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    calls : sequence of Call
        All of one server. One that brings what is not plain must be alone.

    Returns
    -------
    list of Seen or None
        None for a call that has to run once more: alone, or, held, by itself.

    Raises
    ------
    NoToken
        If a pilot is unknown or the secret is not its own.
    """
    core = calls[0].core
    visits = _enter(ledger, core, calls)
    for visit in visits:
        body = visit.call.body
        if body.logs:
            _keep_logs(core, ledger, body.logs)
        if body.removed:
            note_removed(ledger, visit.row.id, body.removed)
        return_unknown(ledger, visit.unknown, core.rules)
        if body.state == "leaving":
            _leave(core, ledger, visit)
    minted = _claim(core, ledger, [visit for visit in visits if visit.call.body.state != "leaving"])
    _collect_orders(ledger, [visit for visit in visits if visit.row.has_orders])
    for visit in visits:
        if visit.row.has_removals:
            visit.seen.reply.removals = read_removals(ledger.connection, visit.row.id)
    if _remembers(core):
        given = [one.uuid for visit in visits for one in visit.given]
        edges = look_ahead(ledger, given) if given else Later(found=[])
        for visit in visits:
            row = visit.row._replace(claim=max(visit.row.claim, visit.claimed), state=visit.state)
            visit.seen.left = Left(row, visit.given, minted, edges)
    found = {visit.call.uuid: visit.seen for visit in visits}
    return [found.get(call.uuid) for call in calls]


def _remembers(core: Core) -> bool:
    """Return whether to remember saves a way: a database in the same process is asked at once."""
    return not core.db.is_sqlite


def _recall(core: Core, calls: Sequence[Call]) -> dict[str, Recalled]:
    """Return what is remembered of those calls of which enough is."""
    if not _remembers(core):
        return {}
    found = {call.uuid: core.memory.recall(call.uuid, call.secret, call.body, held=call.held) for call in calls}
    return {uuid: one for uuid, one in found.items() if one is not None}


def _enter(ledger: Ledger, core: Core, calls: Sequence[Call]) -> list[_Visit]:
    """Renew leases and take reports; return the calls that go on."""
    recalled = _recall(core, calls)
    # Rows of pilots are locked in one order; who came first is served first all the same.
    touched = {
        call.uuid: (_TOUCH_FREE if call.held else _TOUCH).send(
            ledger.connection, uuid_=call.uuid, now=ledger.now, ack=call.body.ack
        )
        for call in sorted(calls, key=lambda call: call.uuid)
    }
    looked = [look_up(ledger, [report for call in calls if call.uuid not in recalled for report in call.body.reports])]
    for call in calls:
        if (known := recalled.get(call.uuid)) is not None:
            looked.append(known.looked)
            ledger.defer(partial(core.memory.check, call.uuid, call.body, known, touched[call.uuid]))
    kept = {
        call.uuid: look_for_kept(ledger, call.uuid, call.body.ack) for call in calls if call.body.running is not None
    }
    rows = {
        uuid: recalled[uuid].row if uuid in recalled else next(iter(later.rows()), None)
        for uuid, later in touched.items()
    }
    opened = (_open_visit(ledger, core, call, rows[call.uuid], kept.get(call.uuid)) for call in calls)
    visits = [visit for visit in opened if visit is not None]
    if len(visits) > 1:
        # What puts something back locks rows in no order that others keep, as a report does that is not plain.
        visits = [visit for visit in visits if not visit.unknown]
    if any(visit.sheaf.reports for visit in visits):
        take_reports(ledger, [visit.sheaf for visit in visits], looked, core.rules)
    taken = [visit for visit in visits if visit.sheaf.verdicts is not None or not visit.sheaf.reports]
    for visit in taken:
        visit.seen.reply.verdicts = visit.sheaf.verdicts or []
    return taken


_OPEN: list[sa.ColumnClause[str]] = [sa.literal_column(f"'{state}'") for state in ("dispatched", "running", "stopping")]
_NEWS = sa.or_(
    attempt.c.state == sa.literal_column(f"'{AttemptState.STOPPING}'"),
    sa.and_(
        attempt.c.state == sa.literal_column(f"'{AttemptState.RUNNING}'"), attempt.c.watched > param("now", sa.Double())
    ),
)
# Columns that a statement returns are rendered without their table, and inside a subquery `id` is the subquery's own.
_PILOT_ID: sa.ColumnElement[int] = sa.literal_column("pilot.id")
_PILOT_HOST: sa.ColumnElement[str] = sa.literal_column("pilot.host")


def _prepare_touch(*conditions: sa.ColumnElement[bool]) -> Prepared:
    """Return the first write of a call, on the row that the sweeper's guard reads: it renews the lease."""
    ack = param("ack", sa.Integer())
    return Prepared(
        sa.update(pilot)
        .where(*conditions)
        .values(seen=param("now", sa.Double()), acked=sa.case((pilot.c.acked < ack, ack), else_=pilot.c.acked))
        .returning(
            *(
                pilot.c[name]
                for name in (
                    "id",
                    "hash",
                    "state",
                    "status",
                    "claim",
                    "acked",
                    "host",
                    "site",
                    "labels",
                    "accepts",
                    "reason",
                )
            ),
            sa.select(host.c.reason)
            .where(host.c.name == _PILOT_HOST, host.c.banned.is_(True))
            .scalar_subquery()
            .label("banned"),
            there_is(attempt.c.pilot_id == _PILOT_ID, attempt.c.state.in_(_OPEN), _NEWS).label("has_orders"),
            HAS_REMOVALS.label("has_removals"),
        )
    )


_IS_CALLER = pilot.c.uuid == param("uuid_", sa.Text())
_TOUCH = _prepare_touch(_IS_CALLER)
#: On behalf of a held call nobody waits for a row that another transaction has.
_TOUCH_FREE = _prepare_touch(
    pilot.c.id.in_(lock_rows(sa.select(pilot.c.id).where(_IS_CALLER).correlate(None), skip_locked=True))
)


def _open_visit(ledger: Ledger, core: Core, call: Call, row: Any, kept: Later | None) -> _Visit | None:
    if row is None and call.held:
        return None
    # Raising rolls the renewal back.
    if row is None or not hmac.compare_digest(row.hash, hash_token(call.secret)):
        raise NoToken(f"pilot {call.uuid} is not known with this secret; register again")
    if row.state == PilotState.STOPPED and call.body.state != "leaving":
        raise NoToken(f"pilot {call.uuid} has left; register again")
    state = PilotState(row.state)
    if state is PilotState.TIMEOUT:
        # It was cut off and is back; its attempts were ended, which the verdicts on its reports tell it.
        state = _move(ledger, call, row, state, Signal.RETRY)
    if call.body.state == "draining":
        state = _move(ledger, call, row, state, Signal.DRAIN)
    settings = core.settings
    reply = ExchangeReply(
        status=PilotStatus(row.status), message=row.reason, heartbeat=settings.heartbeat, lease=settings.lease
    )
    # The list and the acknowledgement are of one moment, so a late call does no harm.
    known = {*(call.body.running or ()), *(report.attempt for report in call.body.reports)}
    unknown = [one for one in kept.rows() if one.uuid not in known] if kept is not None else []
    seen, sheaf = Seen(reply, row.id, frozenset(call.body.heard)), Sheaf(call.body.reports, call.cause)
    return _Visit(call, row, seen, state, sheaf, unknown)


def _move(ledger: Ledger, call: Call, row: Any, state: PilotState, signal: Signal) -> PilotState:
    """Have a pilot moved whose row this transaction holds, if its state admits it; return the new state."""
    after = PILOT.get((state, signal))
    if after is None:
        return state
    ledger.move_held("pilot", row.id, call.uuid, signal, before=state, cause=call.cause)
    return after


_NUMBER = Prepared(
    sa.update(pilot).where(pilot.c.id == param("pilot", sa.BigInteger())).values(claim=param("number", sa.Integer()))
)


def _claim(core: Core, ledger: Ledger, visits: Sequence[_Visit]) -> Later:
    """Give jobs to all that ask for some; return the new attempts as `claim_jobs` does."""
    wishes: list[tuple[_Visit, Wish]] = []
    for visit in visits:
        if visit.call.body.claim is not None and visit.row.status == PilotStatus.OK:
            wish = _form_wish(core, ledger, visit)
            if wish is not None:
                wishes.append((visit, wish))
    if not wishes:
        return Later(found=[])
    given, minted = claim_jobs(ledger, [wish for _, wish in wishes])
    for (visit, wish), jobs in zip(wishes, given, strict=True):
        if jobs:
            _NUMBER.send(ledger.connection, pilot=visit.row.id, number=wish.number)
            visit.state = _move(ledger, visit.call, visit.row, visit.state, Signal.BUSY)
            visit.claimed, visit.given = wish.number, jobs
        elif not visit.call.body.running:
            visit.state = _move(ledger, visit.call, visit.row, visit.state, Signal.IDLE)
    orders = iter(make_orders(ledger.connection, [job for jobs in given for job in jobs], core.secret))
    for (visit, _), jobs in zip(wishes, given, strict=True):
        visit.seen.reply.jobs = [next(orders) for _ in jobs]
    return minted


def _form_wish(core: Core, ledger: Ledger, visit: _Visit) -> Wish | None:
    """Return what a claim asks for; None if it is answered without looking for jobs."""
    call, row, reply = visit.call, visit.row, visit.seen.reply
    claim = call.body.claim
    assert claim is not None
    reply.number = claim.number
    if claim.number < row.claim:
        reply.status = PilotStatus.FAIL
        reply.message = f"claim {claim.number} comes after claim {row.claim}; two pilots share the uuid {row.id}?"
        return None
    if claim.number == row.claim:
        reply.jobs = read_orders(ledger.connection, row.id, claim.number, core.secret)
        if reply.jobs:
            return None
    if core.paused_by is not None or not claim.want:
        return None
    if row.banned is not None:
        reply.message = f"host {row.host} is banned: {row.banned}; `p3s host allow {row.host}` lets it go on"
        return None
    offer = Offer(
        users=tuple(row.accepts["users"]),
        jobtypes=tuple(row.accepts["jobtypes"]),
        labels=tuple(row.labels),
        cpus=claim.cpus,
        memory=claim.memory,
        lifetime=call.body.lifetime,
        site=row.site,
    )
    visit.seen.offer = offer
    fits = core.find_fits(offer)
    capped = core.find_capped(fits)
    return Wish(row.id, call.cause, claim.number, claim.want, claim.cpus, claim.memory, fits, capped, claim.ahead)


_COLLECT = Prepared(
    sa.select(attempt.c.uuid, attempt.c.state).where(
        attempt.c.pilot_id == param("pilot", sa.BigInteger()), attempt.c.state.in_(_OPEN), _NEWS
    )
)


def _collect_orders(ledger: Ledger, visits: Sequence[_Visit]) -> None:
    """Read what pilots are to stop and to show; what comes after this look rings their bells."""
    sent = [_COLLECT.send(ledger.connection, pilot=visit.row.id, now=ledger.now) for visit in visits]
    for visit, later in zip(visits, sent, strict=True):
        rows, reply = later.rows(), visit.seen.reply
        stopping = [row.uuid for row in rows if row.state == AttemptState.STOPPING]
        reply.stop = [StopOrder(attempt=ident, reason="cancelled") for ident in stopping]
        reply.watch = [row.uuid for row in rows if row.state == AttemptState.RUNNING]


def _leave(core: Core, ledger: Ledger, visit: _Visit) -> None:
    row = visit.row
    ledger.move("pilot", [row.id], Signal.LEAVE, reason=visit.call.body.reason)
    # All that is still open comes back, also a claim whose answer never arrived.
    return_unknown(ledger, look_for_kept(ledger, visit.call.uuid, row.claim).rows(), core.rules)


def _keep_logs(core: Core, ledger: Ledger, chunks: Sequence[LogChunk]) -> None:
    for chunk in chunks:
        if not fits_attempt(core.secret, chunk.attempt, chunk.token):
            continue
        ident = ledger.connection.scalar(sa.select(attempt.c.id).where(attempt.c.uuid == chunk.attempt))
        key = (attempt_log.c.attempt_id == ident, attempt_log.c.stream == chunk.stream)
        kept = ledger.connection.execute(sa.select(attempt_log.c.start, attempt_log.c.data).where(*key)).one_or_none()
        if kept is None:
            values = {"attempt_id": ident, "stream": chunk.stream, "start": chunk.offset, "data": chunk.data}
            ledger.connection.execute(sa.insert(attempt_log).values(values))
            continue
        if chunk.offset + len(chunk.data) <= kept.start + len(kept.data):
            continue
        # A chunk that does not join on leaves a gap; what is before the gap goes.
        joined = kept.data[: chunk.offset - kept.start] if chunk.offset <= kept.start + len(kept.data) else b""
        data = (joined + chunk.data)[-TAIL_BYTES:]
        start = chunk.offset + len(chunk.data) - len(data)
        ledger.connection.execute(sa.update(attempt_log).where(*key).values(start=start, data=data))
