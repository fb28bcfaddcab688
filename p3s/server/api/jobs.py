"""Routes of jobs."""

from __future__ import annotations

from typing import Any

from flask import request

from p3s.clock import read_clock
from p3s.errors import Archived, BadInput, Problem
from p3s.server.api.frame import caller, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.auth import require_owner
from p3s.server.queries.archive import list_archived_jobs, read_archived_log, show_archived_job
from p3s.server.queries.find import find_row
from p3s.server.queries.jobs import find_attempt
from p3s.server.queries.jobs import list_jobs as query_jobs
from p3s.server.queries.jobs import read_log as query_log
from p3s.server.queries.jobs import show_job as query_job
from p3s.server.usecases import acts, holds, standalone
from p3s.wire import CancelReply, CreateJobsBody, CreateJobsReply, EmptyBody, JobList, JobView, LogView, RetryReply


def _find(ident: str) -> Any:
    with core().db.read() as connection:
        return find_row(connection, "job", ident, owner=caller().name)


@endpoint("POST", "/jobs", takes=CreateJobsBody, gives=CreateJobsReply, status=201)
def create_jobs(body: CreateJobsBody) -> CreateJobsReply:
    """Create standalone jobs, all or none."""
    return standalone.create_jobs(core(), body, caller().name)


@endpoint("GET", "/jobs", gives=JobList)
def list_jobs() -> JobList:
    """List jobs, newest first."""
    parent = read_text("workflow")
    with core().db.read() as connection:
        filters = {name: read_text(name) for name in ("state", "jobtype", "owner", "name")}
        try:
            ident = find_row(connection, "workflow", parent, owner=caller().name).id if parent else None
        except Archived as it:
            return list_archived_jobs(connection, it, filters=filters, limit=read_limit(), cursor=read_cursor())
        age = _read_age()
        return query_jobs(
            connection,
            workflow_id=ident,
            filters=filters,
            limit=read_limit(),
            cursor=read_cursor(),
            prefix=read_text("uuid"),
            before=None if age is None else read_clock() - age,
        )


def _read_age() -> float | None:
    text = read_text("older")
    if text is None:
        return None
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age < 1e11:
        raise BadInput([Problem(f"'{text}' is no age in seconds", where="older")])
    return age


@endpoint("GET", "/jobs/<path:ident>", gives=JobView)
def show_job(ident: str) -> JobView:
    """Show a job with its description, attempts, data and events."""
    with core().db.read() as connection:
        try:
            row = find_row(connection, "job", ident, owner=caller().name)
        except Archived as it:
            return show_archived_job(connection, it)
        return query_job(connection, row.id, read_clock())


@endpoint("GET", "/jobs/<path:ident>/log", gives=LogView)
def read_log(ident: str) -> LogView:
    """Return what an attempt printed, from a byte on; `watch=1` has its pilot send more while it runs."""
    stream = request.args.get("stream") or "stdout"
    problems = []
    if stream not in {"stdout", "stderr"}:
        problems.append(Problem(f"'{stream}' is neither stdout nor stderr", where="stream"))
    numbers: dict[str, int | None] = {}
    for name in ("attempt", "offset"):
        text = request.args.get(name)
        if text and not (text.isascii() and text.isdigit() and len(text) < 16):
            problems.append(Problem(f"'{text}' is no number", where=name))
        else:
            numbers[name] = int(text) if text else None
    if problems:
        raise BadInput(problems)
    try:
        row = _find(ident)
    except Archived as it:
        with core().db.read() as connection:
            return read_archived_log(
                connection, it, number=numbers["attempt"], stream=stream, offset=numbers["offset"] or 0
            )
    with core().db.read() as connection:
        found = find_attempt(connection, row.id, numbers["attempt"], row.uuid[:8])
    if request.args.get("watch") == "1":
        acts.watch_attempt(core(), found.id)
    with core().db.read() as connection:
        return query_log(connection, found, stream, numbers["offset"] or 0)


@endpoint("POST", "/jobs/<path:ident>/cancel", takes=EmptyBody, gives=CancelReply)
def cancel_job(ident: str, body: EmptyBody) -> CancelReply:  # noqa: ARG001 - decoded so that fields are refused
    """Cancel a job; a running payload is told to stop."""
    row = _find(ident)
    require_owner(caller(), row.owner, f"job {row.uuid}")
    return acts.cancel_job(core(), row, caller().name)


@endpoint("POST", "/jobs/<path:ident>/retry", takes=EmptyBody, gives=RetryReply)
def retry_job(ident: str, body: EmptyBody) -> RetryReply:  # noqa: ARG001 - see above
    """Run a job again that failed, or was cancelled or skipped, with the skipped ones below it."""
    row = _find(ident)
    require_owner(caller(), row.owner, f"job {row.uuid}")
    return holds.retry_job(core(), row, caller().name)
