"""Results: the newest of each DAG side by side, and their contents under a policy of their own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from p3s.errors import NotFound
from p3s.server.monitor.contents import SHOWN_KINDS, show_content
from p3s.server.monitor.frame import Page, blueprint, core, page
from p3s.server.monitor.reading import read_cursor, read_limit, read_text
from p3s.server.monitor.tables import Column, Filter, Table
from p3s.server.queries.archive_data import find_archived_content
from p3s.server.queries.results import find_content, list_newest_results

__all__ = ["show_results"]

_COLUMNS = (
    Column("key", "result", link="/results/{dataset}/content"),
    Column("dag", "DAG", link="/results?dag={dag}"),
    Column("workflow", "workflow", "id", "/workflows/{workflow}", is_minor=True),
    Column("params", "params", "params"),
    Column("job", "made by", link="/jobs/{workflow}/{job}", is_minor=True),
    Column("size", "size", "size", is_minor=True),
    Column("created", "loaded", "age"),
    Column("numbers", "numbers", "params"),
    Column("place"),
    Column("dataset"),
)
#: Kinds of files that are shown, by the end of their names; anything else is offered as a file.
KINDS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "htm": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/plain; charset=utf-8",
    "tsv": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "log": "text/plain; charset=utf-8",
}
#: A result is what some payload wrote: it runs nothing, asks nobody, and has no origin.
POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'"
)
#: Results that are shown whole on one page.
SHOWN = 12


@page("/results")
def results() -> Page:
    """Show the newest results, side by side."""
    with core().db.read() as connection:
        rows, more = list_newest_results(
            connection,
            dag_name=read_text("dag"),
            param=read_text("param"),
            key=read_text("key"),
            limit=read_limit(),
            cursor=read_cursor(),
        )
    filters = (
        Filter("dag", "DAG"),
        Filter("key", "Result"),
        Filter("param", "Param", hint="run=4610"),
        Filter("number", "Number to plot"),
        Filter("x", "Plot against", hint="time, or a param"),
    )
    table = Table("results", "Results", _COLUMNS, rows, "None yet: `results:` of a DAG names them.", more, filters)
    return Page("results.html", "Results", (table,), {"shown": show_results(rows[:SHOWN]), "plot": _address_plot()})


@blueprint.get("/results/<ident>/content")
def content(ident: str) -> Response:
    """Return the content of a result; with ``as=page`` JSON and tables as people read them."""
    with core().db.read() as connection:
        found = find_content(connection, ident) or find_archived_content(connection, ident)
    if found is None:
        raise NotFound("result", ident, "the server keeps what `results:` names, up to its largest size")
    place, data = found
    end = _find_end(place)
    kind = KINDS.get(end)
    if request.args.get("as") == "page" and end in SHOWN_KINDS:
        shown = show_content(end, place.rpartition("/")[2], data)
        if shown is not None:
            data, kind = shown.encode(), KINDS["html"]
    response = Response(data, mimetype=None, content_type=kind or "application/octet-stream")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    if kind is None:
        response.headers["Content-Disposition"] = "attachment"
    return response


def show_results(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results with how each is shown: as an image, in a frame, or as a link; and whether as a page of ours."""
    ways = {"png": "image", "jpg": "image", "jpeg": "image", "gif": "image", "svg": "image"}
    framed = {"html", "htm", "txt", "log", *SHOWN_KINDS}
    return [
        row | {"way": ways.get(end, "frame" if end in framed else "link"), "own": end in SHOWN_KINDS}
        for row in rows
        if (end := _find_end(row["place"])) is not None
    ]


def _address_plot() -> str | None:
    """Return where the numbers to plot are; None without a DAG, because numbers of several mean nothing together."""
    asked = {"dag": read_text("dag"), "key": read_text("number"), "x": read_text("x")}
    given = {name: value for name, value in asked.items() if value is not None}
    return f"/results/series.json?{urlencode(given)}" if "dag" in given else None


def _find_end(place: str) -> str:
    return place.rpartition("/")[2].rpartition(".")[2].lower()
