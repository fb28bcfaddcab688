"""``p3s dataset``: units of data between jobs."""

from __future__ import annotations

from pathlib import Path

import click

from p3s.cli.common import (
    add_example,
    add_list_options,
    add_output_options,
    add_server_option,
    add_state_option,
    collect_pages,
    connect,
)
from p3s.cli.output import (
    Columns,
    format_since,
    format_size,
    print_fields,
    print_items,
    print_json,
    shorten_id,
    tell,
)
from p3s.engine.places import check_location, is_url, normalise_place
from p3s.engine.states import DatasetState
from p3s.errors import BadInput, Problem
from p3s.wire import RegisterDatasetBody

__all__ = ["list_datasets", "register", "show"]

COLUMNS: Columns = {
    "ID": lambda item: shorten_id(item.uuid),
    "KEY": lambda item: item.key,
    "STATE": lambda item: item.state,
    "SIZE": lambda item: format_size(item.size),
    "WORKFLOW": lambda item: shorten_id(item.workflow),
    "PRODUCER": lambda item: item.producer or "-",
    "AGE": lambda item: format_since(item.created),
    "PLACE": lambda item: item.place or "-",
}


@add_example("p3s dataset register /data/run004610.csv", "p3s dataset register s3://raw/004610.h5 --size 1048576")
@click.command()
@click.argument("place")
@click.option("--site", default="default", show_default=True, help="Whose pilots can read the place.")
@click.option("--type", "datatype", default="", help="Its kind.")
@click.option("--size", type=click.IntRange(0), help="Bytes; else what the file system says.")
@click.option("--checksum", default="", help="As algorithm:hex.")
@click.option("--comment", default="", help="For people.")
@click.option("--no-check", is_flag=True, help="Do not look whether a path exists here.")
@add_output_options
@add_server_option
def register(
    place: str,
    site: str,
    datatype: str,
    size: int | None,
    checksum: str,
    comment: str,
    url: str | None,
    *,
    no_check: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say that data is there.

    PLACE is a path or a URL. Jobs that wait for it are released.
    """
    if is_url(place):
        if wrong := check_location(place):
            raise BadInput([Problem(f"'{place}' {wrong}")])
        place = normalise_place(place)
    if not is_url(place):
        path = Path(place).absolute()
        if not no_check:
            if not path.exists():
                raise BadInput([Problem("does not exist here; give --no-check if pilots can see it", file=str(path))])
            size = path.stat().st_size if size is None else size
        place = str(path)
    body = RegisterDatasetBody(place=place, site=site, datatype=datatype, size=size, checksum=checksum, comment=comment)
    found = connect(url).register_dataset(body)
    if as_json:
        print_json(found)
    else:
        click.echo(found.uuid)
        if not quiet:
            tell(f"{found.place} is {found.state}")


@add_example("p3s dataset list --workflow @last", "p3s dataset list --state expected")
@click.command()
@click.option("--workflow", metavar="ID", help="Only those of this workflow.")
@add_state_option(DatasetState)
@add_list_options
def list_datasets(
    url: str | None, workflow: str | None, state: str | None, limit: int, *, as_json: bool, quiet: bool
) -> None:
    """List datasets, newest first."""
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_datasets(workflow=workflow, state=state, limit=size, cursor=cursor),
        limit,
    )
    print_items(found, COLUMNS, noun="datasets", as_json=as_json, quiet=quiet)


@add_example("p3s dataset show 77c0")
@click.command()
@click.argument("ident", metavar="ID")
@add_output_options
@add_server_option
def show(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show one dataset."""
    found = connect(url).show_dataset(ident)
    if as_json:
        print_json(found)
    elif quiet:
        click.echo(found.uuid)
    else:
        print_fields(
            [
                ("id", found.uuid),
                ("key", found.key),
                ("state", found.state),
                ("place", found.place or ""),
                ("size", format_size(found.size)),
                ("checksum", found.checksum),
                ("type", found.datatype),
                ("site", found.site),
                ("workflow", found.workflow or ""),
                ("producer", found.producer or ""),
                ("consumers", " ".join(found.consumers)),
                ("created", f"{format_since(found.created)} ago"),
            ]
        )
