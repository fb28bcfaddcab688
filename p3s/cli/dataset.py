"""``p3s dataset``: units of data between jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    format_count,
    format_since,
    format_size,
    print_fields,
    print_items,
    print_json,
    shorten_id,
    tell,
)
from p3s.engine.names import check_checksum
from p3s.engine.places import check_location, is_url, normalise_place
from p3s.engine.states import DatasetState
from p3s.errors import BadInput, NotFound, Problem
from p3s.submit import compute_checksum, read_objects
from p3s.wire import AdjustDatasetBody, DatasetView, RegisterDatasetBody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.client import Client

__all__ = ["adjust", "delete", "list_datasets", "register", "show"]

COLUMNS: Columns = {
    "ID": lambda item: shorten_id(item.uuid),
    "KEY": lambda item: item.key,
    "VERSION": lambda item: str(item.version),
    "STATE": lambda item: item.state,
    "TYPE": lambda item: item.datatype or "-",
    "SIZE": lambda item: format_size(item.size),
    "WORKFLOW": lambda item: shorten_id(item.workflow),
    "PRODUCER": lambda item: item.producer or "-",
    "AGE": lambda item: format_since(item.created),
    "PLACE": lambda item: item.place or "-",
}
#: What a description in JSON may say; the original's words for a place are taken, too.
KEYS = ("place", "name", "dirpath", "site", "datatype", "size", "checksum", "comment")
#: What the original's descriptions also say; states are moved by what happens, workflows know their data.
IGNORED = ("state", "wf", "wfuuid", "uuid")


@add_example(
    "p3s dataset register /data/run004610.csv",
    "p3s dataset register s3://raw/004610.h5 --size 1048576",
    """p3s dataset register -j '{"place": "/data/a.csv", "datatype": "CSV"}'""",
)
@click.command()
@click.argument("places", metavar="PLACE...", nargs=-1)
@click.option("--site", default="default", show_default=True, help="Whose pilots can read the places.")
@click.option("--type", "datatype", default="", help="Their kind.")
@click.option("--size", type=click.IntRange(0), help="Bytes; else what the file system says.")
@click.option("--checksum", default="", help="adler32:HEX or sha256:HEX; `compute` reads the files.")
@click.option("--comment", default="", help="For people.")
@click.option("-j", "--description", metavar="JSON", help="An object or a list with these, or a file; `-` is stdin.")
@click.option("--no-check", is_flag=True, help="Do not look whether paths exist here.")
@add_output_options
@add_server_option
def register(
    places: tuple[str, ...],
    site: str,
    datatype: str,
    size: int | None,
    checksum: str,
    comment: str,
    description: str | None,
    url: str | None,
    *,
    no_check: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say that data is there.

    PLACE is a path or a URL. Jobs that wait for it are released. Equal content at a place is the same dataset; another
    size or checksum is a new version, and workflows that run keep theirs.
    """
    if bool(places) == (description is not None):
        raise click.UsageError("give either PLACE or --description")
    if size is not None and len(places) > 1:
        raise click.UsageError("--size is that of one place")
    if checksum not in {"", "compute"} and len(places) > 1:
        raise click.UsageError("--checksum is that of one place, or `compute`")
    shared: dict[str, Any] = {"site": site, "datatype": datatype, "checksum": checksum, "comment": comment}
    entries = [shared | {"place": place, "size": size} for place in places]
    if description is not None:
        entries = [shared | entry for entry in _read_description(description)]
    bodies = _make_bodies(entries, check=not no_check)
    client = connect(url)
    found = []
    for body in bodies:
        found.append(client.register_dataset(body))
        if not as_json:
            click.echo(found[-1].uuid)
            if not quiet:
                tell(clean_text(f"{found[-1].place} is {found[-1].state}{_name_version(found[-1])}"))
    if as_json:
        print_json(found[0] if len(places) == 1 else found)


