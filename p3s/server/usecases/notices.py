"""The book of notifications: brought up to date, and what is due taken from it, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import ValidationError

from p3s.clock import read_clock
from p3s.engine.notices import Book, advance, find_orphans, settle, take_due
from p3s.server.db import insert_missing, lock_rows
from p3s.server.models import meta
from p3s.server.queries.troubles import find_place, read_news

if TYPE_CHECKING:
    from p3s.engine.notices import Letter, Pace
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = ["read_book", "settle_letter", "take_letters"]

KEY = "notices"
#: Notices of a channel that is gone which its event spells out; the others are counted.
TOLD = 3


def read_book(connection: sa.Connection) -> Book:
    """Return the book as it is kept; an empty one at first, or if another version of p3s cannot be understood."""
    text = connection.scalar(sa.select(meta.c.value).where(meta.c.key == KEY))
    try:
        return Book.model_validate_json(text) if text else Book()
    except ValidationError:
        return Book()


def take_letters(core: Core, pace: Pace, *, settled: bool, keep: bool) -> list[Letter]:
    """Bring the book up to date and return the letters that are to go out now.

    The book is written down before they go, so that whoever dies while sending loses nothing.

    Parameters
    ----------
    core : Core
        The server.
    pace : Pace
        When, and what to whom.
    settled : bool
        Whether silence may be judged.
    keep : bool
        Whether to write down also that there was no news, so that a restart has less to read again.
    """
    with core.db.read() as connection:
        before = read_book(connection)
        after, letters = _look(connection, before, pace, read_clock(), settled=settled)
    if before.cursor and not letters and not keep and after == before.model_copy(update={"cursor": after.cursor}):
        return []

    def action(ledger: Ledger) -> list[Letter]:
        locked = _lock_book(ledger)
        for letter in find_orphans(locked, pace):
            ledger.note("notice", letter.channel, "dropped", cause=_describe_orphan(letter))
        book, due = _look(ledger.connection, locked, pace, ledger.now, settled=settled)
        _write_book(ledger, book)
        return due

    return core.change("notifications", action)


def settle_letter(core: Core, letter: Letter, subject: str, error: str = "") -> None:
    """Write down that a letter was sent or, with an error, was not."""

    def action(ledger: Ledger) -> None:
        _write_book(ledger, settle(_lock_book(ledger), letter, ledger.now, error))
        ledger.note("notice", letter.channel, "failed" if error else "sent", cause=error or subject)

    core.change("notifications", action)


def _describe_orphan(letter: Letter) -> str:
    number = len(letter.notices) + letter.left_out
    told = [notice.trouble.text for notice in letter.notices[:TOLD]]
    rest = f"; and {number - len(told)} more" if number > len(told) else ""
    return (
        f"the channel is gone from the file of notifications with {number} unsent notice{'' if number == 1 else 's'}: "
        f"{'; '.join(told)}{rest}"
    )


def _look(connection: sa.Connection, book: Book, pace: Pace, now: float, *, settled: bool) -> tuple[Book, list[Letter]]:
    if not book.cursor:
        # What failed before anybody was to be told is no news.
        book = book.model_copy(update={"cursor": find_place(connection)})
    news = read_news(connection, book.cursor, book.troubles.values(), now, settled=settled)
    return take_due(advance(book, news, pace, now), pace, now)


def _lock_book(ledger: Ledger) -> Book:
    insert_missing(ledger.connection, meta, [{"key": KEY, "value": ""}])
    ledger.connection.execute(lock_rows(sa.select(meta.c.key).where(meta.c.key == KEY))).one()
    return read_book(ledger.connection)


def _write_book(ledger: Ledger, book: Book) -> None:
    ledger.connection.execute(sa.update(meta).where(meta.c.key == KEY).values(value=book.model_dump_json()))
