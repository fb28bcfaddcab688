"""Hold back, let go and run again: the verbs ``pause``, ``resume`` and ``retry`` of several nouns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_output_options, add_server_option, connect, parse_pairs
from p3s.cli.load import report_load
from p3s.cli.output import format_count, print_json, shorten_id, tell
from p3s.submit import Changes, prepare_load, submit_dag
from p3s.wire import Adopt

if TYPE_CHECKING:
    from p3s.client import Client
    from p3s.wire import LoadReply, RetryReply, WorkflowView

__all__ = [
    "pause_server",
    "pause_workflow",
    "resume_server",
    "resume_workflow",
    "retry_workflow",
    "tell_retry",
]


@add_example("p3s workflow pause @last")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def pause_workflow(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Hold back what is not dispatched; what runs, runs on."""
    _show(connect(url).pause_workflow(ident), as_json=as_json, quiet=quiet)


@add_example("p3s workflow resume @last")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def resume_workflow(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Let a paused workflow go on."""
    _show(connect(url).resume_workflow(ident), as_json=as_json, quiet=quiet)


@add_example(
    "p3s workflow retry @last", "p3s workflow retry 4f3a --with corrected.yaml", "p3s workflow retry 4f3a --from track"
)
@click.command()
@click.argument("ident", metavar="ID")
@click.option(
    "--with",
    "file",
    type=click.Path(path_type=Path),
    help="A corrected file: a new workflow that takes over what is unchanged and finished.",
)
@click.option("--from", "below", metavar="JOB", help="A new workflow that runs this job and what depends on it.")
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="Another value, with --with.")
@click.option("--watch", is_flag=True, help="Follow the new workflow to its end; exit 1 if it fails.")
@add_output_options
@add_server_option
def retry_workflow(
    ident: str,
    file: Path | None,
    below: str | None,
    params: tuple[str, ...],
    url: str | None,
    *,
    watch: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run again what did not finish, keeping what did.

    Failed, cancelled and skipped jobs go back to waiting with new budgets. With --with or --from a new workflow
    is made, which takes over the datasets of jobs that need not run again, and says which and why.
    """
    client = connect(url)
    if file is None and below is None:
        if params or watch:
            raise click.UsageError("-p and --watch go with --with or --from, which make a new workflow")
        tell_retry(client.retry_workflow(ident), as_json=as_json, quiet=quiet)
        return 0
    reply = _load_again(client, client.show_workflow(ident), file, below, parse_pairs(params, "-p"))
    code = report_load(client, reply, watch=watch, as_json=as_json, quiet=quiet)
    if not (as_json or quiet):
        _tell_adoption(reply)
    return code


def _load_again(
    client: Client, old: WorkflowView, file: Path | None, below: str | None, params: dict[str, str]
) -> LoadReply:
    adopt = Adopt(workflow=old.uuid, below=below)
    values = old.params | params
    if file is not None:
        return client.load_workflow(prepare_load(file, values, adopt=adopt))
    if old.dag is None:
        raise click.UsageError("this workflow has no stored DAG; --with FILE names a text")
    return submit_dag(client, old.dag, values, version=old.version, adopt=adopt, changes=Changes(old.overrides))


def _tell_adoption(reply: LoadReply) -> None:
    tell(f"taken over: {', '.join(reply.adopted) or 'nothing'}")
    for name, reason in reply.again.items():
        tell(f"runs again: {name}: {reason}")


@add_example("p3s server pause")
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def pause_server(url: str | None, *, as_json: bool) -> None:
    """Give out no more jobs; what runs, runs on."""
    found = connect(url).pause_server()
    if as_json:
        print_json(found)
    tell("the server gives out no more jobs; `p3s server resume` lets it go on")


@add_example("p3s server resume")
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def resume_server(url: str | None, *, as_json: bool) -> None:
    """Give out jobs again."""
    found = connect(url).resume_server()
    if as_json:
        print_json(found)
    tell("the server gives out jobs")


def _show(found: WorkflowView, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(found)
        return
    click.echo(found.uuid)
    if not quiet:
        tell(f"{found.name} is {found.state}")


def tell_retry(reply: RetryReply, *, as_json: bool, quiet: bool) -> None:
    """Print what runs again."""
    if as_json:
        print_json(reply)
        return
    click.echo(reply.uuid)
    if not quiet:
        tell(f"{format_count(reply.jobs, 'job')} run again, {reply.kept} finished kept; the workflow is {reply.state}")
        tell(f"`p3s why {shorten_id(reply.uuid)}` tells more")
