"""``p3s datatype``: kinds of data, and the extensions of their files."""

from __future__ import annotations

import click

from p3s.cli.common import (
    add_confirm_options,
    add_example,
    add_output_options,
    add_server_option,
    confirm_action,
    connect,
)
from p3s.cli.output import Columns, clean_text, print_items, print_json, tell
from p3s.engine.names import check_extension, check_label
from p3s.errors import BadInput, NotFound, Problem
from p3s.submit import read_objects

__all__ = ["add", "delete", "list_datatypes"]

COLUMNS: Columns = {
    "NAME": lambda item: item.name,
    "EXT": lambda item: item.ext,
    "OWNER": lambda item: item.owner,
    "COMMENT": lambda item: item.comment or "-",
}


@add_example("p3s datatype add TXT .txt --comment 'plain text'", "p3s datatype add -j txtDataType.json")
@click.command()
@click.argument("name", required=False)
@click.argument("ext", required=False)
@click.option("--comment", default="", help="For people.")
@click.option("-j", "--description", metavar="JSON", help='{"name", "ext", "comment"}, a list of such, or a file.')
@add_output_options
@add_server_option
def add(
    name: str | None,
    ext: str | None,
    comment: str,
    description: str | None,
    url: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Register a kind of data and the extension of its files.

    EXT has its dot. Files that a DAG leaves unnamed are named by it.
    """
    if (ext is None) if description is None else bool(name or comment):
        raise click.UsageError("give NAME and EXT, or --description alone")
    given = [{"name": name, "ext": ext, "comment": comment}]
    if description is not None:
        given = read_objects(description, "--description", ("name", "ext", "comment"), needed=("name", "ext"))
    problems = []
    for entry in given:
        if wrong := check_label(str(entry["name"])):
            problems.append(Problem(f"datatype '{entry['name']}' {wrong}"))
        if wrong := check_extension(str(entry["ext"])):
            problems.append(Problem(f"'{entry['ext']}' {wrong}"))
    if problems:
        raise BadInput(problems)
    client = connect(url)
    found = [
        client.add_datatype(str(entry["name"]), str(entry["ext"]), str(entry.get("comment", ""))) for entry in given
    ]
    if as_json:
        print_json(found[0] if description is None else found)
        return
    for item in found:
        click.echo(item.name)
        if not quiet:
            tell(clean_text(f"files of type {item.name} end in {item.ext}"))


@add_example("p3s datatype list")
@click.command()
@add_output_options
@add_server_option
def list_datatypes(url: str | None, *, as_json: bool, quiet: bool) -> None:
    """List kinds of data and their extensions."""
    found = connect(url).list_datatypes().items
    print_items(found, COLUMNS, noun="datatypes", as_json=as_json, quiet=quiet, ident=lambda item: item.name)


@add_example("p3s datatype delete TXT --yes")
@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@add_confirm_options
@add_output_options
@add_server_option
def delete(names: tuple[str, ...], url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Take kinds of data out; their data stays."""
    client = connect(url)
    known = {item.name: item for item in client.list_datatypes().items}
    for name in names:
        if name not in known:
            raise NotFound("datatype", name, "`p3s datatype list` shows those that are registered")
    things = [clean_text(f"datatype {name} ({known[name].ext})") for name in dict.fromkeys(names)]
    if not confirm_action("delete", things, client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    for name in dict.fromkeys(names):
        client.delete_datatype(name)
        if not as_json:
            click.echo(name)
    if as_json:
        print_json([{"name": name} for name in dict.fromkeys(names)])
    elif not quiet:
        tell("deleted; data of these types stays")
    return 0
