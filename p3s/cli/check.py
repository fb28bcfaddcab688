"""``p3s workflow validate`` and ``schema``: what may stand in a file, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import click

from p3s.cli.common import add_example, parse_pairs
from p3s.cli.output import print_json
from p3s.cli.problems import show_problems
from p3s.engine.spec import make_schema
from p3s.submit import check_file

__all__ = ["schema", "validate"]


@add_example("p3s workflow validate dag.yaml", "p3s workflow validate --json workflows/*.yaml")
@click.command()
@click.argument("files", type=click.Path(path_type=Path, allow_dash=True), nargs=-1, required=True)
@click.option(
    "-p",
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter to check with; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of files without problems.")
def validate(files: tuple[Path, ...], params: tuple[str, ...], *, as_json: bool, quiet: bool) -> int:
    """Show every problem of workflow files.

    Each is shown as file:line:column: message. Exits 0 if there is none, else 64. No server is asked.
    """
    values = parse_pairs(params, "-p")
    found = {str(file): check_file(file, values) for file in files}
    return show_problems(found, as_json=as_json, quiet=quiet)


@add_example("p3s workflow schema > p3s.schema.json")
@click.command()
def schema() -> None:
    """Print the JSON Schema of workflow files, for editors."""
    print_json(make_schema())
