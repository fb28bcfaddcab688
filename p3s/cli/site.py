"""``p3s site``: settings that the pilots of a site share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from p3s.cli.common import (
    add_confirm_options,
    add_example,
    add_output_options,
    add_server_option,
    confirm_action,
    connect,
)
from p3s.cli.output import (
    Columns,
    clean_text,
    format_age,
    format_since,
    print_fields,
    print_items,
    print_json,
    print_table,
    tell,
)
from p3s.errors import BadInput

if TYPE_CHECKING:
    from p3s.errors import Problem
    from p3s.wire import SiteView

__all__ = ["define", "delete", "list_sites", "show"]


def _format_pilots(item: SiteView) -> str:
    return f"{item.live}/{item.pilots}" if item.pilots else str(item.live)


COLUMNS: Columns = {
    "NAME": lambda item: item.name,
    "PILOTS": _format_pilots,
    "CYCLES": lambda item: "-" if item.pilotcycles is None else str(item.pilotcycles),
    "PERIOD": lambda item: format_age(item.pilotperiod),
    "LIFE": lambda item: format_age(item.pilotlife),
    "SERVER": lambda item: item.server or "-",
    "DATA": lambda item: item.data or "-",
    "CHANGED": lambda item: format_since(item.changed) if item.defined else "not defined",
}


@add_example("p3s site define lxvm.json", 'p3s site define \'{"name": "lxvm", "pilots": 4, "pilotcycles": 20}\'')
@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@add_output_options
@add_server_option
def define(files: tuple[str, ...], url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Define sites from files, or define them anew.

    FILE is JSON or YAML with `name` and any of `server`, `env`, `pilots`, `pilotcycles`, `pilotperiod`, `pilotbeat`,
    `pilotlife`, `data` and `batch`, or that JSON itself. Pilots that run keep what they were told.
    """
    from p3s.submit import read_file, read_site  # noqa: PLC0415 - it brings the YAML reader

    problems: list[Problem | str] = []
    specs = []
    for file in files:
        try:
            text, name = (file, "the site") if file.lstrip().startswith("{") else read_file(file)[:2]
            specs.append(read_site(text, name))
        except BadInput as error:
            problems += error.problems
    names = [spec.name for spec in specs]
    problems += [f"site {name} is defined twice; give it once" for name in sorted({*names}) if names.count(name) > 1]
    if problems:
        raise BadInput(problems)
    client = connect(url)
    found = [client.define_site(spec) for spec in specs]
    if as_json:
        print_json(found)
        return
    for item in found:
        click.echo(item.name)
        if not quiet:
            tell(f"site {item.name} is defined; pilots that start with --site {item.name} take its settings")


@add_example("p3s site list")
@click.command()
@add_output_options
@add_server_option
def list_sites(url: str | None, *, as_json: bool, quiet: bool) -> None:
    """List sites, also those that only live pilots name.

    PILOTS counts those that are here now, of those that there should be.
    """
    found = connect(url).list_sites().items
    print_items(found, COLUMNS, noun="sites", as_json=as_json, quiet=quiet, ident=lambda item: item.name)


@add_example("p3s site show lxvm")
@click.command()
@click.argument("name")
@add_output_options
@add_server_option
def show(name: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show one site, and where each setting comes from."""
    found = connect(url).show_site(name)
    if as_json:
        print_json(found)
        return
    if quiet:
        click.echo(found.name)
        return
    nominal = "no number is defined" if found.pilots is None else f"of {found.pilots}"
    print_fields(
        [
            ("name", found.name),
            ("pilots", f"{found.live} here now, {nominal}"),
            *([("batch system", found.batch)] if found.batch else []),
            ("changed", f"{format_since(found.changed)} ago" if found.defined else "never: nobody has defined it"),
        ]
    )
    click.echo()
    rows = [
        ("server", found.server, "what the pilot was told", "--server"),
        ("pilotcycles", found.pilotcycles, "0", "--cycles"),
        ("pilotperiod", _format_seconds(found.pilotperiod), "50s", "--period"),
        ("pilotbeat", _format_seconds(found.pilotbeat), "what the server asks for", "--beat"),
        ("pilotlife", _format_seconds(found.pilotlife), "no end", "--lifetime"),
        ("data", found.data, "the pilot's home folder", "--data"),
        *((f"env.{key}", value, "", "a job's env") for key, value in sorted(found.env.items())),
    ]
    shown = [
        (key, default if value in {None, ""} else str(value), "p3s" if value in {None, ""} else "site", option)
        for key, value, default, option in rows
    ]
    print_table(["SETTING", "VALUE", "FROM", "WINS OVER IT"], [[clean_text(cell) for cell in row] for row in shown])


@add_example("p3s site delete lxvm")
@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@add_confirm_options
@add_output_options
@add_server_option
def delete(names: tuple[str, ...], url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Forget what was defined of sites; their pilots run on."""
    client = connect(url)
    found = [client.show_site(name) for name in dict.fromkeys(names)]
    things = [clean_text(f"site {item.name} ({item.live} live pilots)") for item in found]
    if not confirm_action("delete", things, client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    for item in found:
        client.delete_site(item.name)
    if as_json:
        print_json([{"name": item.name} for item in found])
        return 0
    for item in found:
        click.echo(item.name)
    if not quiet:
        tell(f"{len(found)} forgotten")
    return 0


def _format_seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:g}s"
