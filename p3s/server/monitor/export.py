"""A table as a file: CSV with one line of heads, or JSON as the API has it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from flask import Response

from p3s.errors import BadInput, Problem
from p3s.server.monitor.values import show_utc

if TYPE_CHECKING:
    from p3s.server.monitor.tables import Table

__all__ = ["export_table"]

#: With one of these first, a spreadsheet would take a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_table(table: Table, wanted: str) -> Response:
    """Return a page of a table as a file.

    Parameters
    ----------
    table : Table
        What the page shows.
    wanted : str
        ``csv`` (times in UTC) or ``json`` (times in seconds since 1970). More rows are at the address with the
        ``cursor`` that the header ``P3S-Next``, and JSON's ``next``, has.

    Raises
    ------
    BadInput
        If it is neither.
    """
    if wanted == "json":
        rows = [{column.name: row.get(column.name) for column in table.exported} for row in table.rows]
        response = Response(json.dumps({"items": rows, "next": table.next}, default=str), mimetype="application/json")
    elif wanted == "csv":
        response = Response(_write_csv(table), mimetype="text/csv")
        response.headers["Content-Disposition"] = f'attachment; filename="{table.name}.csv"'
    else:
        raise BadInput([Problem(f"'{wanted}' is no format; give csv or json", where="format")])
    if table.next is not None:
        response.headers["P3S-Next"] = table.next
    return response


def _write_csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(column.name for column in table.exported)
    for row in table.rows:
        writer.writerow(_write_cell(row.get(column.name), column.kind) for column in table.exported)
    return stream.getvalue()


def _write_cell(value: Any, kind: str) -> object:
    if value is None:
        return ""
    if kind in {"time", "age", "due"}:
        return show_utc(value)
    if isinstance(value, dict | list):
        value = json.dumps(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
