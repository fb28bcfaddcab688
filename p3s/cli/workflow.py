"""``p3s workflow``: look at workflows on the server, follow them, let them go, end them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import (
    LARGEST_PAGE,
    add_confirm_options,
    add_example,
    add_list_options,
    add_output_options,
    add_server_option,
    add_state_option,
    collect_pages,
    confirm_action,
    connect,
)
from p3s.cli.job import JOB_COLUMNS
from p3s.cli.output import (
    Columns,
    clean_text,
    format_count,
    format_counts,
    format_since,
    format_size,
    print_fields,
    print_items,
    print_json,
    print_table,
    shorten_id,
    tell,
)
from p3s.cli.watch import follow_workflow
from p3s.engine.names import sanitise_value
from p3s.engine.states import WorkflowState

if TYPE_CHECKING:
    from p3s.wire import WorkflowView

__all__ = ["cancel", "delete", "list_workflows", "results", "show", "start", "watch"]

COLUMNS: Columns = {
    "ID": lambda item: shorten_id(item.uuid),
    "NAME": lambda item: item.name,
    "STATE": lambda item: item.state,
    "JOBS": lambda item: format_counts(item.counts),
    "OWNER": lambda item: item.owner,
    "AGE": lambda item: format_since(item.created),
}


@add_example("p3s workflow list --state running", "p3s workflow list -q --name diamond")
@click.command()
@add_state_option(WorkflowState)
@click.option("--owner", help="Only those of this owner.")
@click.option("--name", help="Only those of this name.")
@click.option("--archived", is_flag=True, help="Those in the archive, archived last first.")
@add_list_options
def list_workflows(
    url: str | None,
    state: str | None,
    owner: str | None,
    name: str | None,
    limit: int,
    *,
    archived: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List workflows, newest first."""
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_workflows(
            state=state, owner=owner, name=name, archived=archived, limit=size, cursor=cursor
        ),
        limit,
    )
    print_items(found, COLUMNS, noun="workflows", as_json=as_json, quiet=quiet)


@add_example("p3s workflow show @last")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def show(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show one workflow and its jobs."""
    client = connect(url)
    found = client.show_workflow(ident)
    if quiet:
        click.echo(found.uuid)
        return
    jobs = client.list_jobs(workflow=found.uuid, limit=LARGEST_PAGE).items
    if as_json:
        print_json(found.model_dump(mode="json") | {"job_list": [job.model_dump(mode="json") for job in jobs]})
        return
    print_fields(
        [
            ("id", found.uuid),
            ("name", found.name),
            ("state", found.state),
            ("message", found.message),
            ("owner", found.owner),
            ("dag", f"{found.dag} version {found.version}" if found.dag else ""),
            ("params", " ".join(f"{name}={value}" for name, value in found.params.items())),
            ("overrides", " ".join(f"{path}={value}" for path, value in found.overrides.items())),
            *((f"data {name}", f"from {source}") for name, source in found.sources.items()),
            ("jobs", format_counts(found.counts)),
            ("created", f"{format_since(found.created)} ago"),
            ("ended", f"{format_since(found.ended)} ago" if found.ended else ""),
            ("archived", f"{format_since(found.archived)} ago" if found.archived else ""),
        ]
    )
    click.echo()
    print_table(list(JOB_COLUMNS), [[cell(job) for cell in JOB_COLUMNS.values()] for job in jobs])
    if found.jobs > len(jobs):
        ident = shorten_id(found.uuid)
        tell(f"{found.jobs - len(jobs)} more; `p3s job list -n 100000 --workflow {ident}` lists all")


@add_example("p3s workflow watch @last", "p3s workflow watch --json 4f3a")
@click.command()
@click.argument("ident", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print each change as one line of JSON.")
@add_server_option
def watch(ident: str, url: str | None, *, as_json: bool) -> int:
    """Follow a workflow to its end.

    Exits 0 if it finishes and 1 if it fails or is cancelled.
    """
    found = follow_workflow(connect(url), ident, as_json=as_json, to_stdout=True)
    return 0 if found.state is WorkflowState.FINISHED else 1


@add_example("p3s workflow start @last")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def start(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Let a held workflow go."""
    found = connect(url).start_workflow(ident)
    if as_json:
        print_json(found)
    else:
        click.echo(found.uuid)
        if not quiet:
            tell(f"{found.name} is {found.state}; `p3s workflow watch {shorten_id(found.uuid)}` follows it")


@add_example("p3s workflow cancel @last", "p3s workflow cancel --yes 4f3a 77c0")
@click.command()
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
@add_confirm_options
@add_output_options
@add_server_option
def cancel(idents: tuple[str, ...], url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """End workflows: their jobs are cancelled, payloads stopped."""
    client = connect(url)
    found = [client.show_workflow(ident) for ident in idents]
    if not confirm_action("cancel", _describe(found), client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    done = [client.cancel_workflow(item.uuid) for item in found]
    if as_json:
        print_json(done)
        return 0
    for reply in done:
        click.echo(reply.uuid)
        if not quiet:
            tell(
                f"{reply.state}: {format_count(reply.jobs, 'job')} cancelled, "
                f"{format_count(reply.stopping, 'payload')} told to stop"
            )
    return 0


@add_example("p3s workflow delete @last", "p3s workflow delete --dry-run 4f3a")
@click.command()
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
@add_confirm_options
@add_output_options
@add_server_option
def delete(idents: tuple[str, ...], url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Forget workflows that have ended or never started.

    Files that they made stay where they are.
    """
    client = connect(url)
    found = [client.show_workflow(ident) for ident in idents]
    if not confirm_action("delete", _describe(found), client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    for item in found:
        client.delete_workflow(item.uuid)
        if not as_json:
            click.echo(item.uuid)
    if as_json:
        print_json(found)
    elif not quiet:
        tell(f"{len(found)} deleted; the files they made are where they were")
    return 0


@add_example("p3s workflow results @last", "p3s workflow results @last --output results/")
@click.command()
@click.argument("ident", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Fetch the files into this folder.",
)
@add_output_options
@add_server_option
def results(ident: str, output: Path | None, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """List the result files of a workflow, or fetch them.

    A fetched file is named after its dataset, with the extension it has.
    """
    client = connect(url)
    found = client.list_results(ident).items
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for item in found:
            if item.digest is None:
                tell(f"{item.key}: the server has no copy; it lies at {item.place}")
                continue
            # The server's word is no path: nothing is written outside the folder.
            target = output / sanitise_value(f"{item.key}{Path(item.place).suffix}")
            target.write_bytes(client.fetch_blob(item.digest))
            if not as_json:
                click.echo(str(target))
        if as_json:
            print_json(found)
        return
    columns: Columns = {
        "RESULT": lambda item: item.key,
        "JOB": lambda item: item.job,
        "SIZE": lambda item: format_size(item.size),
        "PLACE": lambda item: item.place,
    }
    print_items(found, columns, noun="results yet", as_json=as_json, quiet=quiet, ident=lambda item: item.place)


def _describe(found: list[WorkflowView]) -> list[str]:
    return [
        clean_text(f"workflow {shorten_id(item.uuid)} {item.name} of {item.owner} ({item.state})") for item in found
    ]
