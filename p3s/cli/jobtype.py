"""``p3s jobtype``: classes of jobs and their caps."""

from __future__ import annotations

import click

from p3s.cli.common import add_example, add_output_options, add_server_option, connect
from p3s.cli.output import Columns, print_items, print_json, tell

__all__ = ["limit", "list_jobtypes"]

COLUMNS: Columns = {
    "NAME": lambda item: item.name,
    "CAP": lambda item: "-" if item.cap is None else "suspended" if item.cap == 0 else str(item.cap),
    "RUNNING": lambda item: str(item.running),
    "READY": lambda item: str(item.ready),
}


@add_example("p3s jobtype list")
@click.command()
@add_output_options
@add_server_option
def list_jobtypes(url: str | None, *, as_json: bool, quiet: bool) -> None:
    """List jobtypes, their caps and what is open of them."""
    found = connect(url).list_jobtypes().items
    print_items(found, COLUMNS, noun="jobtypes", as_json=as_json, quiet=quiet, ident=lambda item: item.name)


@add_example("p3s jobtype limit larsoft 20", "p3s jobtype limit larsoft 0", "p3s jobtype limit larsoft none")
@click.command()
@click.argument("name")
@click.argument("cap", metavar="NUMBER|none")
@add_output_options
@add_server_option
def limit(name: str, cap: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Cap the jobs of a type that run at once; 0 suspends it.

    What runs already runs on and counts. `none` lifts the cap.
    """
    if cap != "none" and not (cap.isascii() and cap.isdigit() and int(cap) <= 1_000_000):
        raise click.UsageError(f"'{cap}' is neither a number from 0 to 1000000 nor `none`")
    found = connect(url).limit_jobtype(name, None if cap == "none" else int(cap))
    if as_json:
        print_json(next((item for item in found.items if item.name == name), {"name": name, "cap": None}))
        return
    click.echo(name)
    if not quiet:
        said = {"none": "has no cap now", "0": "is suspended; what runs, runs on"}
        tell(f"jobtype {name} {said.get(cap, f'may have {cap} jobs with pilots at once')}")
