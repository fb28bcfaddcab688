"""What addresses ask for."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import request

from p3s.engine.units import parse_duration
from p3s.errors import BadInput, Problem
from p3s.server.monitor.frame import core

__all__ = ["is_export", "read_cursor", "read_limit", "read_moment", "read_number", "read_text"]

#: Rows of a table, unless the address says otherwise; of an export.
ROWS = 50


def read_text(name: str) -> str | None:
    """Return a parameter, None if it is absent or empty."""
    return request.args.get(name, "").strip() or None


def read_number(name: str) -> int | None:
    """Return a parameter that is a number, None if it is absent or empty.

    Raises
    ------
    BadInput
        If it is none.
    """
    text = read_text(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadInput([Problem(f"'{text}' is no number", where=name)])
    return int(text)


def read_moment(name: str, now: float) -> float | None:
    """Return a parameter that is a time, as seconds since 1970; None if it is absent or empty.

    It is a day or a time of UTC, or how long ago it was.

    Raises
    ------
    BadInput
        If it is neither.
    """
    text = read_text(name)
    if text is None:
        return None
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = "write how long ago, as 2h, or a day, as 2026-11-24, or a time of UTC, as 2026-11-24T06:30"
        raise BadInput([Problem(f"'{text}' is no time; {hint}", where=name)]) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_export() -> bool:
    """Tell whether a file is asked for instead of a page."""
    return "format" in request.args


def read_limit() -> int:
    """Return how many rows a table has: an export has as many as a page of the API may have.

    Raises
    ------
    BadInput
        If it is no number from 1 to the largest page.
    """
    largest = core().settings.page
    asked = read_number("limit")
    if asked is None:
        return largest if is_export() else min(ROWS, largest)
    if not 1 <= asked <= largest:
        raise BadInput([Problem(f"{asked} is no number from 1 to {largest}", where="limit")])
    return asked


def read_cursor() -> str | None:
    """Return the cursor of a list ordered by number.

    Raises
    ------
    BadInput
        If it is none that an earlier page gave.
    """
    found = read_number("cursor")
    return None if found is None else str(found)
