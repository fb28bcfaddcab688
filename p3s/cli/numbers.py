"""``p3s dag numbers``: the numbers in JSON results, as a table that plots begin from."""

from __future__ import annotations

from typing import Any

import click

from p3s.cli.common import add_example, add_list_options, collect_pages, connect
from p3s.cli.output import format_since, print_json, print_table, shorten_id, tell

__all__ = ["numbers"]


@add_example("p3s dag numbers quakes", "p3s dag numbers quakes --key fit.slope --json")
@click.command()
@click.argument("name")
@click.option("--key", help="Only this number, such as fit.slope.")
@click.option("--owner", help="Only workflows of this owner.")
@add_list_options
def numbers(
    name: str, key: str | None, owner: str | None, url: str | None, limit: int, *, as_json: bool, quiet: bool
) -> None:
    """List the numbers in a DAG's JSON results, for plots.

    One line for each result, newest first, with the workflow's params. `results:` of the DAG names what is kept.
    """
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_numbers(name, key=key, owner=owner, limit=size, cursor=cursor), limit
    )
    if as_json:
        print_json(found)
    elif quiet:
        for uuid in dict.fromkeys(item.workflow for item in found):
            click.echo(uuid)
    elif not found:
        tell("no numbers: no result of this DAG is a JSON object with numbers" + (f" at {key}" if key else ""))
    else:
        params = sorted({param for item in found for param in item.params})
        keys = sorted({place for item in found for place in item.numbers})
        heads = ["WORKFLOW", "AGE", *params, "RESULT", *keys]
        rows = [
            [
                shorten_id(item.workflow),
                format_since(item.created),
                *(item.params.get(param, "-") for param in params),
                item.result,
                *(_show(item.numbers.get(place)) for place in keys),
            ]
            for item in found
        ]
        print_table(heads, rows)


def _show(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}"
