"""Tokens: made, listed, revoked and given new secrets; and what their end means to pilots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.errors import BadInput, Conflict, NotFound, Problem
from p3s.server.auth import Role, keep_home_token
from p3s.server.models import pilot, token
from p3s.server.prepared import Prepared
from p3s.server.queries.pilots import LIVE
from p3s.server.secrets import hash_token
from p3s.wire import NewTokenView, TokenList, TokenView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.prepared import Conditions
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import CreateTokenBody

__all__ = [
    "are_ended",
    "create_token",
    "cut_ended",
    "keep_uses",
    "list_tokens",
    "poke_cut_pilots",
    "revoke_token",
    "rotate_token",
]

#: Pilots that one transaction cuts off.
BATCH = 500
#: Of live pilots that may call.
_HAVE_SECRET = pilot.c.hash != "", pilot.c.state.in_(LIVE)


def create_token(core: Core, body: CreateTokenBody, by: str, secret: str) -> NewTokenView:
    """Make a token and return it with its new secret, which is shown this once.

    Raises
    ------
    BadInput
        If a token that is no pilot's is bound to a site.
    Conflict
        If the name is taken, also by a token that has ended: a name stays with what it owned.
    """
    if body.site is not None and body.role != "pilot":
        raise BadInput([Problem(f"only a pilot token is bound to a site, not a {body.role}'s", where="site")])

    def action(ledger: Ledger) -> Any:
        if _find(ledger.connection, body.name) is not None:
            advice = f"take another name; `p3s token rotate {body.name}` gives a valid one a new secret"
            raise Conflict(f"there is, or was, a token '{body.name}', and a name stays with what it owns; {advice}")
        values = {
            "name": body.name,
            "role": body.role,
            "hash": hash_token(secret),
            "site": body.site,
            "created": ledger.now,
            "expires": _add(ledger.now, body.expires),
        }
        ledger.connection.execute(sa.insert(token).values(values))
        row = _find(ledger.connection, body.name)
        _note(ledger, row, "create", by, after=f"{body.role}")
        return row

    return _show(core.change(by, action), secret)


def list_tokens(core: Core) -> TokenList:
    """Return all tokens, by name."""
    with core.db.read() as connection:
        rows = connection.execute(sa.select(token).order_by(token.c.name)).all()
    now = read_clock()
    return TokenList(items=[_view(row, now) for row in rows])


def revoke_token(core: Core, name: str, by: str) -> TokenView:
    """End a token now, with the pilots that it registered; a repeat changes nothing.

    Raises
    ------
    NotFound
        If there is none of this name.
    Conflict
        If it is the last one that can make others.
    """

    def action(ledger: Ledger) -> Any:
        row = _require(ledger.connection, name)
        if row.revoked is not None:
            return row
        if row.role == Role.ADMIN and not _has_other_admin(ledger, row.id):
            raise Conflict(f"'{name}' is the last admin token; make another with `p3s token create` first")
        ledger.connection.execute(sa.update(token).where(token.c.id == row.id).values(revoked=ledger.now))
        _note(ledger, row, "revoke", by, before=str(row.role))
        while _cut_pilots(ledger, pilot.c.token_id == row.id, *_HAVE_SECRET):
            pass
        return _require(ledger.connection, name)

    return _view(core.change(by, action), read_clock())


def rotate_token(core: Core, name: str, life: float | None, by: str, secret: str) -> NewTokenView:
    """Give a token a new secret; the old one ends now, pilots registered with it go on with their own.

    Raises
    ------
    NotFound
        If there is none of this name.
    Conflict
        If it was revoked, or has expired and is given no new life.
    """
    old = ""

    def action(ledger: Ledger) -> Any:
        nonlocal old
        row = _require(ledger.connection, name)
        old = row.hash
        if row.revoked is not None:
            raise Conflict(f"token '{name}' was revoked, which is for good; create one of another name")
        if life is None and row.expires is not None and row.expires <= ledger.now:
            raise Conflict(f"token '{name}' has expired; give it a new life with --expires")
        values = {"hash": hash_token(secret), "expires": _add(ledger.now, life) if life else row.expires}
        ledger.connection.execute(sa.update(token).where(token.c.id == row.id).values(values))
        _note(ledger, row, "rotate", by, before=str(row.role), after=str(row.role))
        return _require(ledger.connection, name)

    row = core.change(by, action)
    # The file of the first start would else be replaced, and the new secret with it, at the next start.
    keep_home_token(core.settings.home, row.role, old, secret)
    return _show(row, secret)


def are_ended(now: Any) -> Conditions:
    """Return what holds of live pilots whose token has ended, and who still have their secret."""
    ended = sa.select(token.c.id).where(sa.or_(token.c.expires <= now, token.c.revoked.is_not(None)))
    return pilot.c.token_id.in_(ended), *_HAVE_SECRET


def cut_ended(ledger: Ledger) -> bool:
    """Cut off some pilots whose token has ended; return whether there may be more.

    Of a revoked one these are those that registered while it was being revoked.
    """
    return _cut_pilots(ledger, *are_ended(ledger.now))


_CUT = Prepared(sa.select(pilot.c.id).where(pilot.c.hash == "", pilot.c.state.in_(LIVE)))


def poke_cut_pilots(core: Core) -> None:
    """Ring the held calls of pilots that were cut off, whichever process did it."""
    with core.db.read() as connection:
        core.hub.poke([row.id for row in _CUT.run(connection)])


def keep_uses(core: Core) -> None:
    """Write when tokens were last used; gathered, so that reading needs no write of its own."""
    uses, core.uses = core.uses, {}
    if not uses:
        return

    def action(connection: sa.Connection) -> None:
        for ident, moment in uses.items():
            connection.execute(sa.update(token).where(token.c.id == ident).values(used=moment))

    core.db.write(action)


def _cut_pilots(ledger: Ledger, *which: sa.ColumnElement[bool]) -> bool:
    """Take their secret from some pilots: their next call, or the one held now, is refused."""
    found = sa.select(pilot.c.id, pilot.c.uuid).where(*which).order_by(pilot.c.uuid).limit(BATCH)
    rows: Sequence[Any] = ledger.connection.execute(found).all()
    ids = [row.id for row in rows]
    if ids:
        ledger.connection.execute(sa.update(pilot).where(pilot.c.id.in_(ids)).values(hash=""))
    for row in rows:
        ledger.note("pilot", row.uuid, "cut", cause="its token ended")
    ledger.poked.update(ids)
    return len(rows) == BATCH


def _has_other_admin(ledger: Ledger, ident: int) -> bool:
    endless = sa.or_(token.c.expires.is_(None), token.c.expires > ledger.now)
    others = sa.select(token.c.id).where(
        token.c.role == str(Role.ADMIN), token.c.id != ident, token.c.revoked.is_(None), endless
    )
    return ledger.connection.scalar(others.limit(1)) is not None


def _find(connection: sa.Connection, name: str) -> Any:
    return connection.execute(sa.select(token).where(token.c.name == name)).one_or_none()


def _require(connection: sa.Connection, name: str) -> Any:
    row = _find(connection, name)
    if row is None:
        raise NotFound("token", name)
    return row


def _note(ledger: Ledger, row: Any, signal: str, by: str, *, before: str = "", after: str = "") -> None:
    # A token has no uuid; its row's number is never used again.
    ledger.note("token", f"token-{row.id}", signal, before=before, after=after, cause=f"{row.name}, by {by}")


def _add(now: float, life: float | None) -> float | None:
    return None if life is None else now + life


def _view(row: Any, now: float) -> TokenView:
    return TokenView(**_collect(row, now))


def _show(row: Any, secret: str) -> NewTokenView:
    return NewTokenView(**_collect(row, row.created), secret=secret)


def _collect(row: Any, now: float) -> dict[str, Any]:
    state = "revoked" if row.revoked is not None else "valid"
    if state == "valid" and row.expires is not None and row.expires <= now:
        state = "expired"
    names = ("name", "role", "site", "created", "expires", "revoked", "used")
    return {name: getattr(row, name) for name in names} | {"state": state}
