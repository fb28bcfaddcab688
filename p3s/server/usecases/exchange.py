"""The one call of a pilot: it reports, acknowledges and asks; and its registration."""

from __future__ import annotations

import hmac
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.states import PilotState, PilotStatus, Signal
from p3s.errors import NotAllowed, NoToken
from p3s.server.models import pilot
from p3s.server.secrets import hash_token
from p3s.server.usecases.calls import Call
from p3s.server.usecases.changes import Change
from p3s.wire import RegisterReply

if TYPE_CHECKING:
    from p3s.server.auth import Who
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.calls import Seen
    from p3s.server.usecases.core import Core
    from p3s.wire import ExchangeBody, ExchangeReply, RegisterBody

__all__ = ["check_secret", "exchange", "register_pilot"]

#: Pilots whose secret is remembered; then all are forgotten and looked up once more.
REMEMBERED = 20_000


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


def exchange(core: Core, uuid: str, secret: str, body: ExchangeBody) -> ExchangeReply:
    """Take a pilot's reports, and answer with jobs and orders; hold the call while there is nothing to say.

    Raises
    ------
    NoToken
        If the pilot is unknown or the secret is not its own; it registers again.
    """
    call = Call(core, uuid, secret, body)
    seen = _run(call)
    if body.claim is not None:
        core.hub.end_wait(seen.pilot_id)
    if body.reports or body.logs or body.removed or body.wait <= 0 or body.state == "leaving" or not seen.silent:
        return seen.reply
    return _hold(call, seen)


def _run(call: Call) -> Seen:
    seen: Seen = call.core.commit(Change.of(call), small=call.weight is not None)
    return _remember(call, seen)


def _remember(call: Call, seen: Seen) -> Seen:
    if seen.left is not None:
        call.core.memory.keep(call.uuid, seen.left)
    return seen


def _hold(call: Call, seen: Seen) -> ExchangeReply:
    core, body = call.core, call.body
    end = time.monotonic() + min(body.wait, core.settings.poll)
    quiet = replace(call, body=body.model_copy(update={"running": None, "ack": 0}))
    with core.hub.subscribe(seen.pilot_id, seen.offer, replace(quiet, held=True)) as waiter:
        while True:
            # Subscribed first, so what came after the last look rings the bell; look once more, then wait.
            answer, waiter.answer = waiter.answer, None
            # An answer that says nothing is older than what may have rung since.
            seen = _remember(quiet, answer) if answer is not None and not answer.silent else _run(quiet)
            left = end - time.monotonic()
            if not seen.silent or left <= 0 or waiter.over:
                return seen.reply
            if not waiter.wait(left) or (waiter.over and waiter.answer is None):
                return seen.reply
