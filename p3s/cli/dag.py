"""``p3s dag``: stored DAGs."""

from __future__ import annotations

import click

from p3s.cli.common import (
    add_confirm_options,
    add_example,
    add_list_options,
    add_output_options,
    add_server_option,
    collect_pages,
    confirm_action,
    connect,
    parse_pairs,
)
from p3s.cli.load import add_load_options, report_load
from p3s.cli.output import Columns, clean_text, format_since, print_fields, print_items, print_json, tell
from p3s.submit import submit_dag

__all__ = ["delete", "list_dags", "run", "show"]

COLUMNS: Columns = {
    "NAME": lambda item: item.name,
    "VERSION": lambda item: str(item.version),
    "OWNER": lambda item: item.owner,
    "WORKFLOWS": lambda item: str(item.workflows),
    "FILE": lambda item: item.file,
    "AGE": lambda item: format_since(item.created),
}


@add_example("p3s dag list")
@click.command()
@click.option("--owner", help="Only those of this owner.")
@click.option("--name", help="Only those of this name.")
@add_list_options
def list_dags(url: str | None, owner: str | None, name: str | None, limit: int, *, as_json: bool, quiet: bool) -> None:
    """List stored DAGs."""
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_dags(name=name, owner=owner, limit=size, cursor=cursor), limit
    )
    print_items(found, COLUMNS, noun="DAGs", as_json=as_json, quiet=quiet, ident=lambda item: item.name)


@add_example("p3s dag show diamond", "p3s dag show diamond --version 2 > diamond.yaml")
@click.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Else the newest.")
@add_output_options
@add_server_option
def show(name: str, version: int | None, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show a stored DAG and its text.

    The text goes to stdout, the rest to stderr.
    """
    found = connect(url).show_dag(name, version=version)
    if as_json:
        print_json(found)
    elif quiet:
        click.echo(found.name)
    else:
        fields = [
            ("name", found.name),
            ("version", str(found.version)),
            ("owner", found.owner),
            ("digest", found.digest),
            ("loaded from", f"{found.base}/{found.file}"),
            ("files", " ".join(found.files)),
            ("workflows", str(found.workflows)),
        ]
        print_fields(fields, err=True)
        click.echo(found.text, nl=not found.text.endswith("\n"))


@add_example("p3s dag run diamond -p run=004610", "p3s dag run diamond --version 2 --watch")
@click.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Else the newest.")
@add_load_options
@add_output_options
@add_server_option
def run(
    name: str,
    version: int | None,
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
    """Start another workflow of a stored DAG.

    External data is looked for where the DAG was loaded from.
    """
    client = connect(url)
    values = parse_pairs(params, "-p")
    reply = submit_dag(client, name, values, version=version, hold=hold, key=key, site=site)
    return report_load(client, reply, watch=watch, as_json=as_json, quiet=quiet)


@add_example("p3s dag delete diamond", "p3s dag delete diamond --version 1 --yes")
@click.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Else all of them.")
@add_confirm_options
@add_output_options
@add_server_option
def delete(
    name: str, version: int | None, url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool
) -> int:
    """Delete stored DAGs; their workflows stay."""
    client = connect(url)
    found = client.show_dag(name, version=version)
    which = f"version {version}" if version else f"all versions, the newest is {found.version}"
    things = [clean_text(f"DAG {found.name} of {found.owner} ({which})")]
    if not confirm_action("delete", things, client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    client.delete_dag(name, version=version)
    if as_json:
        print_json({"name": found.name, "version": version})
    else:
        click.echo(found.name)
        if not quiet:
            tell("deleted; workflows that were made of it stay")
    return 0
