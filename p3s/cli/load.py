"""``p3s workflow load``: from a file to a running workflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from p3s.cli.common import add_example, add_output_options, add_server_option, connect, parse_pairs
from p3s.cli.output import format_count, print_json, shorten_id, tell
from p3s.cli.results import print_results
from p3s.cli.watch import follow_workflow
from p3s.engine.states import WorkflowState
from p3s.submit import prepare_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.client import Client
    from p3s.wire import LoadReply

__all__ = ["add_load_options", "load", "report_load"]

F = TypeVar("F", bound="Callable[..., Any]")


def add_load_options(function: F) -> F:
    """Give a command the options of whatever starts a workflow."""
    for option in (
        click.option("--watch", is_flag=True, help="Follow it to its end; exit 1 if it fails."),
        click.option("--hold", is_flag=True, help="Leave it held until `p3s workflow start`."),
        click.option("--site", default="default", show_default=True, help="Whose pilots can read external paths."),
        click.option("--key", help="Start at most one workflow for this key, ever."),
        click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter; repeatable."),
    ):
        function = option(function)
    return function


@add_example("p3s workflow load dag.yaml -p run=004610 --watch", "p3s workflow load dag.yaml --key run-004610")
@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@add_load_options
@add_output_options
@add_server_option
def load(
    file: Path,
    params: tuple[str, ...],
    key: str | None,
    site: str,
    url: str | None,
    *,
    hold: bool,
    watch: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Validate a file, store its DAG and start a workflow.

    Prints the workflow's id. Small files that the YAML names travel along; external data is looked for here.
    """
    if hold and watch:
        raise click.UsageError("--watch would wait for ever for what --hold holds; give one of the two")
    body = prepare_load(file, parse_pairs(params, "-p"), hold=hold, key=key, site=site)
    client = connect(url)
    return report_load(client, client.load_workflow(body), watch=watch, as_json=as_json, quiet=quiet)


def report_load(client: Client, reply: LoadReply, *, watch: bool, as_json: bool, quiet: bool) -> int:
    """Print what a load made, and follow it if asked to."""
    if as_json and not watch:
        print_json(reply)
    elif not as_json:
        click.echo(reply.uuid)
    if not (as_json or quiet):
        was = "" if reply.created else ", which was there before"
        tell(f"{reply.name}{was}: {format_count(reply.jobs, 'job')}, {reply.state}")
        if not watch:
            tell(f"`p3s workflow watch {shorten_id(reply.uuid)}` follows it")
    if not watch:
        return 0
    found = follow_workflow(client, reply.uuid, as_json=as_json)
    if not (as_json or quiet):
        print_results(client, found)
    return 0 if found.state is WorkflowState.FINISHED else 1
