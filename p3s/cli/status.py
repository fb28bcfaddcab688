"""``p3s status`` and ``p3s why``: what the server has, and why a thing is where it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from p3s.cli.common import add_example, add_output_options, add_server_option, connect
from p3s.cli.output import clean_text, format_age, format_counts, print_fields, print_json, tell
from p3s.engine.places import check_location, is_url, normalise_place

__all__ = ["status", "why"]

#: What an id of a workflow may look like, before the name of a job.
_IDENT = re.compile(r"@last|[0-9a-f][0-9a-f-]{3,35}")


@add_example("p3s status", "p3s status --json")
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_server_option
def status(url: str | None, *, as_json: bool) -> None:
    """Show what the server has, by state."""
    client = connect(url)
    found = client.ask_status()
    if as_json:
        print_json(found)
        return
    for alarm in found.alarms:
        tell(f"alarm: {clean_text(alarm)}")
    print_fields(
        [
            (
                "server",
                f"{client.url} (p3s {found.version}, {found.database}, up {format_age(found.uptime)})",
            ),
            ("workflows", format_counts(found.workflows) if found.workflows else "none"),
            ("jobs", format_counts(found.jobs) if found.jobs else "none"),
            ("pilots", format_counts(found.pilots) if found.pilots else "none"),
            ("datasets", format_counts(found.datasets) if found.datasets else "none"),
            ("services", format_counts(found.services) if found.services else "none"),
        ]
    )


@add_example("p3s why @last", "p3s why @last/summary", "p3s why 4f3a", "p3s why lxvm", "p3s why /data/run004610.h5")
@click.command()
@click.argument("thing")
@add_output_options
@add_server_option
def why(thing: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Say in one sentence why a thing is where it is.

    THING is the id of a job, a workflow, a dataset or a pilot, WORKFLOW/JOB by name, the name of a host, a site or an
    injector, or the path or URL of a file. Where a host and a site have one name, site:NAME says which.
    """
    client = connect(url)
    place = _find_place(thing)
    answer = client.explain_place(place) if place else client.explain(thing)
    if as_json:
        print_json(answer)
    elif quiet:
        click.echo(answer.uuid)
    else:
        click.echo(clean_text(answer.sentence))


def _find_place(thing: str) -> str | None:
    """Return the absolute path or the URL if `thing` is one, None if it is an id."""
    if is_url(thing):
        return thing if check_location(thing) else normalise_place(thing)
    path = Path(thing)
    head, slash, _ = thing.partition("/")
    if (slash and not _IDENT.fullmatch(head)) or (not slash and path.suffix and path.exists()):
        return os.path.normpath(path.absolute())
    return None