def _read_description(given: str) -> list[dict[str, Any]]:
    found = read_objects(given, "--description", (*KEYS, *IGNORED), needed=())
    problems = []
    for number, entry in enumerate(found):
        name, folder = entry.pop("name", None), entry.pop("dirpath", None)
        if "place" not in entry and name and folder:
            entry["place"] = f"{folder}/{name}"
        if "place" not in entry:
            message = "--description: the key 'place' is missing; `dirpath` and `name` together will do"
            problems.append(Problem(message, where=f"[{number}]"))
        for key in IGNORED:
            if key in entry:
                del entry[key]
                tell(f"`{key}` is not taken: p3s knows it by itself")
    if problems:
        raise BadInput(problems)
    return found


def _make_bodies(entries: Sequence[dict[str, Any]], *, check: bool) -> list[RegisterDatasetBody]:
    """Return the requests, after a look at the files; nothing is sent if any entry is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415 - it takes a while to import

    bodies, problems = [], []
    for number, entry in enumerate(entries):
        place = str(entry["place"])
        where = f"[{number}]" if len(entries) > 1 else ""
        if is_url(place):
            if wrong := check_location(place):
                problems.append(Problem(f"'{place}' {wrong}", where=where))
                continue
            place = normalise_place(place)
        if is_url(place):
            entry["place"] = place
        else:
            path = Path(place).absolute()
            entry["place"] = place = str(path)
            if check and not path.exists():
                problems.append(Problem("does not exist here; give --no-check if pilots can see it", file=str(path)))
                continue
            if check and entry.get("size") is None:
                entry["size"] = path.stat().st_size
        if entry["checksum"] == "compute":
            if is_url(place) or not Path(place).is_file():
                problems.append(Problem("is no file here whose checksum can be computed", file=place))
                continue
            entry["checksum"] = compute_checksum(Path(place))
        elif entry["checksum"] and (wrong := check_checksum(str(entry["checksum"]))):
            problems.append(Problem(f"checksum '{entry['checksum']}' {wrong}", where=where))
            continue
        try:
            bodies.append(RegisterDatasetBody.model_validate(entry))
        except ValidationError as error:
            problems += [
                Problem(item["msg"], where=".".join([where, *map(str, item["loc"])]).strip("."))
                for item in error.errors()
            ]
    if problems:
        raise BadInput(problems)
    return bodies


@add_example("p3s dataset list --workflow @last", "p3s dataset list --state expected", "p3s dataset list --type CSV")
@click.command()
@click.option("--workflow", metavar="ID", help="Only those of this workflow.")
@click.option("--type", "datatype", help="Only those of this kind.")
@click.option("--place", help="Only those at this path or URL: all its versions.")
@add_state_option(DatasetState)
@add_list_options
def list_datasets(
    url: str | None,
    workflow: str | None,
    datatype: str | None,
    place: str | None,
    state: str | None,
    limit: int,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """List datasets, newest first."""
    client = connect(url)
    if place is not None and not is_url(place):
        place = str(Path(place).absolute())
    found = collect_pages(
        lambda size, cursor: client.list_datasets(
            workflow=workflow, state=state, datatype=datatype, place=place, limit=size, cursor=cursor
        ),
        limit,
    )
    print_items(found, COLUMNS, noun="datasets", as_json=as_json, quiet=quiet)


@add_example("p3s dataset show 77c0", "p3s dataset show /data/run004610.csv", "p3s dataset show @last/hits")
@click.command()
@click.argument("ident", metavar="ID|PLACE")
@add_output_options
@add_server_option
def show(ident: str, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show one dataset.

    Tells who makes it and who reads it, which attempts wrote it, and what it waits for. Of a place it is the newest
    version.
    """
    client = connect(url)
    found = client.show_dataset(_find(client, ident))
    if as_json:
        print_json(found)
    elif quiet:
        click.echo(found.uuid)
    else:
        print_fields(
            [
                ("id", found.uuid),
                ("key", found.key),
                ("version", str(found.version)),
                ("state", found.state),
                ("why", found.why),
                ("made by DAG", found.origin),
                ("came from", found.source),
                ("files", found.files),
                ("place", found.place or ""),
                ("site", found.site),
                ("size", format_size(found.size)),
                ("checksum", found.checksum),
                ("type", found.datatype),
                ("comment", found.comment),
                ("workflow", found.workflow or ""),
                ("producer", found.producer or ""),
                ("attempts", ", ".join(f"{one.number} {one.state} on {one.host}" for one in found.attempts)),
                ("consumers", " ".join(found.consumers)),
                ("needed by", ", ".join(found.waiting)),
                ("created", f"{format_since(found.created)} ago"),
            ]
        )


