"""What the commands share: their options, the connection, and the question before something is ended."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from p3s.settings import read_client_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from enum import StrEnum

    from p3s.client import Client

__all__ = [
    "LARGEST_PAGE",
    "add_confirm_options",
    "add_example",
    "add_list_options",
    "add_output_options",
    "add_server_option",
    "add_state_option",
    "collect_pages",
    "confirm_action",
    "connect",
    "parse_pairs",
]

F = TypeVar("F", bound="Callable[..., Any]")
Item = TypeVar("Item")

#: The largest page that a server gives.
LARGEST_PAGE = 1000


class Page(Protocol[Item]):
    """A page of a listing."""

    @property
    def items(self) -> list[Item]:
        """What is on it."""

    @property
    def next(self) -> str | None:
        """Where the next one begins."""


def add_server_option(function: F) -> F:
    """Give a command ``--server``."""
    return click.option(
        "--server",
        "url",
        metavar="URL",
        help="The server; else P3S_SERVER, p3s.toml, the login, what runs here.",
    )(function)


def add_output_options(function: F) -> F:
    """Give a command ``--json`` and ``-q``."""
    function = click.option("-q", "--quiet", is_flag=True, help="Print ids only.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def add_list_options(function: F) -> F:
    """Give a listing ``--limit``, the output options and the server."""
    function = add_output_options(add_server_option(function))
    return click.option(
        "-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most this many."
    )(function)


def add_state_option(states: type[StrEnum]) -> Callable[[F], F]:
    """Return a decorator that gives a listing ``--state``."""
    # Given an enumeration itself, click would take the names of its members, not their words.
    words = click.Choice([state.value for state in states])
    return click.option("--state", type=words, help="Only those in this state.")


def add_confirm_options(function: F) -> F:
    """Give a command that ends things ``--yes`` and ``--dry-run``."""
    function = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(function)
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def add_example(*lines: str) -> Callable[[click.Command], click.Command]:
    """Return a decorator that puts example command lines below a command's help."""

    def attach(command: click.Command) -> click.Command:
        head = "Example:" if len(lines) == 1 else "Examples:"
        shown = "\n".join(f"  {line}" for line in lines)
        # Without its indentation already: click takes off only what all lines have.
        command.help = f"{inspect.cleandoc(command.help or '')}\n\n\b\n{head}\n{shown}"
        return command

    return attach


def connect(url: str | None) -> Client:
    """Return a client for the server that the option, the environment and the config files name."""
    # The client brings requests and pydantic, which a mistyped command need not wait for.
    from p3s.client import Client  # noqa: PLC0415

    settings = read_client_settings(url)
    return Client(settings.url, settings.token)


def collect_pages(ask: Callable[[int, str | None], Page[Item]], limit: int) -> list[Item]:
    """Return up to `limit` items of a listing.

    Parameters
    ----------
    ask : function
        Takes the size of a page and the place where it begins.
    limit : int
        At most this many.
    """
    found: list[Item] = []
    cursor: str | None = None
    while len(found) < limit:
        page = ask(min(LARGEST_PAGE, limit - len(found)), cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    return found[:limit]


def confirm_action(action: str, things: Sequence[str], url: str, *, yes: bool, dry_run: bool) -> bool:
    """Say what is about to be done and where, and ask whether it should be.

    Parameters
    ----------
    action : str
        The verb, such as ``cancel``.
    things : sequence of str
        What it is done to, one line each.
    url : str
        The server.
    yes, dry_run : bool
        The options.

    Returns
    -------
    bool
        Whether to go on.

    Raises
    ------
    click.UsageError
        If nobody can be asked.
    """
    click.echo(f"{'would ' if dry_run else ''}{action} on {url}:", err=True)
    for thing in things:
        click.echo(f"  {thing}", err=True)
    if dry_run:
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody is there to be asked; give --yes to {action} these")
    if click.confirm("go on?", err=True):
        return True
    click.echo("nothing was done", err=True)
    return False


def parse_pairs(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Return ``K=V`` texts as a dict.

    Raises
    ------
    click.UsageError
        If a text has no ``=``, or a name is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} '{pair}' is not of the form NAME=VALUE")
        if name in found:
            raise click.UsageError(f"{option} {name} is given twice")
        found[name] = value
    return found
