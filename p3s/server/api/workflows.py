"""Routes of workflows."""

from __future__ import annotations

from typing import Any

from p3s.errors import Archived
from p3s.server.api.frame import caller, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.auth import require_owner
from p3s.server.queries.archive import (
    list_archived,
    show_archived,
    show_archived_graph,
)
from p3s.server.queries.archive_data import list_archived_results
from p3s.server.queries.datasets import is_used_by, view_datasets
from p3s.server.queries.find import find_row
from p3s.server.queries.jobs import list_workflow_jobs
from p3s.server.queries.workflows import list_edges, view_workflow
from p3s.server.queries.workflows import list_results as query_results
from p3s.server.queries.workflows import list_workflows as query_workflows
from p3s.server.usecases import acts, holds, load
from p3s.wire import (
    CancelReply,
    EmptyBody,
    GraphView,
    LoadBody,
    LoadReply,
    ResultList,
    RetryReply,
    WorkflowList,
    WorkflowView,
)


def _find(ident: str, *, to_change: bool = False) -> Any:
    with core().db.read() as connection:
        row = find_row(connection, "workflow", ident, owner=caller().name)
    if to_change:
        require_owner(caller(), row.owner, f"workflow {row.uuid}")
    return row


def _view(ident: int) -> WorkflowView:
    with core().db.read() as connection:
        return view_workflow(connection, ident)


@endpoint("POST", "/workflows", takes=LoadBody, gives=LoadReply, status=201)
def load_workflow(body: LoadBody) -> tuple[LoadReply, int]:
    """Start a workflow of a text or of a stored DAG."""
    reply = load.load_workflow(core(), body, caller().name)
    return reply, 201 if reply.created else 200


@endpoint("GET", "/workflows", gives=WorkflowList)
def list_workflows() -> WorkflowList:
    """List workflows, newest first; or, with `archived=1`, those in the archive."""
    with core().db.read() as connection:
        return (list_archived if read_text("archived") else query_workflows)(
            connection,
            state=read_text("state"),
            owner=read_text("owner"),
            name=read_text("name"),
            limit=read_limit(),
            cursor=read_cursor(),
        )


@endpoint("GET", "/workflows/<ident>", gives=WorkflowView)
def show_workflow(ident: str) -> WorkflowView:
    """Show a workflow with its jobs counted by state."""
    return _show(ident)


def _show(ident: str) -> WorkflowView:
    try:
        return _view(_find(ident).id)
    except Archived as it:
        with core().db.read() as connection:
            return show_archived(connection, it)


@endpoint("POST", "/workflows/<ident>/start", takes=EmptyBody, gives=WorkflowView, shown_by=_show)
def start_workflow(ident: str, body: EmptyBody) -> WorkflowView:  # noqa: ARG001 - decoded so that fields are refused
    """Let a held workflow go."""
    row = _find(ident, to_change=True)
    load.start_workflow(core(), row.id, caller().name)
    return _view(row.id)


@endpoint("POST", "/workflows/<ident>/cancel", takes=EmptyBody, gives=CancelReply)
def cancel_workflow(ident: str, body: EmptyBody) -> CancelReply:  # noqa: ARG001 - see above
    """Cancel all that is not final."""
    return acts.cancel_workflow(core(), _find(ident, to_change=True), caller().name)


@endpoint("POST", "/workflows/<ident>/pause", takes=EmptyBody, gives=WorkflowView)
def pause_workflow(ident: str, body: EmptyBody) -> WorkflowView:  # noqa: ARG001 - see above
    """Hold back what is not dispatched."""
    row = _find(ident, to_change=True)
    holds.pause_workflow(core(), row, caller().name)
    return _view(row.id)


@endpoint("POST", "/workflows/<ident>/resume", takes=EmptyBody, gives=WorkflowView)
def resume_workflow(ident: str, body: EmptyBody) -> WorkflowView:  # noqa: ARG001 - see above
    """Let a paused workflow go on."""
    row = _find(ident, to_change=True)
    holds.resume_workflow(core(), row, caller().name)
    return _view(row.id)


@endpoint("POST", "/workflows/<ident>/retry", takes=EmptyBody, gives=RetryReply)
def retry_workflow(ident: str, body: EmptyBody) -> RetryReply:  # noqa: ARG001 - see above
    """Run again what did not finish, keeping what did."""
    return holds.retry_workflow(core(), _find(ident, to_change=True), caller().name)


@endpoint("DELETE", "/workflows/<ident>")
def delete_workflow(ident: str) -> None:
    """Delete a workflow that is final or held; files stay."""
    acts.delete_workflow(core(), _find(ident, to_change=True), caller().name)


@endpoint("GET", "/workflows/<ident>/results", gives=ResultList)
def list_results(ident: str) -> ResultList:
    """List the files that `results` names and that are there."""
    with core().db.read() as connection:
        try:
            return query_results(connection, find_row(connection, "workflow", ident, owner=caller().name).id)
        except Archived as it:
            return list_archived_results(connection, it)


@endpoint("GET", "/workflows/<ident>/graph", gives=GraphView)
def show_graph(ident: str) -> GraphView:
    """Return the nodes and edges of a workflow's graph."""
    try:
        row = _find(ident)
    except Archived as it:
        with core().db.read() as connection:
            return show_archived_graph(connection, it)
    with core().db.read() as connection:
        return GraphView(
            jobs=list_workflow_jobs(connection, row.id),
            datasets=view_datasets(connection, is_used_by(row.id)),
            edges=list_edges(connection, row.id),
        )