@add_example("p3s dataset adjust 77c0 --comment 'beam off'", "p3s dataset adjust /data/a.csv --type CSV")
@click.command()
@click.argument("ident", metavar="ID|PLACE")
@click.option("--type", "datatype", help="Its kind; an empty one takes it away.")
@click.option("--comment", help="For people.")
@click.option("--size", type=click.IntRange(0), help="Bytes, where they are not known.")
@click.option("--checksum", help="adler32:HEX or sha256:HEX, where it is not known.")
@add_output_options
@add_server_option
def adjust(
    ident: str,
    datatype: str | None,
    comment: str | None,
    size: int | None,
    checksum: str | None,
    url: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Change what is said of a dataset.

    Size and checksum can be told where they are not known. Other content is a new version: register it.
    """
    if all(value is None for value in (datatype, comment, size, checksum)):
        raise click.UsageError("say what to change: --type, --comment, --size or --checksum")
    client = connect(url)
    body = AdjustDatasetBody(datatype=datatype, comment=comment, size=size, checksum=checksum)
    found = client.adjust_dataset(_find(client, ident), body)
    if as_json:
        print_json(found)
    else:
        click.echo(found.uuid)
        if not quiet:
            tell(clean_text(f"dataset {found.key} is changed"))


@add_example(
    "p3s dataset delete 77c0",
    "p3s dataset delete /data/run004610.csv --force --yes",
    "p3s dataset delete @last/hits --files",
)
@click.command()
@click.argument("idents", metavar="ID|PLACE...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also if jobs wait for it: they are skipped, and it has failed.")
@click.option("--files", is_flag=True, help="Have a pilot delete the files of what jobs made, too.")
@add_confirm_options
@add_output_options
@add_server_option
def delete(
    idents: tuple[str, ...],
    url: str | None,
    *,
    force: bool,
    files: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Delete datasets that no job needs any more.

    Refused while jobs that have not ended read them, unless by force. Registering external data again brings it back.
    Files stay unless --files has a pilot delete them, which `p3s dataset show` tells; files from outside always stay.
    """
    client = connect(url)
    found = {item.uuid: item for item in (client.show_dataset(_find(client, ident)) for ident in idents)}
    things = [_describe(item) + (" and its file" if files else "") for item in found.values()]
    if not confirm_action("delete", things, client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    done = []
    for item in found.values():
        reply = client.delete_dataset(item.uuid, force=force, files=files)
        done.append(reply)
        if not as_json:
            click.echo(reply.uuid)
        if not (as_json or quiet):
            skipped = f"; {format_count(reply.skipped, 'job')} skipped" if reply.skipped else ""
            tell(clean_text(f"{item.key} is {reply.state}{skipped}{f'; {reply.files}' if reply.files else ''}"))
    if as_json:
        print_json(done)
    return 0


def _find(client: Client, ident: str) -> str:
    """Return the id of the dataset that is meant: of a place, its newest version."""
    if not is_url(ident) and not ident.startswith(("/", "./", "../")):
        return ident
    place = ident if is_url(ident) else str(Path(ident).absolute())
    found = client.list_datasets(place=place, limit=1).items
    if not found:
        raise NotFound("dataset", place, "`p3s dataset list` shows those that are registered")
    return found[0].uuid


def _describe(item: DatasetView) -> str:
    where = f" at {item.place}" if item.place else ""
    needed = f", needed by {', '.join(item.waiting[:3])}" if item.waiting else ""
    return clean_text(f"dataset {item.key} ({item.state}){where}{_name_version(item)}{needed}")


def _name_version(item: DatasetView) -> str:
    return f", version {item.version}" if item.version > 1 else ""
