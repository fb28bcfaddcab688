"""``p3s workflow graph``: a workflow's graph in the terminal, or as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_server_option, connect, parse_pairs
from p3s.cli.output import clean_text, color_state, print_json, tell
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from p3s.engine.drawing import Picture

__all__ = ["graph"]


@add_example("p3s workflow graph @last", "p3s workflow graph @last --svg graph.svg", "p3s workflow graph dag.yaml")
@click.command()
@click.argument("thing", metavar="FILE|ID")
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter of a FILE; repeatable.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="Draw it to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print nodes and edges as JSON.")
@add_server_option
def graph(thing: str, params: tuple[str, ...], svg: Path | None, url: str | None, *, as_json: bool) -> None:
    """Draw a workflow's graph, with states as colours.

    Each line is a job, further to the right than all that it waits for. A FILE is drawn as it would be loaded.
    """
    # It brings NetworkX, which most commands do without.
    from p3s.engine.drawing import draw_svg, list_rows  # noqa: PLC0415

    title, picture = _read_file(thing, params) if Path(thing).is_file() else _fetch(thing, params, url)
    if svg is not None:
        text = draw_svg(picture, title)
        if str(svg) == "-":
            click.echo(text, nl=False)
            return
        try:
            svg.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadInput([Problem(f"cannot be written ({error.strerror})", file=str(svg))]) from error
        tell(f"drawn to {svg}")
        return
    rows = list_rows(picture)
    if as_json:
        keys = ("layer", "noun", "name", "state", "after")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    for layer, noun, name, state, after in rows:
        mark = "o" if noun == "job" else "="
        said = f"  <- {', '.join(after)}" if after else ""
        click.echo(f"{'  ' * layer}{mark} {clean_text(name)}  {color_state(state)}".rstrip() + clean_text(said))


def _read_file(file: str, params: tuple[str, ...]) -> tuple[str, Picture]:
    from p3s.engine.drawing import Picture  # noqa: PLC0415 - as above
    from p3s.engine.graph import build_graph  # noqa: PLC0415
    from p3s.submit import prepare_plan  # noqa: PLC0415

    plan = prepare_plan(file, parse_pairs(params, "-p"))
    found = build_graph(plan)
    return plan.name, Picture(dict.fromkeys(found.nodes, ""), tuple(found.edges))


def _fetch(ident: str, params: tuple[str, ...], url: str | None) -> tuple[str, Picture]:
    from p3s.engine.drawing import Picture  # noqa: PLC0415 - as above

    if params:
        raise click.UsageError(f"-p goes with a file, and there is no file {ident}")
    client = connect(url)
    workflow = client.show_workflow(ident)
    found = client.show_graph(workflow.uuid)
    states = {("job", job.name): str(job.state) for job in found.jobs}
    states |= {("dataset", data.key): str(data.state) for data in found.datasets}
    edges = tuple((_split(edge.source), _split(edge.target)) for edge in found.edges)
    return f"{workflow.name} {workflow.uuid} {workflow.state}", Picture(states, edges)


def _split(end: str) -> tuple[str, str]:
    noun, _, name = end.partition(":")
    return noun, name
