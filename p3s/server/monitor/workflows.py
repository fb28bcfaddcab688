"""Workflows: the list, and one with its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p3s.clock import read_clock
from p3s.engine.states import JobState, WorkflowState
from p3s.errors import Archived
from p3s.server.monitor import archived
from p3s.server.monitor.columns import (
    EVENT_COLUMNS,
    JOB_COLUMNS,
    SHARED,
    add_time,
    make_workflow_columns,
    measure_progress,
)
from p3s.server.monitor.frame import Page, caller, core, may_change, page
from p3s.server.monitor.jobs import show_events, show_jobs
from p3s.server.monitor.reading import is_export, read_cursor, read_limit, read_moment, read_text
from p3s.server.monitor.results import show_results
from p3s.server.monitor.tables import Column, Filter, Table
from p3s.server.monitor.values import order_states
from p3s.server.queries.dags import read_text_of
from p3s.server.queries.events import list_newest
from p3s.server.queries.find import find_row
from p3s.server.queries.jobs import find_first_open, list_jobs
from p3s.server.queries.results import list_newest_results
from p3s.server.queries.runtimes import estimate_end
from p3s.server.queries.why import explain_job, explain_workflow
from p3s.server.queries.workflows import list_workflows, view_workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from p3s.wire import WorkflowView

__all__ = ["make_workflows"]

#: Events and results of a workflow that its page shows.
EVENTS, RESULTS = 50, 24

_COLUMNS = (
    *make_workflow_columns("/workflows"),
    Column("deadline", "deadline", "due"),
    Column("started", kind="time"),
    Column("ended", kind="time"),
    Column("jobs"),
)
_ACTS = (("cancel", "Cancel"), ("retry", "Retry"))
_FILTERS = (
    Filter("state", "State", tuple(WorkflowState)),
    Filter("owner", "Owner"),
    Filter("name", "Name"),
    Filter("late", "Past its deadline", ("yes",)),
    Filter("since", "Loaded since", hint="2h, 2026-11-24"),
    Filter("before", "Loaded before", hint="2h, 2026-11-24"),
)


@page("/workflows")
def workflows() -> Page:
    """List workflows, newest first."""
    with core().db.read() as connection:
        table = make_workflows(connection, limit=read_limit(), cursor=read_cursor(), filters=_FILTERS)
    return Page("list.html", "Workflows", (table,))


@page("/workflows/<ident>")
def workflow(ident: str) -> Page:
    """Show a workflow."""
    with core().db.read() as connection:
        try:
            row = find_row(connection, "workflow", ident, owner=caller().name)
        except Archived as gone:
            return archived.show_workflow(connection, gone)
        it = view_workflow(connection, row.id)
        why = explain_workflow(connection, row)
        filters = {"state": read_text("state")}
        events, _ = list_newest(connection, noun=None, thing=row.uuid, limit=EVENTS, cursor=None)
        results, _ = list_newest_results(connection, workflow_id=row.id, limit=RESULTS)
        text = read_text_of(connection, row.dag_id)
        end = estimate_end(connection, row, it.dag, read_clock())
        stuck = _find_stuck(connection, row, it)
        found = list_jobs(
            connection,
            workflow_id=row.id,
            filters=filters,
            limit=read_limit(),
            cursor=read_cursor(),
            is_forward=True,
        )
    columns = [column for column in JOB_COLUMNS if column.name not in SHARED]
    jobs = show_jobs(found, columns, (Filter("state", "State", tuple(JobState)),), more="More")
    story = Table("events", "Events", EVENT_COLUMNS, show_events(events))
    values = {
        "it": it,
        "why": why,
        "progress": measure_progress(it),
        "shown": show_results(results),
        "text": text,
        "eta": end,
    }
    values |= {
        "eta": end,
        "late": _is_late(it, read_clock()),
        "counts": order_states(it.counts, JobState),
        "stuck": stuck,
    }
    return Page("workflow.html", f"{it.name} {it.uuid[:8]}", (jobs, story), values)


def _find_stuck(connection: sa.Connection, row: Any, it: WorkflowView) -> dict[str, Any] | None:
    """Return the first job in line of a workflow of which no pilot has any, with why it does not run."""
    if row.state != WorkflowState.RUNNING or it.counts.get(JobState.RUNNING) or it.counts.get(JobState.DISPATCHED):
        return None
    first = find_first_open(connection, row.id)
    if first is None:
        return None
    return {"uuid": first.uuid, "name": first.name, "why": explain_job(connection, first, read_clock())}


def make_workflows(
    connection: sa.Connection, *, limit: int, cursor: str | None = None, filters: tuple[Filter, ...] = ()
) -> Table:
    """Return a page of workflows as a table, with what the address asks for where it may be filtered."""
    now = read_clock()
    given: Mapping[str, str | None] = {one.name: read_text(one.name) for one in filters}
    times = {name: read_moment(name, now) for name in ("since", "before")} if filters else {}
    found = list_workflows(
        connection,
        state=given.get("state"),
        owner=given.get("owner"),
        name=given.get("name"),
        limit=limit,
        cursor=cursor,
        late=given.get("late") == "yes",
        # A file has no bars.
        counted=not is_export(),
        **times,
    )
    rows = [
        add_time(item)
        | {"progress": measure_progress(item), "mine": may_change(item.owner), "late": _is_late(item, now)}
        for item in found.items
    ]
    empty = "None yet: `p3s workflow load FILE` starts one."
    acts = _ACTS if filters and any(row["mine"] for row in rows) else ()
    return Table("workflows", "Workflows", _COLUMNS, rows, empty, found.next, filters, acts)


def _is_late(item: Any, now: float) -> bool:
    return item.state == WorkflowState.RUNNING and item.deadline is not None and item.deadline < now
