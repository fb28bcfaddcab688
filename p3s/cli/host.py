"""``p3s host``: machines that pilots run on."""

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
from p3s.cli.output import Columns, clean_text, print_items, tell

if TYPE_CHECKING:
    from p3s.wire import HostList

__all__ = ["allow", "ban", "list_hosts"]

COLUMNS: Columns = {
    "HOST": lambda item: item.name,
    "STATE": lambda item: "banned" if item.banned else "allowed",
    "PILOTS": lambda item: str(item.pilots),
    "BURNT": lambda item: str(item.burnt),
    "REASON": lambda item: clean_text(item.reason) or "-",
}


@add_example("p3s host list")
@click.command()
@add_output_options
@add_server_option
def list_hosts(url: str | None, *, as_json: bool, quiet: bool) -> None:
    """List hosts with live pilots, and those that are banned.

    BURNT counts the different jobs that could not be run there in a row.
    """
    _print(connect(url).list_hosts(), as_json=as_json, quiet=quiet)


@add_example("p3s host ban node17 --reason 'its disk is being replaced'", "p3s host ban node17 --yes")
@click.command()
@click.argument("name")
@click.option("--reason", default="", help="Shown to whoever asks why.")
@add_confirm_options
@add_output_options
@add_server_option
def ban(name: str, reason: str, url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Give a host no more jobs; what runs there runs on."""
    client = connect(url)
    if not confirm_action("ban", [f"host {clean_text(name)}"], client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    _print(client.ban_host(name, reason), as_json=as_json, quiet=quiet)
    tell(f"host {clean_text(name)} gets no more jobs; `p3s host allow {clean_text(name)}` lets it go on")
    return 0


@add_example("p3s host allow node17")
@click.command()
@click.argument("name")
@add_output_options
@add_server_option
def allow(name: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Give a banned host jobs again."""
    _print(connect(url).allow_host(name), as_json=as_json, quiet=quiet)


def _print(found: HostList, *, as_json: bool, quiet: bool) -> None:
    print_items(found.items, COLUMNS, noun="hosts", as_json=as_json, quiet=quiet, ident=lambda item: item.name)
