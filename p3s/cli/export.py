"""``p3s workflow export``: a DAG for other programs, or for an editor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_server_option, connect
from p3s.errors import NotFound

if TYPE_CHECKING:
    from p3s.client import Client
    from p3s.engine.spec import DagSpec

__all__ = ["export", "find_spec"]

FORMATS = ("yaml", "json", "graphml", "dot")


@add_example(
    "p3s workflow export @last",
    "p3s workflow export dag.yaml --format graphml > dag.graphml",
    "p3s workflow export 4f3a --format dot | dot -Tpdf > dag.pdf",
)
@click.command()
@click.argument("thing", metavar="FILE|ID|DAG")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="yaml", show_default=True, help="What to write.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@add_server_option
def export(thing: str, kind: str, url: str | None, *, as_json: bool) -> None:
    """Write a DAG as YAML, JSON, GraphML or DOT.

    It is a file here, the DAG of a workflow with what was changed for it, or a stored DAG by its name. YAML, JSON and
    GraphML load again as the same DAG; the small files that travel with it are not in them.
    """
    # They bring NetworkX, which no other command waits for.
    from p3s.engine.exports import write_dot, write_graphml  # noqa: PLC0415
    from p3s.engine.writing import write_json, write_yaml  # noqa: PLC0415

    writers = {"yaml": write_yaml, "json": write_json, "graphml": write_graphml, "dot": write_dot}
    click.echo(writers["json" if as_json else kind](find_spec(thing, url)), nl=False)


def find_spec(thing: str, url: str | None) -> DagSpec:
    """Return the DAG that is meant: by a file, a workflow or a stored DAG.

    Raises
    ------
    NotFound
        If it is none of the three.
    """
    from p3s.engine.load import load_dag  # noqa: PLC0415 - as above
    from p3s.submit import read_dag_file  # noqa: PLC0415

    if thing == "-" or Path(thing).is_file():
        text, name, _ = read_dag_file(thing)
        return load_dag(text, name)
    return _fetch_spec(connect(url), thing)


def _fetch_spec(client: Client, thing: str) -> DagSpec:
    from p3s.engine.load import load_dag  # noqa: PLC0415 - as above
    from p3s.engine.overrides import override_dag  # noqa: PLC0415

    try:
        found = client.show_workflow(thing)
    except NotFound:
        try:
            dag = client.show_dag(thing)
        except NotFound:
            hint = "it is no file here, no workflow and no DAG; `p3s dag list` shows what is stored"
            raise NotFound("DAG", thing, hint) from None
        return load_dag(dag.text, dag.file)
    if found.dag is None:
        raise NotFound("DAG", thing, "the workflow is a standalone job, or its DAG was deleted")
    dag = client.show_dag(found.dag, version=found.version, owner=found.owner)
    return override_dag(load_dag(dag.text, dag.file), found.overrides)
