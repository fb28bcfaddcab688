"""``p3s job``: look at jobs, read what they wrote, cancel them."""

from __future__ import annotations

import sys
import time

import click

from p3s.cli.common import (
    add_example,
    add_list_options,
    add_output_options,
    add_server_option,
    add_state_option,
    collect_pages,
    connect,
)
from p3s.cli.output import (
    Columns,
    clean_output,
    format_age,
    format_since,
    format_size,
    print_fields,
    print_items,
    print_json,
    print_line,
    print_table,
    shorten_id,
    tell,
)
from p3s.engine.states import FINAL_JOB, JobState
from p3s.errors import NotFound

__all__ = ["JOB_COLUMNS", "list_jobs", "log", "show"]

#: Seconds between two looks at a running job's output.
FOLLOW_PAUSE = 0.5

JOB_COLUMNS: Columns = {
    "ID": lambda item: shorten_id(item.uuid),
    "NAME": lambda item: item.name,
    "STATE": lambda item: item.state,
    "REASON": lambda item: item.reason or "-",
    "TYPE": lambda item: item.jobtype,
    "PRIO": lambda item: str(item.priority),
    "TRY": lambda item: str(item.attempt or "-"),
    "AGE": lambda item: format_since(item.created),
}
COLUMNS: Columns = {
    **JOB_COLUMNS,
    "WORKFLOW": lambda item: item.workflow_name,
    "OWNER": lambda item: item.owner,
}

ATTEMPT_COLUMNS: Columns = {
    "TRY": lambda item: str(item.number),
    "STATE": lambda item: item.state,
    "REASON": lambda item: item.reason or "-",
    "EXIT": lambda item: "-" if item.exit_code is None else str(item.exit_code),
    "TOOK": lambda item: format_age(item.ended - item.started) if item.ended and item.started else "-",
    "CPU": lambda item: "-" if item.cpu_time is None else f"{item.cpu_time:.1f}s",
    "MEMORY": lambda item: format_size(item.peak_memory),
    "HOST": lambda item: item.host,
    "MESSAGE": lambda item: item.message.partition("\n")[0],
}


@add_example("p3s job list --state failed", "p3s job list --workflow @last -q")
@click.command()
@click.option("--workflow", metavar="ID", help="Only those of this workflow.")
@add_state_option(JobState)
@click.option("--jobtype", help="Only those of this jobtype.")
@click.option("--owner", help="Only those of this owner.")
@click.option("--name", help="Only those of this name.")
@add_list_options
def list_jobs(
    url: str | None,
    workflow: str | None,
    state: str | None,
    jobtype: str | None,
    owner: str | None,
    name: str | None,
    limit: int,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """List jobs, newest first."""
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_jobs(
            workflow=workflow,
            state=state,
            jobtype=jobtype,
            owner=owner,
            name=name,
            limit=size,
            cursor=cursor,
        ),
        limit,
    )
    print_items(found, COLUMNS, noun="jobs", as_json=as_json, quiet=quiet)


@add_example("p3s job show @last", "p3s job show @last/summary")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def show(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show one job and its attempts.

    ID is the job's id, or WORKFLOW/NAME.
    """
    found = connect(url).show_job(ident)
    if as_json:
        print_json(found)
        return
    if quiet:
        click.echo(found.uuid)
        return
    print_fields(
        [
            ("id", found.uuid),
            ("name", found.name),
            ("state", found.state),
            ("reason", found.reason or ""),
            ("why", found.why),
            ("workflow", f"{found.workflow_name} {found.workflow}"),
            ("owner", found.owner),
            ("jobtype", found.jobtype),
            ("priority", str(found.priority)),
            ("time limit", format_age(found.timelimit)),
            ("created", f"{format_since(found.created)} ago"),
            ("inputs", " ".join(f"{item.key} ({item.state})" for item in found.inputs)),
            *((f"output {item.key}", f"{item.state} {item.place or ''}".strip()) for item in found.outputs),
        ]
    )
    if found.attempts:
        click.echo()
        print_table(
            list(ATTEMPT_COLUMNS),
            [[cell(item) for cell in ATTEMPT_COLUMNS.values()] for item in found.attempts],
        )


@add_example("p3s job log @last/summary", "p3s job log -f --stderr 4f3a", "p3s job log --attempt 1 4f3a")
@click.command()
@click.argument("ident", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Which try; else the newest.")
@click.option("--stderr", is_flag=True, help="What it wrote to stderr, not stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print each piece as one line of JSON.")
@add_server_option
def log(ident: str, attempt: int | None, url: str | None, *, follow: bool, stderr: bool, as_json: bool) -> None:
    """Print what a job wrote to stdout or stderr.

    The server keeps the last 64 KiB of each; while a job runs they are there only if somebody watches.
    """
    client = connect(url)
    job = client.show_job(ident)
    stream = "stderr" if stderr else "stdout"
    offset, number, told = 0, attempt, False
    while True:
        # Read the state first: what is final now has nothing more to say after the next piece.
        ended = job.state in FINAL_JOB
        try:
            piece = client.read_log(job.uuid, stream=stream, attempt=number, offset=offset, watch=follow)
        except NotFound:
            if not follow or ended or job.attempts:
                raise
            piece = None
            if not told:
                tell(f"{job.name} is {job.state}; its output is shown once it starts")
                told = True
        if piece is not None:
            if offset and piece.offset > offset:
                tell(f"[{piece.offset - offset} bytes are left out]")
            if as_json and (piece.text or not follow):
                print_line(piece)
            elif piece.text:
                click.echo(clean_output(piece.text) if sys.stdout.isatty() else piece.text, nl=False)
                sys.stdout.flush()
            offset = piece.next
            if number is None and piece.final and not ended:
                # The next try starts a new file.
                offset = offset if client.show_job(job.uuid).attempt == piece.number else 0
        if not follow or ended or (piece is not None and piece.final and attempt is not None):
            return
        time.sleep(FOLLOW_PAUSE)
        job = client.show_job(job.uuid)
