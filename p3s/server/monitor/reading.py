"""What addresses ask for."""

from __future__ import annotations

from flask import request

from p3s.errors import BadInput, Problem
from p3s.server.monitor.frame import core

__all__ = ["read_cursor", "read_limit", "read_number", "read_text"]

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
        return largest if "format" in request.args else min(ROWS, largest)
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
