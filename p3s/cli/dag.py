"""``p3s dag``: stored DAGs."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from p3s.cli.common import (
    add_confirm_options,
    add_example,
    add_list_options,
    add_output_options,
    add_server_option,
    collect_pages,
    confirm_action,
    connect,
)
from p3s.cli.load import add_load_options, make_changes, read_params, report_load
from p3s.cli.output import Columns, clean_text, format_since, print_fields, print_items, print_json, tell
from p3s.submit import submit_dag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from p3s.wire import BundleFile, DagView

__all__ = ["delete", "diff", "list_dags", "run", "show"]

COLUMNS: Columns = {
    "NAME": lambda item: item.name,
    "VERSION": lambda item: str(item.version),
    "OWNER": lambda item: item.owner,
    "WORKFLOWS": lambda item: str(item.workflows),
    "FILE": lambda item: item.file,
    "AGE": lambda item: format_since(item.created),
}


@add_example("p3s dag list")
@click.command()
@click.option("--owner", help="Only those of this owner.")
@click.option("--name", help="Only those of this name.")
@add_list_options
def list_dags(url: str | None, owner: str | None, name: str | None, limit: int, *, as_json: bool, quiet: bool) -> None:
    """List stored DAGs."""
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_dags(name=name, owner=owner, limit=size, cursor=cursor), limit
    )
    print_items(found, COLUMNS, noun="DAGs", as_json=as_json, quiet=quiet, ident=lambda item: item.name)


@add_example("p3s dag show diamond", "p3s dag show diamond --version 2 > diamond.yaml")
@click.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Else the newest.")
@add_output_options
@add_server_option
def show(name: str, version: int | None, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show a stored DAG and its text.

    The text goes to stdout, the rest to stderr.
    """
    found = connect(url).show_dag(name, version=version)
    if as_json:
        print_json(found)
    elif quiet:
        click.echo(found.name)
    else:
        fields = [
            ("name", found.name),
            ("version", str(found.version)),
            ("owner", found.owner),
            ("digest", found.digest),
            ("loaded from", f"{found.base}/{found.file}"),
            ("files", " ".join(found.files)),
            ("workflows", str(found.workflows)),
        ]
        print_fields(fields, err=True)
        click.echo(found.text, nl=not found.text.endswith("\n"))


@add_example("p3s dag diff diamond", "p3s dag diff diamond --from 1 --to 4")
@click.command()
@click.argument("name")
@click.option("--from", "old", type=click.IntRange(1), help="Else the version before the other one.")
@click.option("--to", "new", type=click.IntRange(1), help="Else the newest.")
@add_output_options
@add_server_option
def diff(name: str, old: int | None, new: int | None, url: str | None, *, as_json: bool, quiet: bool) -> None:
    """Show what changed between two versions of a DAG.

    Texts are compared line by line, files that travel along by content.
    """
    client = connect(url)
    after = client.show_dag(name, version=new)
    if old is None and after.version == 1:
        raise click.UsageError(f"version 1 is the first of {name}; there is nothing before it")
    before = client.show_dag(name, version=old or after.version - 1, owner=after.owner)
    lines = list(compare_texts(before, after))
    files = compare_files(
        client.show_bundle(name, version=before.version).items, client.show_bundle(name, version=after.version).items
    )
    if as_json:
        print_json({"from": before.version, "to": after.version, "text": lines, "files": files})
        return
    for line in lines:
        click.echo(clean_text(line))
    for path, change in files.items():
        click.echo(clean_text(f"file {path}: {change}"))
    if not (lines or files or quiet):
        tell(f"versions {before.version} and {after.version} of {name} are the same")


def compare_texts(before: DagView, after: DagView) -> Iterator[str]:
    """Yield the lines of a unified diff of two DAGs' texts."""
    return difflib.unified_diff(
        before.text.splitlines(),
        after.text.splitlines(),
        f"{before.name} version {before.version}",
        f"{after.name} version {after.version}",
        lineterm="",
    )


def compare_files(before: Sequence[BundleFile], after: Sequence[BundleFile]) -> dict[str, str]:
    """Return by path what became of the files that travel with a DAG."""
    old = {file.path: file for file in before}
    new = {file.path: file for file in after}
    changes = {path: "taken out" if path not in new else "added" for path in sorted(old.keys() ^ new.keys())}
    for path in sorted(old.keys() & new.keys()):
        if old[path].data != new[path].data:
            changes[path] = f"changed, {len(old[path].data)} to {len(new[path].data)} bytes"
        elif old[path].executable != new[path].executable:
            changes[path] = "is executable now" if new[path].executable else "is not executable any more"
    return changes


@add_example(
    "p3s dag run diamond -p run=004610",
    "p3s dag run diamond --version 2 --watch",
    "p3s dag run diamond --set jobs.track.env.CUT=5",
)
@click.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Else the newest.")
@add_load_options
@add_output_options
@add_server_option
def run(
    name: str,
    version: int | None,
    params: tuple[str, ...],
    sets: tuple[str, ...],
    files: str | None,
    jobs: str | None,
    names: str | None,
    key: str | None,
    site: str,
    url: str | None,
    *,
    hold: bool,
    watch: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Start another workflow of a stored DAG.

    External data is looked for where the DAG was loaded from. What `--set`, `--files`, `--jobs` and `--names` change is
    changed for this workflow only.
    """
    client = connect(url)
    changes = make_changes(client, sets, files, jobs, names)
    values = read_params(params)
    reply = submit_dag(client, name, values, version=version, hold=hold, key=key, site=site, changes=changes)
    return report_load(client, reply, watch=watch, as_json=as_json, quiet=quiet)


@add_example("p3s dag delete diamond", "p3s dag delete diamond --version 1 --yes")
@click.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Else all of them.")
@add_confirm_options
@add_output_options
@add_server_option
def delete(
    name: str, version: int | None, url: str | None, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool
) -> int:
    """Delete stored DAGs; their workflows stay."""
    client = connect(url)
    found = client.show_dag(name, version=version)
    which = f"version {version}" if version else f"all versions, the newest is {found.version}"
    things = [clean_text(f"DAG {found.name} of {found.owner} ({which})")]
    if not confirm_action("delete", things, client.url, yes=yes, dry_run=dry_run):
        return 0 if dry_run else 1
    client.delete_dag(name, version=version)
    if as_json:
        print_json({"name": found.name, "version": version})
    else:
        click.echo(found.name)
        if not quiet:
            tell("deleted; workflows that were made of it stay")
    return 0
