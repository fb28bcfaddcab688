"""Results as pages for people: JSON and tables of text, drawn as tables, in a document that runs nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from p3s.server.monitor.frame import render

__all__ = ["SHOWN_KINDS", "show_content"]

#: Rows and columns of a table that are shown, and how deep values are drawn as tables inside tables.
ROWS, COLUMNS, DEPTH = 200, 40, 4
_DELIMITERS = {"csv": ",;\t", "tsv": "\t"}
#: Ends of names that `show_content` knows.
SHOWN_KINDS = frozenset({"json", *_DELIMITERS})


def show_content(end: str, name: str, data: bytes) -> str | None:
    """Return a result as a page, None if it is not what its name says: then it is shown as it is.

    Parameters
    ----------
    end : str
        The end of its name, one of `SHOWN_KINDS`.
    name : str
        Its name.
    data : bytes
        Its content, which some payload wrote.
    """
    try:
        text = data.decode("utf-8-sig")
        value = arrange_json(json.loads(text)) if end == "json" else _read_table(text, _DELIMITERS[end])
    except (ValueError, csv.Error, RecursionError):
        return None
    return render("content.html", name=name, value=value)


def arrange_json(value: Any, depth: int = 0) -> dict[str, Any]:
    """Return how a value of JSON is drawn: as a table, as pairs, or as text.

    Examples
    --------
    >>> arrange_json([{"u": 1, "v": 2}, {"u": 3}])["rows"]
    [[{'kind': 'text', 'text': '1'}, {'kind': 'text', 'text': '2'}], [{'kind': 'text', 'text': '3'}, None]]
    >>> arrange_json([1, 2.5, True])
    {'kind': 'text', 'text': '1, 2.5, true'}
    """
    if depth < DEPTH and isinstance(value, dict) and value:
        pairs = [(key, arrange_json(one, depth + 1)) for key, one in list(value.items())[:ROWS]]
        return {"kind": "pairs", "pairs": pairs, "left": max(0, len(value) - ROWS)}
    if depth < DEPTH and isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        head = list(dict.fromkeys(key for one in value[:ROWS] for key in one))
        shown = head[:COLUMNS]
        rows = [[arrange_json(one[key], depth + 1) if key in one else None for key in shown] for one in value[:ROWS]]
        return _make_table(shown, rows, len(value) - ROWS, len(head) - COLUMNS)
    if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
        text = ", ".join(_tell(one) for one in value[:ROWS])
        return {"kind": "text", "text": text + (f", and {len(value) - ROWS:,} more" if len(value) > ROWS else "")}
    return {"kind": "text", "text": _tell(value)}


def _tell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_table(text: str, delimiters: str) -> dict[str, Any]:
    first = text.partition("\n")[0]
    delimiter = max(delimiters, key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    head = next(lines, [])
    rows: list[list[dict[str, Any]]] = []
    more = 0
    for line in lines:
        if len(rows) < ROWS:
            rows.append([{"kind": "text", "text": cell} for cell in line[:COLUMNS]])
        else:
            more += 1
    return _make_table(head[:COLUMNS], rows, more, len(head) - COLUMNS)


def _make_table(head: list[str], rows: list[Any], left: int, narrowed: int) -> dict[str, Any]:
    return {"kind": "table", "head": head, "rows": rows, "left": max(0, left), "narrowed": max(0, narrowed)}
