"""The columns that several pages have, and what rows are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p3s.server.monitor.tables import Column
from p3s.server.monitor.values import show_number

if TYPE_CHECKING:
    from p3s.wire import AttemptView, JobView, WorkflowView

__all__ = [
    "ATTEMPT_COLUMNS",
    "DATA",
    "DATA_COLUMNS",
    "EVENT_COLUMNS",
    "JOB_COLUMNS",
    "SHARED",
    "STREAMS",
    "add_time",
    "make_workflow_columns",
    "measure_progress",
]

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
ATTEMPT_COLUMNS = (
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
DATA_COLUMNS = (
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
#: Streams of a payload.
STREAMS = ("stdout", "stderr")
#: What all jobs of a workflow have in common.
SHARED = {"workflow_name", "owner", "created"}


def make_workflow_columns(place: str) -> tuple[Column, ...]:
    """Return what lists of workflows have in common; `place` is the address of the list."""
    return (
        Column("uuid", "id", "id", "/workflows/{uuid}", is_minor=True),
        Column("name", "name", link="/workflows/{uuid}"),
        Column("state", "state", "state"),
        Column("progress", "jobs done", "bar"),
        Column("owner", "owner", link=f"{place}?owner={{owner}}", is_minor=True),
        Column("params", "params", "params"),
        Column("created", "created", "age"),
        Column("took", "took", "seconds", is_minor=True),
    )


def add_time(item: JobView | AttemptView | WorkflowView) -> dict[str, Any]:
    """Return what starts and ends as a row with how long it took."""
    took = item.ended - item.started if item.ended is not None and item.started is not None else None
    return item.model_dump() | {"took": took}


def measure_progress(item: WorkflowView) -> dict[str, Any]:
    """Return the parts of a workflow's progress bar."""
    done = item.counts.get("finished", 0)
    states = ("finished", "failed", "cancelled", "skipped", "running", "dispatched")
    parts = [(state, item.counts.get(state, 0)) for state in states]
    return {"parts": parts, "whole": item.jobs, "label": f"{show_number(done)} of {show_number(item.jobs)}"}
