"""Jobs: the list, and one with its attempts and what it printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, request

from p3s.clock import read_clock
from p3s.engine.states import JobState
from p3s.errors import Archived, BadInput, Problem
from p3s.server.monitor import archived
from p3s.server.monitor.columns import (
    ATTEMPT_COLUMNS,
    DATA,
    DATA_COLUMNS,
    EVENT_COLUMNS,
    JOB_COLUMNS,
    STREAMS,
    add_time,
)
from p3s.server.monitor.frame import Page, blueprint, caller, core, may_change, page
from p3s.server.monitor.reading import read_cursor, read_limit, read_number, read_text
from p3s.server.monitor.tables import Column, Filter, Table, read_rows
from p3s.server.queries.archive import read_archived_log
from p3s.server.queries.find import NOUNS, find_row
from p3s.server.queries.jobs import count_inputs, find_attempt, list_jobs, read_log, show_job
from p3s.server.queries.windows import WINDOW
from p3s.server.usecases import acts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p3s.wire import JobList

__all__ = ["show_events", "show_jobs"]

_ACTS = (("cancel", "Cancel"), ("retry", "Retry"))


def show_jobs(found: JobList, columns: Sequence[Column], filters: tuple[Filter, ...], *, more: str = "Older") -> Table:
    """Return a page of jobs as a table; those that the caller may change can be ticked."""
    rows = [add_time(item) | {"mine": may_change(item.owner)} for item in found.items]
    acts = _ACTS if any(row["mine"] for row in rows) else ()
    return Table("jobs", "Jobs", columns, rows, "None yet.", found.next, filters, acts, more)


def show_events(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events with where each thing has its page."""
    return [row | {"link": f"/{row['noun']}s/{row['uuid']}" if row["noun"] in NOUNS else ""} for row in rows]


@page("/jobs")
def jobs() -> Page:
    """List jobs, newest first."""
    filters = (
        Filter("state", "State", tuple(JobState)),
        Filter("jobtype", "Type"),
        Filter("owner", "Owner"),
        Filter("name", "Name"),
    )
    given = {one.name: read_text(one.name) for one in filters}
    # An index leads to jobs of a state, and to none of the others.
    window = WINDOW if any(value for name, value in given.items() if name != "state") else None
    with core().db.read() as connection:
        found = list_jobs(
            connection, workflow_id=None, filters=given, limit=read_limit(), cursor=read_cursor(), window=window
        )
    return Page("list.html", "Jobs", (show_jobs(found, JOB_COLUMNS, filters),))


@page("/jobs/<path:ident>")
def job(ident: str) -> Page:
    """Show a job."""
    with core().db.read() as connection:
        try:
            row = find_row(connection, "job", ident, owner=caller().name)
        except Archived as gone:
            return archived.show_job(connection, gone)
        it = show_job(connection, row.id, read_clock(), most=DATA)
        inputs = count_inputs(connection, row.id) if len(it.inputs) == DATA else len(it.inputs)
        wanted = read_number("attempt")
        shown = find_attempt(connection, row.id, wanted, row.uuid[:8]) if it.attempts or wanted else None
        logs = [read_log(connection, shown, stream, 0) for stream in STREAMS] if shown is not None else []
    tables = (
        Table(
            "attempts",
            "Attempts",
            ATTEMPT_COLUMNS,
            [add_time(item) | {"job": it.uuid} for item in it.attempts],
            "No pilot has taken it yet.",
        ),
        Table(
            "inputs",
            "Inputs" if inputs <= DATA else f"The first {DATA} of {inputs:,} inputs",
            DATA_COLUMNS,
            read_rows(it.inputs),
        ),
        Table("outputs", "Outputs", DATA_COLUMNS, read_rows(it.outputs)),
        Table("events", "Events", EVENT_COLUMNS, show_events(read_rows(it.events))),
    )
    if it.state == JobState.FAILED:
        # What a failure printed is what is looked for.
        logs.reverse()
    return Page("job.html", f"{it.name} {it.uuid[:8]}", tables, {"it": it, "logs": logs})


@blueprint.get("/jobs/<path:ident>/log")
def log(ident: str) -> Response:
    """Return what an attempt printed, from a byte on, as the API does."""
    stream = request.args.get("stream") or "stdout"
    if stream not in STREAMS:
        raise BadInput([Problem(f"'{stream}' is neither stdout nor stderr", where="stream")])
    number, offset = read_number("attempt"), read_number("offset") or 0
    with core().db.read() as connection:
        try:
            row = find_row(connection, "job", ident, owner=caller().name)
        except Archived as gone:
            kept = read_archived_log(connection, gone, number=number, stream=stream, offset=offset)
            return Response(kept.model_dump_json(), mimetype="application/json")
        found = find_attempt(connection, row.id, number, row.uuid[:8])
    if request.args.get("watch") == "1":
        acts.watch_attempt(core(), found.id)
    with core().db.read() as connection:
        view = read_log(connection, found, stream, offset)
    return Response(view.model_dump_json(), mimetype="application/json")
