"""Work in the archive: the list, and what the page of a workflow or a job shows once it is there.

The addresses are those of before, so that links in logbooks go on working; nothing can be done to what they show.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from p3s.engine.states import FINAL_WORKFLOW, JobState
from p3s.server.monitor.columns import (
    ATTEMPT_COLUMNS,
    DATA,
    DATA_COLUMNS,
    EVENT_COLUMNS,
    JOB_COLUMNS,
    SHARED,
    STREAMS,
    add_time,
    make_workflow_columns,
    measure_progress,
)
from p3s.server.monitor.frame import Page, core, page
from p3s.server.monitor.reading import read_cursor, read_limit, read_number, read_text
from p3s.server.monitor.results import show_results
from p3s.server.monitor.subjects import ARCHIVED
from p3s.server.monitor.tables import Column, Filter, Table, read_rows
from p3s.server.monitor.values import order_states
from p3s.server.queries.archive import (
    explain_archived,
    list_archived,
    list_archived_events,
    list_archived_jobs,
    read_archived_log,
    show_archived,
    show_archived_job,
)
from p3s.server.queries.archive_data import show_archived_results

if TYPE_CHECKING:
    import sqlalchemy as sa

    from p3s.errors import Archived

__all__ = ["show_job", "show_workflow"]

#: Events and results of a workflow that its page shows; jobs up to which it looks for them, through all parts.
EVENTS, RESULTS, LARGE = 50, 24, 2_000

_COLUMNS = (
    *make_workflow_columns("/archive"),
    Column("archived", "archived", "age", is_minor=True),
)
_FILTERS = (Filter("state", "State", tuple(sorted(FINAL_WORKFLOW))), Filter("owner", "Owner"), Filter("name", "Name"))
_RESULTS = (
    Column("key", "result", link="/results/{dataset}/content"),
    Column("job", "made by"),
    Column("size", "size", "size"),
    Column("place", "place", "place"),
    Column("digest"),
)


def _unlink(columns: tuple[Column, ...]) -> list[Column]:
    """Return columns that lead nowhere: data and events have no pages of their own any more."""
    return [replace(column, link="") for column in columns]


@page("/archive")
def archive() -> Page:
    """List what is in the archive, what came last first."""
    with core().db.read() as connection:
        found = list_archived(
            connection,
            state=read_text("state"),
            owner=read_text("owner"),
            name=read_text("name"),
            limit=read_limit(),
            cursor=read_cursor(),
        )
    rows = [add_time(item) | {"progress": measure_progress(item)} for item in found.items]
    empty = "Nothing is in the archive: `p3s purge` moves finished work there."
    table = Table("archive", "Archive", _COLUMNS, rows, empty, found.next, _FILTERS)
    return Page("list.html", "Archive", (table,))


def show_workflow(connection: sa.Connection, it: Archived) -> Page:
    """Return the page of a workflow that is in the archive."""
    view = show_archived(connection, it)
    why = explain_archived(connection, it)[1]
    filters = {"state": read_text("state")}
    found = list_archived_jobs(connection, it, filters=filters, limit=read_limit(), cursor=read_cursor())
    results = show_archived_results(connection, it) if view.jobs <= LARGE else []
    events = list_archived_events(connection, it, noun=None, limit=EVENTS).items if view.jobs <= LARGE else []
    columns = [column for column in JOB_COLUMNS if column.name not in SHARED]
    jobs = [add_time(item) for item in found.items]
    states = (Filter("state", "State", tuple(JobState)),)
    tables = (
        Table("jobs", "Jobs", columns, jobs, "None.", found.next, states, more="More"),
        Table("results", "Results", _RESULTS, results),
        Table("events", "Events", _unlink(EVENT_COLUMNS), read_rows(events)),
    )
    values = {"it": view, "why": why, "progress": measure_progress(view), "counts": order_states(view.counts, JobState)}
    values |= {"is_large": view.jobs > LARGE, "is_drawn": view.jobs <= ARCHIVED}
    values |= {"shown": show_results([row | {"params": {}} for row in results[:RESULTS]])}
    return Page("archived.html", f"{view.name} {view.uuid[:8]}", tables, values)


def show_job(connection: sa.Connection, it: Archived) -> Page:
    """Return the page of a job that is in the archive."""
    view = show_archived_job(connection, it)
    number = read_number("attempt")
    logs = [
        read_archived_log(connection, it, number=number, stream=stream, offset=0)
        for stream in STREAMS
        if view.attempts or number
    ]
    if view.state == JobState.FAILED:
        logs.reverse()
    attempts = [add_time(item) | {"job": view.uuid} for item in view.attempts]
    tables = (
        Table("attempts", "Attempts", ATTEMPT_COLUMNS, attempts, "No pilot took it."),
        Table("inputs", "Inputs", DATA_COLUMNS, read_rows(view.inputs[:DATA])),
        Table("outputs", "Outputs", DATA_COLUMNS, read_rows(view.outputs[:DATA])),
        Table("events", "Events", _unlink(EVENT_COLUMNS), read_rows(view.events)),
    )
    values = {"it": view, "logs": logs, "is_archived": True}
    return Page("job.html", f"{view.name} {view.uuid[:8]}", tables, values)
