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
from p3s.errors import BadInput, Problem
from p3s.submit import Changes, prepare_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.client import Client
    from p3s.wire import LoadReply

__all__ = ["add_load_options", "load", "make_changes", "read_params", "report_load"]

F = TypeVar("F", bound="Callable[..., Any]")


def add_load_options(function: F) -> F:
    """Give a command the options of whatever starts a workflow."""
    for option in (
        click.option("--watch", is_flag=True, help="Follow it to its end; exit 1 if it fails."),
        click.option("--hold", is_flag=True, help="Leave it held until `p3s workflow start`."),
        click.option("--site", default="default", show_default=True, help="Whose pilots can read external paths."),
        click.option("--key", help="Start at most one workflow for this key, ever."),
        click.option("--names", metavar="sticky|inherit:TEXT", help="How files that jobs make are named."),
        click.option("--jobs", metavar="JSON", help='{"job": {"payload", "env"}}, or a file with it.'),
        click.option("--files", metavar="JSON", help='{"source:target": {"name", "dirpath", "comment"}}, or a file.'),
        click.option(
            "--set", "sets", metavar="PATH=VALUE", multiple=True, help="Such as jobs.NAME.env.X=1; repeatable."
        ),
        click.option(
            "-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter; @FILE reads its value."
        ),
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
    sets: tuple[str, ...],
    files: str | None,
    jobs: str | None,
    names: str | None,
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
    client = connect(url)
    changes = make_changes(client, sets, files, jobs, names)
    body = prepare_load(file, read_params(params), hold=hold, key=key, site=site, changes=changes)
    return report_load(client, client.load_workflow(body), watch=watch, as_json=as_json, quiet=quiet)


def make_changes(
    client: Client, sets: tuple[str, ...], files: str | None, jobs: str | None, names: str | None
) -> Changes:
    """Return what the options change; names that are made need the extensions that the server knows."""
    pairs = parse_pairs(sets, "--set")
    extensions = {} if names is None else {item.name: item.ext for item in client.list_datatypes().items}
    return Changes(pairs, files, jobs, names, extensions)


def read_params(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return parameters; ``@FILE`` stands for the file's text without its last line end, ``@@`` for one ``@``.

    Raises
    ------
    click.UsageError
        If a text is no pair.
    BadInput
        If a file cannot be read.
    """
    return {name: _read_value(name, value) for name, value in parse_pairs(pairs, "-p").items()}


def _read_value(name: str, value: str) -> str:
    if not value.startswith("@") or value.startswith("@@"):
        return value.removeprefix("@")
    path = value[1:]
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise BadInput([Problem(f"cannot be read for parameter {name} ({error.strerror})", file=path)]) from error
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"is not UTF-8 text, as parameter {name} must be", file=path)]) from error


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
