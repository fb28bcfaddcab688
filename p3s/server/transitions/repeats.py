"""Requests with a key of their own: done once, and answered the same however often they come."""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.errors import Conflict, Unavailable
from p3s.server.db import insert_new
from p3s.server.models import repeat

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger

__all__ = ["CURRENT", "Keyed", "Twin", "find_answer", "forget_old", "keep_answer", "make_keyed", "note_key"]

#: Seconds for which answers are kept.
KEPT = 86_400.0
#: Seconds in which a change without an answer is still being worked on; later, its server must have died.
GRACE = 3.0
#: Rows that one transaction forgets.
BATCH = 500


class Twin(Exception):
    """Another request with the same key was quicker, and this one rolled back."""


@dataclass(slots=True)
class Keyed:
    """A request with a key.

    Attributes
    ----------
    owner : str
        Who sent it; each caller has keys of its own.
    key : str
        The hash of the key.
    digest : str
        The hash of what is asked for.
    status : int or None
        That of the answer, if it is known before the change; then it is written with the key.
    noted : bool
        Whether the key is in the database.
    """

    owner: str
    key: str
    digest: str
    status: int | None = None
    noted: bool = False


#: The keyed request that this thread works on.
CURRENT: ContextVar[Keyed | None] = ContextVar("p3s_keyed", default=None)


def make_keyed(owner: str, key: str, path: str, body: bytes) -> Keyed:
    """Return a request as it is compared; `path` has the method and the query, too."""
    asked = hashlib.sha256(path.encode() + b"\n" + body).hexdigest()
    return Keyed(owner, hashlib.sha256(key.encode()).hexdigest(), asked)


def find_answer(connection: sa.Connection, keyed: Keyed, now: float) -> tuple[int, str] | None:
    """Return the status and the body that answered this request before; None if it is to be worked on.

    Raises
    ------
    Conflict
        If the key came with another request.
    Unavailable
        If the first of the two is still being worked on.
    """
    row = connection.execute(sa.select(repeat).where(_is(keyed))).one_or_none()
    if row is None:
        return None
    if row.digest != keyed.digest:
        raise Conflict("the Idempotency-Key of this request came with another one before; give each request its own")
    if row.status is not None:
        return row.status, row.answer
    if now - row.begun < GRACE:
        raise Unavailable("the first request with this Idempotency-Key is being worked on; send it again in a moment")
    # What each route does may be done again: what was done is found done, and the rest is done.
    keyed.noted = True
    return None


def note_key(ledger: Ledger, keyed: Keyed) -> None:
    """Write that the request of the key is done, in the transaction that does it.

    Raises
    ------
    Twin
        If another request with this key was quicker.
    """
    if keyed.noted:
        return
    row = {"owner": keyed.owner, "key": keyed.key, "digest": keyed.digest, "begun": ledger.now, "status": keyed.status}
    if not insert_new(ledger.connection, repeat, row):
        raise Twin


def keep_answer(connection: sa.Connection, keyed: Keyed, now: float, status: int, answer: str) -> None:
    """Keep what the request was answered; the first answer stands."""
    row = {"owner": keyed.owner, "key": keyed.key, "digest": keyed.digest, "begun": now}
    if not keyed.noted:
        insert_new(connection, repeat, row)
    is_open = sa.and_(_is(keyed), repeat.c.digest == keyed.digest, repeat.c.status.is_(None))
    connection.execute(sa.update(repeat).where(is_open).values(status=status, answer=answer))


def forget_old(ledger: Ledger) -> bool:
    """Forget some keys that are too old for a repeat; return whether there may be more."""
    old = sa.select(repeat.c.owner, repeat.c.key).where(repeat.c.begun < ledger.now - KEPT).limit(BATCH)
    gone = sa.delete(repeat).where(sa.tuple_(repeat.c.owner, repeat.c.key).in_(old))
    return ledger.connection.execute(gone).rowcount == BATCH


def _is(keyed: Keyed) -> sa.ColumnElement[bool]:
    return sa.and_(repeat.c.owner == keyed.owner, repeat.c.key == keyed.key)
