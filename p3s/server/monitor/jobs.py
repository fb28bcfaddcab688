"""Jobs: the list, and one with its attempts and what it printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, request

from p3s.clock import read_clock
from p3s.engine.states import JobState
from p3s.errors import BadInput, Problem
from p3s.server.monitor.frame import Page, blueprint, caller, core, may_change, page
from p3s.server.monitor.reading import read_cursor, read_limit, read_number, read_text
from p3s.server.monitor.tables import Column, Filter, Table, read_rows
from p3s.server.queries.find import NOUNS, find_row
from p3s.server.queries.jobs import count_inputs, find_attempt, list_jobs, read_log, show_job
from p3s.server.queries.windows import WINDOW
from p3s.server.usecases import acts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p3s.wire import AttemptView, JobList, JobView

__all__ = ["EVENT_COLUMNS", "JOB_COLUMNS", "show_events", "show_jobs"]

JOB_COLUMNS = (
    Column("uuid", "id", "id", "/jobs/{uuid}", is_minor=True),
    Column("name", "name", link="/jobs/{uuid}"),
    Column("state", "state", "state"),
    Column("workflow_name", "workflow", link="/workflows/{workflow}"),
    Column("jobtype", "type", link="/jobs?jobtype={jobtype}", is_minor=True),
    Column("priority", "priority", "number", is_minor=True),
    Column("attempt", "tries", "number", is_minor=True),
    Column("owner", "owner", is_minor=True),
    Column("created", "created", "age", is_minor=True),
    Column("started", "started", "age"),
    Column("ended", "ended", "age", is_minor=True),
    Column("took", "took", "seconds"),
    Column("reason"),
    Column("workflow"),
)
_ATTEMPTS = (
    Column("number", "try", "number", "/jobs/{job}?attempt={number}"),
    Column("state", "state", "state"),
    Column("host", "host"),
    Column("pilot", "pilot", "id", "/pilots/{pilot}"),
    Column("started", "started", "age"),
    Column("ended", "ended", "age", is_minor=True),
    Column("took", "took", "seconds"),
    Column("exit_code", "exit code", "number"),
    Column("signal", "signal", "number"),
    Column("peak_memory", "peak memory", "size"),
    Column("cpu_time", "CPU time", "seconds"),
    Column("message", "message", "words"),
    Column("reason"),
    Column("uuid"),
)
_DATASETS = (
    Column("uuid", "id", "id", "/datasets/{uuid}", is_minor=True),
    Column("key", "name", link="/datasets/{uuid}"),
    Column("state", "state", "state"),
    Column("size", "size", "size"),
    Column("place", "place", "place"),
)
EVENT_COLUMNS = (
    Column("at", "time", "time"),
    Column("noun", "what"),
    Column("uuid", "id", "id", "{link}"),
    Column("signal", "signal"),
    Column("before", "before", "state", is_minor=True),
    Column("after", "after", "state"),
    Column("cause", "cause", "words"),
)
#: Inputs, and outputs, that the page of a job shows.
DATA = 100
_ACTS = (("cancel", "Cancel"), ("retry", "Retry"))
#: Streams of a payload.
STREAMS = ("stdout", "stderr")


def show_jobs(found: JobList, columns: Sequence[Column], filters: tuple[Filter, ...], *, more: str = "Older") -> Table:
    """Return a page of jobs as a table; those that the caller may change can be ticked."""
    rows = [_add_time(item) | {"mine": may_change(item.owner)} for item in found.items]
    acts = _ACTS if any(row["mine"] for row in rows) else ()
    return Table("jobs", "Jobs", columns, rows, "None yet.", found.next, filters, acts, more)


def show_events(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events with where each thing has its page."""
    return [row | {"link": f"/{row['noun']}s/{row['uuid']}" if row["noun"] in NOUNS else ""} for row in rows]


def _add_time(item: JobView | AttemptView) -> dict[str, Any]:
    """Return a job or an attempt as a row with how long it took."""
    took = item.ended - item.started if item.ended is not None and item.started is not None else None
    return item.model_dump() | {"took": took}


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
        row = find_row(connection, "job", ident, owner=caller().name)
        it = show_job(connection, row.id, read_clock(), most=DATA)
        inputs = count_inputs(connection, row.id) if len(it.inputs) == DATA else len(it.inputs)
        wanted = read_number("attempt")
        shown = find_attempt(connection, row.id, wanted, row.uuid[:8]) if it.attempts or wanted else None
        logs = [read_log(connection, shown, stream, 0) for stream in STREAMS] if shown is not None else []
    tables = (
        Table(
            "attempts",
            "Attempts",
            _ATTEMPTS,
            [_add_time(item) | {"job": it.uuid} for item in it.attempts],
            "No pilot has taken it yet.",
        ),
        Table(
            "inputs",
            "Inputs" if inputs <= DATA else f"The first {DATA} of {inputs:,} inputs",
            _DATASETS,
            read_rows(it.inputs),
        ),
        Table("outputs", "Outputs", _DATASETS, read_rows(it.outputs)),
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
    with core().db.read() as connection:
        row = find_row(connection, "job", ident, owner=caller().name)
        found = find_attempt(connection, row.id, read_number("attempt"), row.uuid[:8])
    if request.args.get("watch") == "1":
        acts.watch_attempt(core(), found.id)
    with core().db.read() as connection:
        view = read_log(connection, found, stream, read_number("offset") or 0)
    return Response(view.model_dump_json(), mimetype="application/json")
