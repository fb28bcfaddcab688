"""Follow a workflow: a progress bar on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import click

from p3s.cli.output import clean_text, format_counts, print_line, shorten_id, tell
from p3s.clock import read_clock
from p3s.engine.states import FINAL_JOB, FINAL_WORKFLOW
from p3s.errors import Unavailable, Unreachable
from p3s.settings import allows_color

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.client import Client
    from p3s.wire import WorkflowView

__all__ = ["follow_workflow", "report_failures"]

#: Seconds between two looks: short at first, so that a short workflow ends at once.
FIRST_PAUSE, LAST_PAUSE = 0.2, 1.0
#: Seconds that a server may be away before following ends.
PATIENCE = 60.0
#: Failed jobs that are named at the end.
MOST_FAILURES = 5


class Show(Protocol):
    """Something that draws a workflow's progress."""

    def __call__(self, found: WorkflowView) -> None:
        """Draw `found`."""


def follow_workflow(
    client: Client,
    ident: str,
    *,
    as_json: bool = False,
    to_stdout: bool = False,
    between: Callable[[], None] | None = None,
) -> WorkflowView:
    """Show a workflow's progress until it is final.

    Parameters
    ----------
    client : Client
        The server.
    ident : str
        The workflow.
    as_json : bool
        One line of JSON on stdout for each change, and nothing else.
    to_stdout : bool
        Whether plain lines are what was asked for, and so go to stdout.
    between : function, optional
        Called between two looks.

    Returns
    -------
    WorkflowView
        As it ended.

    Raises
    ------
    Unreachable, Unavailable
        If the server stays away for a minute.
    """
    with _open_show(as_json=as_json, to_stdout=to_stdout) as show:
        pause, away_since, last = FIRST_PAUSE, None, None
        while True:
            try:
                found = client.show_workflow(ident)
            except (Unreachable, Unavailable) as error:
                if away_since is None:
                    away_since = time.monotonic()
                    tell(f"{error}; trying for {PATIENCE:.0f} s more")
                elif time.monotonic() - away_since > PATIENCE:
                    raise
            else:
                # `@last` must not move on to a workflow that starts meanwhile.
                ident, away_since = found.uuid, None
                if found != last:
                    show(found)
                    last, pause = found, FIRST_PAUSE
                if found.state in FINAL_WORKFLOW:
                    break
            if between is not None:
                between()
            time.sleep(pause)
            pause = min(LAST_PAUSE, pause * 1.3)
    if not as_json:
        report_failures(client, found)
    return found


def report_failures(client: Client, found: WorkflowView) -> None:
    """Say on stderr which jobs of a workflow failed, why, and how to read on; nothing if none did."""
    count = found.counts.get("failed", 0)
    if not count:
        return
    for job in client.list_jobs(workflow=found.uuid, state="failed", limit=MOST_FAILURES).items:
        tell(clean_text(f"failed: {job.name} ({job.reason or 'no reason given'}) {job.why}".rstrip()))
        tell(f"  p3s job log --stderr {shorten_id(job.uuid)}")
    if count > MOST_FAILURES:
        tell(f"{count - MOST_FAILURES} more: p3s job list --state failed --workflow {shorten_id(found.uuid)}")


def _open_show(*, as_json: bool, to_stdout: bool) -> AbstractContextManager[Show]:
    if as_json:
        return nullcontext(_show_json)
    if sys.stderr.isatty() and (sys.stdout.isatty() or not to_stdout):
        return _Bar()
    return nullcontext(_Lines(err=not to_stdout))


def count_done(found: WorkflowView) -> int:
    """Return how many of a workflow's jobs are final."""
    return sum(found.counts.get(state, 0) for state in FINAL_JOB)


def _show_json(found: WorkflowView) -> None:
    print_line(found)


class _Lines:
    """One plain line for each change."""

    def __init__(self, *, err: bool) -> None:
        self.err = err
        self.last = ""

    def __call__(self, found: WorkflowView) -> None:
        line = clean_text(
            f"{found.name} {shorten_id(found.uuid)} {found.state}"
            f"  {count_done(found)}/{found.jobs} done  {format_counts(found.counts)}"
        )
        if line != self.last:
            click.echo(line, err=self.err)
            sys.stdout.flush()
            self.last = line


class _Bar:
    """A live progress bar on stderr."""

    def __enter__(self) -> Show:
        # The drawing library is wanted on a terminal only.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self.started = read_clock()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[counts]}", markup=False),
            console=Console(stderr=True, no_color=not allows_color()),
        )
        self.progress.start()
        self.task = self.progress.add_task("", total=None, counts="")
        return self

    def __call__(self, found: WorkflowView) -> None:
        self.progress.update(
            self.task,
            description=clean_text(f"{found.name} {shorten_id(found.uuid)}"),
            completed=count_done(found),
            total=found.jobs,
            counts=f"{found.state}: {format_counts(found.counts)}",
        )

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
