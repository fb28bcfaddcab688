"""The one call of a pilot: it reports, acknowledges and asks; and its registration."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import Offer
from p3s.engine.states import AttemptState, PilotState, PilotStatus, Signal
from p3s.errors import NotAllowed, NoToken
from p3s.server.db import lock_rows
from p3s.server.models import attempt, attempt_log, host, pilot
from p3s.server.prepared import Prepared, param
from p3s.server.queries.orders import make_orders, read_orders
from p3s.server.secrets import fits_attempt, hash_token
from p3s.server.transitions.claims import Wish, claim_jobs
from p3s.server.transitions.leases import return_unknown
from p3s.server.transitions.removals import HAS_REMOVALS, note_removed, read_removals
from p3s.server.transitions.reports import look_up, take_reports
from p3s.wire import TAIL_BYTES, ExchangeBody, ExchangeReply, RegisterReply, StopOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.auth import Who
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import LogChunk, RegisterBody

__all__ = ["check_secret", "exchange", "register_pilot"]

#: Pilots whose secret is remembered; then all are forgotten and looked up once more.
REMEMBERED = 20_000
#: Jobs reported and asked for by a call that may be committed together with others.
SMALL = 16


def register_pilot(core: Core, body: RegisterBody, who: Who, secret: str) -> RegisterReply:
    """Make a pilot known, or known again, and give it a new secret of its own.

    Parameters
    ----------
    core : Core
        The server.
    body : RegisterBody
        What the pilot says of itself.
    who : Who
        Whose token it was sent with. A pilot is known again only to the token that registered it.
    secret : str
        The pilot's new secret.

    Raises
    ------
    NotAllowed
        If the token is bound to another site, or the pilot was registered with another token.
    """
    if who.site is not None and body.site not in {"default", who.site}:
        raise NotAllowed(f"this token registers pilots of site {who.site} only, not of {body.site}")
    values = body.model_dump(exclude={"uuid", "accepts"}) | {
        "accepts": body.accepts.model_dump(),
        "site": who.site or body.site,
        "hash": hash_token(secret),
        "token_id": who.token_id,
        "status": PilotStatus.OK,
        "reason": "",
    }

    def action(ledger: Ledger) -> None:
        row = ledger.connection.execute(
            sa.select(pilot.c.id, pilot.c.state, pilot.c.token_id).where(pilot.c.uuid == body.uuid).with_for_update()
        ).one_or_none()
        if row is None:
            fresh = values | {
                "uuid": body.uuid,
                "state": PilotState.ACTIVE,
                "seen": ledger.now,
                "created": ledger.now,
            }
            ledger.connection.execute(sa.insert(pilot).values(fresh))
            ledger.note("pilot", body.uuid, "register", after=PilotState.ACTIVE)
            return
        if row.token_id not in {None, who.token_id}:
            raise NotAllowed(f"pilot {body.uuid} was registered with another token; start one with a new uuid")
        ledger.connection.execute(sa.update(pilot).where(pilot.c.id == row.id).values(values | {"seen": ledger.now}))
        if not ledger.move("pilot", [row.id], Signal.RETRY):
            ledger.note("pilot", body.uuid, "register", before=row.state, after=row.state)

    core.change(f"{body.host}, by {who.name}", action)
    settings = core.settings
    return RegisterReply(
        secret=secret,
        heartbeat=settings.heartbeat,
        lease=settings.lease,
        poll=settings.poll,
        patience=settings.patience,
    )


def check_secret(core: Core, uuid: str, secret: str) -> None:
    """Check a pilot's secret before its call is read, without writing and mostly without the database.

    Raises
    ------
    NoToken
        If the pilot is unknown or the secret is not its own; it registers again.
    """
    if not secret:
        raise NoToken("this needs the pilot's own secret; register first")
    digest = hash_token(secret)
    if core.pilots.get(uuid) == digest:
        return
    with core.db.read() as connection:
        found = connection.scalar(sa.select(pilot.c.hash).where(pilot.c.uuid == uuid))
    if found is None or not hmac.compare_digest(found, digest):
        raise NoToken(f"pilot {uuid} is not known with this secret; register again")
    if len(core.pilots) >= REMEMBERED:
        core.pilots.clear()
    core.pilots[uuid] = digest


@dataclass(slots=True)
class _Seen:
    """What one transaction of a call found: the answer so far, and what a wait needs."""

    reply: ExchangeReply
    pilot_id: int
    heard: frozenset[str]
    offer: Offer | None = None

    @property
    def silent(self) -> bool:
        """Whether there is nothing new to say."""
        orders = {*self.reply.watch, *(stop.attempt for stop in self.reply.stop)}
        orders.update(order.uuid for order in self.reply.removals)
        return self.reply.status is PilotStatus.OK and not self.reply.jobs and orders <= self.heard


def exchange(core: Core, uuid: str, secret: str, body: ExchangeBody) -> ExchangeReply:
    """Take a pilot's reports, and answer with jobs and orders; hold the call while there is nothing to say.

    Raises
    ------
    NoToken
        If the pilot is unknown or the secret is not its own; it registers again.
    """
    seen = _exchange_once(core, uuid, secret, body)
    if body.claim is not None:
        core.hub.end_wait(seen.pilot_id)
    if body.reports or body.logs or body.removed or body.wait <= 0 or body.state == "leaving" or not seen.silent:
        return seen.reply
    return _hold(core, uuid, secret, body, seen)


def _hold(core: Core, uuid: str, secret: str, body: ExchangeBody, seen: _Seen) -> ExchangeReply:
    end = time.monotonic() + min(body.wait, core.settings.poll)
    quiet = body.model_copy(update={"running": None, "ack": 0})

    def look(ledger: Ledger) -> _Seen | None:
        # In the transaction of another call, which waits for nobody: this pilot's other call may hold its row.
        if not core.db.is_sqlite and not _FREE.run(ledger.connection, uuid=uuid):
            return None
        return _act(core, ledger, uuid, secret, quiet)

    with core.hub.subscribe(seen.pilot_id, seen.offer, _name(uuid), look) as waiter:
        while True:
            # Subscribed first, so what came after the last look rings the bell; look once more, then wait.
            answer, waiter.answer = waiter.answer, None
            # An answer that says nothing is older than what may have rung since.
            seen = answer if answer is not None and not answer.silent else _exchange_once(core, uuid, secret, quiet)
            left = end - time.monotonic()
            if not seen.silent or left <= 0 or waiter.over:
                return seen.reply
            while not waiter.wait(min(left, 5.0)):
                left = end - time.monotonic()
                if left <= 0:
                    return seen.reply
            if waiter.over and waiter.answer is None:
                return seen.reply


_FREE = Prepared(lock_rows(sa.select(pilot.c.id).where(pilot.c.uuid == param("uuid", sa.Text())), skip_locked=True))


def _name(uuid: str) -> str:
    return f"pilot {uuid[:8]}"


def _exchange_once(core: Core, uuid: str, secret: str, body: ExchangeBody) -> _Seen:
    jobs = len(body.reports) + (body.claim.want if body.claim is not None else 0)
    small = jobs <= SMALL and not body.logs
    return core.change(_name(uuid), lambda ledger: _act(core, ledger, uuid, secret, body), small=small)


def _act(core: Core, ledger: Ledger, uuid: str, secret: str, body: ExchangeBody) -> _Seen:
    touched = _TOUCH.send(ledger.connection, uuid_=uuid, now=ledger.now, ack=body.ack)
    attempts = look_up(ledger, body.reports)
    row = _check_touched(ledger, touched.rows(), uuid, secret, body)
    settings = core.settings
    reply = ExchangeReply(
        status=PilotStatus(row.status), message=row.reason, heartbeat=settings.heartbeat, lease=settings.lease
    )
    seen = _Seen(reply, row.id, frozenset(body.heard))
    reply.verdicts = take_reports(ledger, body.reports, attempts, core.rules)
    if body.logs:
        _keep_logs(core, ledger, body.logs)
    if body.removed:
        note_removed(ledger, row.id, body.removed)
    if body.running is not None:
        known = {*body.running, *(report.attempt for report in body.reports)}
        # The list and the acknowledgement are of one moment, so a late call does no harm.
        return_unknown(ledger, row.id, known, body.ack, core.rules)
    if body.state == "leaving":
        _leave(core, ledger, row, body)
        return seen
    if body.claim is not None and row.status == PilotStatus.OK:
        _claim(core, ledger, row, body, seen)
    if row.has_orders:
        # What comes after this look rings the pilot's bell.
        _collect_orders(ledger, row.id, reply)
    if row.has_removals:
        reply.removals = read_removals(ledger.connection, row.id)
    return seen


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
#: Renews the lease: the first write of the call, on the row that the sweeper's guard reads.
_TOUCH = Prepared(
    sa.update(pilot)
    .where(pilot.c.uuid == param("uuid_", sa.Text()))
    .values(
        seen=param("now", sa.Double()),
        acked=sa.case((pilot.c.acked < param("ack", sa.Integer()), param("ack", sa.Integer())), else_=pilot.c.acked),
    )
    .returning(
        pilot.c.id,
        pilot.c.hash,
        pilot.c.state,
        pilot.c.status,
        pilot.c.claim,
        pilot.c.acked,
        pilot.c.host,
        pilot.c.site,
        pilot.c.labels,
        pilot.c.accepts,
        pilot.c.reason,
        sa.select(host.c.reason)
        .where(host.c.name == _PILOT_HOST, host.c.banned.is_(True))
        .scalar_subquery()
        .label("banned"),
        sa.exists().where(attempt.c.pilot_id == _PILOT_ID, attempt.c.state.in_(_OPEN), _NEWS).label("has_orders"),
        HAS_REMOVALS.label("has_removals"),
    )
)


def _check_touched(ledger: Ledger, found: Sequence[Any], uuid: str, secret: str, body: ExchangeBody) -> Any:
    row = found[0] if found else None
    # Raising rolls the renewal back.
    if row is None or not hmac.compare_digest(row.hash, hash_token(secret)):
        raise NoToken(f"pilot {uuid} is not known with this secret; register again")
    if row.state == PilotState.STOPPED and body.state != "leaving":
        raise NoToken(f"pilot {uuid} has left; register again")
    if row.state == PilotState.TIMEOUT:
        # It was cut off and is back; its attempts were ended, which the verdicts on its reports tell it.
        ledger.move("pilot", [row.id], Signal.RETRY)
    if body.state == "draining":
        ledger.move("pilot", [row.id], Signal.DRAIN)
    return row


_NUMBER = Prepared(
    sa.update(pilot).where(pilot.c.id == param("pilot", sa.BigInteger())).values(claim=param("number", sa.Integer()))
)


def _claim(core: Core, ledger: Ledger, row: Any, body: ExchangeBody, seen: _Seen) -> None:
    claim = body.claim
    assert claim is not None
    reply = seen.reply
    reply.number = claim.number
    if claim.number < row.claim:
        reply.status = PilotStatus.FAIL
        reply.message = f"claim {claim.number} comes after claim {row.claim}; two pilots share the uuid {row.id}?"
        return
    if claim.number == row.claim:
        reply.jobs = read_orders(ledger.connection, row.id, claim.number, core.secret)
        if reply.jobs:
            return
    if core.paused_by is not None:
        return
    if row.banned is not None:
        reply.message = f"host {row.host} is banned: {row.banned}; `p3s host allow {row.host}` lets it go on"
        return
    offer = Offer(
        users=tuple(row.accepts["users"]),
        jobtypes=tuple(row.accepts["jobtypes"]),
        labels=tuple(row.labels),
        cpus=claim.cpus,
        memory=claim.memory,
        lifetime=body.lifetime,
        site=row.site,
    )
    seen.offer = offer
    fits = core.find_fits(offer)
    capped = core.find_capped(fits)
    wish = Wish(claim.number, claim.want, claim.cpus, claim.memory, fits, capped, claim.ahead)
    if given := claim_jobs(ledger, row.id, wish):
        _NUMBER.send(ledger.connection, pilot=row.id, number=claim.number)
        if row.state != PilotState.RUNNING:
            ledger.move("pilot", [row.id], Signal.BUSY)
        reply.jobs = make_orders(ledger.connection, given, core.secret)
    elif row.state != PilotState.IDLE and not body.running:
        ledger.move("pilot", [row.id], Signal.IDLE)


_COLLECT = Prepared(
    sa.select(attempt.c.uuid, attempt.c.state).where(
        attempt.c.pilot_id == param("pilot", sa.BigInteger()), attempt.c.state.in_(_OPEN), _NEWS
    )
)


def _collect_orders(ledger: Ledger, pilot_id: int, reply: ExchangeReply) -> None:
    rows = _COLLECT.run(ledger.connection, pilot=pilot_id, now=ledger.now)
    reply.stop = [StopOrder(attempt=row.uuid, reason="cancelled") for row in rows if row.state == AttemptState.STOPPING]
    reply.watch = [row.uuid for row in rows if row.state == AttemptState.RUNNING]


def _leave(core: Core, ledger: Ledger, row: Any, body: ExchangeBody) -> None:
    ledger.move("pilot", [row.id], Signal.LEAVE, reason=body.reason)
    # All that is still open comes back, also a claim whose answer never arrived.
    return_unknown(ledger, row.id, (), row.claim, core.rules)


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
