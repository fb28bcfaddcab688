"""p3s as users run it: a real server, its database and a pilot, all processes of this machine."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.engine.states import FINAL_JOB, FINAL_WORKFLOW, JobState
from p3s.wire import JobView, LoadBody, WorkflowView
from tests.support.servers import System, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p3s.client import Client
    from tests.support.databases import Postgres

__all__ = ["load", "open_system", "read_jobs", "wait_for_end"]

#: Seconds between two looks at what runs: they cost the server time that is measured.
LOOK = 1.0


@contextmanager
def open_system(postgres: Postgres | None, *, slots: int = 0, workers: int = 1, **fields: Any) -> Iterator[System]:
    """Run a server, on PostgreSQL if one is given, and a pilot if it has slots; both end with the block.

    `fields` are further ones of `System`.
    """
    folder = Path(tempfile.mkdtemp(prefix="p3s-bench-"))
    system = System(folder, postgres.copy() if postgres is not None else None, **fields)
    try:
        system.start_server(*(("--workers", str(workers)) if workers > 1 else ()))
        if slots:
            start_pilot(system, slots)
        yield system
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


def start_pilot(system: System, slots: int) -> None:
    """Start a pilot and wait until it asks for work."""
    known = len(system.client.list_pilots(live=True).items)
    system.start_pilot("--slots", str(slots), "--cpus", str(slots), name=f"pilot{known}")
    wait_until(lambda: count_idle(system.client) > known, 30, "the pilot's first question")


def count_idle(client: Client) -> int:
    """Return how many pilots wait for work."""
    return len(client.list_pilots(state="idle").items)


def load(client: Client, text: str, *, hold: bool = False) -> str:
    """Load a workflow and return its uuid."""
    body = LoadBody(uuid=str(uuid.uuid4()), text=text, hold=hold)
    return client.load_workflow(body).uuid


def wait_for_end(client: Client, workflow: str, seconds: float = 300.0) -> WorkflowView:
    """Return a workflow when it is final."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        view = client.show_workflow(workflow)
        if view.state in FINAL_WORKFLOW:
            return view
        time.sleep(LOOK)
    raise AssertionError(f"workflow {workflow} did not end within {seconds:.0f} s")


def read_jobs(client: Client, workflow: str | None = None) -> list[JobView]:
    """Return all jobs and check that each has ended well at the first attempt: nothing lost, nothing twice."""
    jobs = list(client.iterate_jobs(workflow=workflow))
    odd = [job for job in jobs if job.state is not JobState.FINISHED or job.attempt != 1 or job.state not in FINAL_JOB]
    if odd:
        raise AssertionError(f"{len(odd)} of {len(jobs)} jobs did not end well at once: {odd[0]}")
    return jobs
