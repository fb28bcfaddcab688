"""The search box: any id, name, file or param, from any page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import request

from p3s.clock import read_clock
from p3s.errors import BadInput, Problem
from p3s.server.monitor.frame import Page, core, page
from p3s.server.monitor.tables import Column, Table
from p3s.server.queries.arrivals import explain_place
from p3s.server.queries.search import search as find

__all__: list[str] = []

_COLUMNS = (
    Column("noun", "what"),
    Column("uuid", "id", "id", "{link}", is_minor=True),
    Column("name", "name", link="{link}"),
    Column("state", "state", "state"),
    Column("created", "created", "age"),
)
#: Characters of a text that is looked for.
LONGEST = 4096


@page("/search")
def search() -> Page:
    """Show what a text may mean."""
    text = request.args.get("q", "").strip()
    if not text or len(text) > LONGEST:
        raise BadInput(
            [Problem("type the beginning of an id, a name, a file's path, or a param as run=4610", where="q")]
        )
    note = ""
    with core().db.read() as connection:
        rows = find(connection, text)
        if "/" in text and any(row["noun"] == "file" for row in rows):
            note = explain_place(connection, text, read_clock())[2]
    table = Table(
        "hits",
        f"Found for '{text}'",
        _COLUMNS,
        [_show(row) for row in rows],
        "Nothing has this id, name, place or param among the newest.",
    )
    return Page("search.html", f"Found for '{text}'", (table,), {"note": note})


def _show(row: dict[str, Any]) -> dict[str, Any]:
    if row["noun"] == "file":
        return row | {"link": f"/files?place={quote(row['name'], safe='')}"}
    if row["noun"] == "dag":
        return row | {"link": f"/dags/{quote(row['name'], safe='')}"}
    return row | {"link": f"/{row['noun']}s/{row['uuid']}"}
