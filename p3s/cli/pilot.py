"""``p3s pilot``: look at pilots, read their logs, end them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import (
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
from p3s.cli.output import (
    Columns,
    clean_text,
    format_age,
    format_since,
    format_size,
    print_fields,
    print_items,
    print_json,
    print_line,
    shorten_id,
    tell,
)
from p3s.engine.states import PilotState
from p3s.errors import BadInput, Problem
from p3s.settings import find_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.wire import PilotView

__all__ = ["drain", "kill", "list_pilots", "log", "show"]

COLUMNS: Columns = {
    "ID": lambda item: shorten_id(item.uuid),
    "NAME": lambda item: item.name or "-",
    "STATE": lambda item: item.state,
    "BUSY": lambda item: f"{item.busy}/{item.slots}",
    "DONE": lambda item: str(item.done),
    "FAILED": lambda item: str(item.failed),
    "SITE": lambda item: item.site,
    "HOST": lambda item: item.host,
    "HEARD": lambda item: format_age(item.age),
    "AGE": lambda item: format_since(item.created),
}


@add_example("p3s pilot list --live", "p3s pilot list --state timeout --json")
@click.command()
@add_state_option(PilotState)
@click.option("--live", is_flag=True, help="Only those that are here now.")
@add_list_options
def list_pilots(url: str | None, state: str | None, limit: int, *, live: bool, as_json: bool, quiet: bool) -> None:
    """List pilots, newest first."""
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_pilots(state=state, live=live, limit=size, cursor=cursor), limit
    )
    print_items(found, COLUMNS, noun="pilots", as_json=as_json, quiet=quiet)


@add_example("p3s pilot show 4f3a")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def show(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show one pilot."""
    found = connect(url).show_pilot(ident)
    if as_json:
        print_json(found)
    elif quiet:
        click.echo(found.uuid)
    else:
        print_fields(
            [
                ("id", found.uuid),
                ("name", found.name),
                ("state", found.state),
                ("status", found.status),
                ("reason", found.reason),
                ("site", found.site),
                ("host", f"{found.host}, process {found.pid}"),
                ("version", found.version),
                ("slots", f"{found.busy} of {found.slots} busy"),
                ("cpus", str(found.cpus)),
                ("memory", format_size(found.memory) if found.memory else ""),
                ("labels", " ".join(found.labels)),
                ("accepts", " ".join([*found.accepts.users, *found.accepts.jobtypes]) or "all"),
                ("lifetime", f"{format_age(found.lifetime)} left" if found.lifetime is not None else ""),
                ("jobs", f"{found.done} done, {found.failed} failed"),
                ("heard", f"{format_age(found.age)} ago"),
                ("started", f"{format_since(found.created)} ago"),
            ]
        )


@add_example("p3s pilot log 4f3a", "p3s pilot log 4f3a --log /var/log/p3s")
@click.command()
@click.argument("ident", metavar="ID")
@click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder that the pilot was given; else the one of the home folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each line as a line of JSON.")
@add_server_option
def log(ident: str, folder: Path | None, url: str | None, *, as_json: bool) -> None:
    """Print a pilot's log if it is on this host."""
    found = connect(url).show_pilot(ident)
    path = (folder or find_home().logs) / f"{found.uuid}.log"
    if not path.exists():
        message = (
            f"is not on this host; pilot {shorten_id(found.uuid)} runs on {found.host}: look there, "
            "in the folder that its --log names"
        )
        raise BadInput([Problem(message, file=str(path))])
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if as_json:
                print_line({"pilot": found.uuid, "line": line.rstrip("\n")})
            else:
                sys.stdout.write(line)


@add_example("p3s pilot drain 4f3a", "p3s pilot drain --dry-run $(p3s pilot list --live -q)")
@click.command()
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
@add_confirm_options
@add_output_options
@add_server_option
def drain(idents: tuple[str, ...], url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Let pilots finish what they run, then exit."""
    client = connect(url)
    return _end_pilots(
        "drain",
        [client.show_pilot(ident) for ident in idents],
        client.drain_pilot,
        client.url,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@add_example("p3s pilot kill 4f3a", "p3s pilot kill --yes 4f3a 77c0")
@click.command()
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
@add_confirm_options
@add_output_options
@add_server_option
def kill(idents: tuple[str, ...], url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Make pilots stop their payloads and exit.

    The jobs that they ran go back to the queue.
    """
    client = connect(url)
    return _end_pilots(
        "kill",
        [client.show_pilot(ident) for ident in idents],
        client.kill_pilot,
        client.url,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


def _end_pilots(
    action: str,
    found: list[PilotView],
    act: Callable[[str], PilotView],
    url: str,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    things = [
        clean_text(f"pilot {shorten_id(item.uuid)} {item.name} on {item.host} ({item.busy} payloads)") for item in found
    ]
    if not confirm_action(action, things, url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    done = [act(item.uuid) for item in found]
    if as_json:
        print_json(done)
        return 0
    for item in done:
        click.echo(item.uuid)
        if not quiet:
            tell(f"{item.name or shorten_id(item.uuid)} was told to {action}")
    return 0
