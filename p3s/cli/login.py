"""``p3s login``: check a token and keep it."""

from __future__ import annotations

import sys

import click

from p3s.cli.common import add_example
from p3s.cli.output import print_json, tell
from p3s.client import Client
from p3s.settings import is_loopback, read_client_settings, store_login

__all__ = ["login"]


@add_example("p3s login --server https://farm.example.org", "p3s login < token.txt")
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--server", "url", metavar="URL", help="The server; else the one that commands use now.")
def login(url: str | None, *, as_json: bool) -> None:
    """Check a token and keep it for later commands.

    The token is asked for without being shown; off a terminal it is read from stdin. It is stored in a file
    that only you can read and is sent to this server only, which later commands use by default.
    """
    chosen = read_client_settings(url).url
    if not chosen.startswith("https://") and not is_loopback(chosen):
        tell(f"warning: {chosen} is not encrypted; whoever is on the way can read the token")
    if sys.stdin.isatty():
        token = click.prompt(f"token for {chosen}", hide_input=True, err=True)
    else:
        token = sys.stdin.readline()
    token = token.strip()
    if not token:
        raise click.UsageError("there was no token on stdin; type or pipe one")
    who = Client(chosen, token).ask_who()
    path = store_login(chosen, token)
    if as_json:
        print_json({"server": chosen, "name": who.name, "role": who.role, "file": str(path)})
    else:
        tell(f"logged in to {chosen} as {who.name} ({who.role}); the token is kept in {path}")
