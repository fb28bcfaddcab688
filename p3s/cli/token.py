"""``p3s token``: who may call the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from p3s.cli.common import (
    add_confirm_options,
    add_example,
    add_output_options,
    add_server_option,
    confirm_action,
    connect,
)
from p3s.cli.output import Columns, clean_text, format_age, format_since, print_items, print_json, tell
from p3s.cli.values import DURATION
from p3s.clock import read_clock

if TYPE_CHECKING:
    from p3s.wire import NewTokenView

__all__ = ["create", "list_tokens", "revoke", "rotate"]

ROLES = ("viewer", "submitter", "pilot", "admin")

COLUMNS: Columns = {
    "NAME": lambda item: item.name,
    "ROLE": lambda item: item.role,
    "STATE": lambda item: item.state,
    "SITE": lambda item: item.site or "-",
    "AGE": lambda item: format_since(item.created),
    "EXPIRES": lambda item: _format_end(item.expires),
    "USED": lambda item: format_since(item.used),
}


@add_example("p3s token create anna --role submitter --expires 90d", "p3s token create farm --role pilot --site cern")
@click.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it admits.")
@click.option("--expires", type=DURATION, help="Its life, such as 30d; else it does not end by itself.")
@click.option("--site", help="Bind a pilot token to this site.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def create(name: str, role: Any, expires: float | None, site: str | None, url: str | None, *, as_json: bool) -> None:
    """Make a token and print it, this once.

    A viewer reads. A submitter also submits, and changes what is its own. A pilot token registers pilots, nothing
    else. An admin may do everything. Jobs belong to the token's name.
    """
    _show_secret(connect(url).create_token(name, role, expires=expires, site=site), as_json=as_json)


@add_example("p3s token list")
@click.command()
@add_output_options
@add_server_option
def list_tokens(url: str | None, *, as_json: bool, quiet: bool) -> None:
    """List all tokens, also those that have ended; secrets are never shown."""
    found = connect(url).list_tokens().items
    print_items(found, COLUMNS, noun="tokens", as_json=as_json, quiet=quiet, ident=lambda item: item.name)


@add_example("p3s token revoke anna", "p3s token revoke farm --yes")
@click.command()
@click.argument("name")
@add_confirm_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def revoke(name: str, url: str | None, *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """End a token now and for good.

    Pilots that it registered are cut off at once, too; what they run is given to others when their lease ends.
    """
    client = connect(url)
    if not confirm_action("revoke", [f"token {clean_text(name)}"], client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    view = client.revoke_token(name)
    if as_json:
        print_json(view)
    tell(f"token {view.name} is revoked")
    return 0


@add_example("p3s token rotate anna", "p3s token rotate farm --expires 90d")
@click.command()
@click.argument("name")
@click.option("--expires", type=DURATION, help="A new life from now on; else the end stays as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def rotate(name: str, expires: float | None, url: str | None, *, as_json: bool) -> None:
    """Give a token a new secret and print it, this once.

    The old secret ends now. Pilots that registered with it go on; `p3s token revoke` cuts them off.
    """
    _show_secret(connect(url).rotate_token(name, expires=expires), as_json=as_json)


def _show_secret(made: NewTokenView, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        click.echo(made.secret)
    tell(f"this is the token of {made.name} ({made.role}); it is not shown again. `p3s login` keeps it")


def _format_end(moment: float | None) -> str:
    if moment is None:
        return "never"
    left = moment - read_clock()
    return f"in {format_age(left)}" if left > 0 else "over"
