"""``p3s event``: the log of all that happened."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_server_option, connect
from p3s.cli.output import Columns, clean_text, print_items, print_json, print_line, tell
from p3s.errors import BadInput

if TYPE_CHECKING:
    from p3s.wire import EventView

__all__ = ["list_events", "report"]

#: What a report may be about, and how long it may be.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,35}")
MOST = 4000
#: Seconds between two questions of one who follows.
PAUSE = 1.0


def _format_time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


COLUMNS: Columns = {
    "TIME": lambda item: _format_time(item.at),
    "NOUN": lambda item: item.noun,
    "ID": lambda item: item.uuid if item.noun == "report" else item.uuid[:8],
    "SIGNAL": lambda item: item.signal,
    "STATE": lambda item: item.after or "-",
    "CAUSE": lambda item: item.cause or "-",
}


@add_example("p3s event list", "p3s event list --noun workflow --follow", "p3s event list --id 4f3a")
@click.command()
@click.option("--noun", help="Only of this kind, such as job, workflow, file or report.")
@click.option("--id", "thing", help="Only of the object whose id begins so.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; one line per event with --follow.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@add_server_option
def list_events(
    noun: str | None, thing: str | None, limit: int, url: str | None, *, follow: bool, as_json: bool, quiet: bool
) -> None:
    """List the newest events, oldest first."""
    client = connect(url)
    page = client.list_events(noun=noun, thing=thing, limit=limit)
    if not follow:
        print_items(page.items, COLUMNS, noun="events", as_json=as_json, quiet=quiet)
        return
    while True:
        for item in page.items:
            _print_one(item, as_json=as_json, quiet=quiet)
        if len(page.items) < limit:
            time.sleep(PAUSE)
        page = client.list_events(after=page.next, noun=noun, thing=thing, limit=limit)


@add_example("p3s event report run-control 'run 4610 has begun'")
@click.command()
@click.argument("name")
@click.argument("message")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def report(name: str, message: str, url: str | None, *, as_json: bool) -> None:
    """Add what happened outside to the log.

    NAME says what it is about, in at most 36 letters, digits and _ . : -
    """
    if not _NAME.fullmatch(name):
        raise BadInput([f"'{name}' is no name; write at most 36 letters, digits and _ . : - within"])
    if not 0 < len(message) <= MOST:
        raise BadInput([f"the message has {len(message)} characters; write 1 to {MOST}"])
    found = connect(url).report_event(name, message)
    if as_json:
        print_json(found)
    else:
        tell("reported")


def _print_one(item: EventView, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_line(item)
    elif quiet:
        click.echo(item.uuid)
    else:
        click.echo("  ".join(clean_text(show(item)) for show in COLUMNS.values()))
