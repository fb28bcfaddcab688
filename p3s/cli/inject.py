"""``p3s inject``: watch folders, and start work for the files that arrive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from p3s.cli.common import add_example, add_list_options, add_server_option, collect_pages, connect
from p3s.cli.output import (
    Columns,
    clean_text,
    format_count,
    format_counts,
    format_since,
    format_size,
    print_items,
    print_line,
    shorten_id,
    tell,
)
from p3s.cli.problems import find_problems, show_problems
from p3s.engine.fates import Fate
from p3s.supervise import exit_with_parent

if TYPE_CHECKING:
    from p3s.inject.work import Report
    from p3s.wire import ArrivalView

__all__ = ["check", "list_arrivals", "run", "start"]

COLUMNS: Columns = {
    "FATE": lambda item: item.fate,
    "AGE": lambda item: format_since(item.arrived),
    "SIZE": lambda item: format_size(item.size),
    "RULE": lambda item: f"{item.service}/{item.rule}",
    "WORKFLOW": lambda item: shorten_id(item.workflow),
    "STATE": lambda item: item.workflow_state or "-",
    "FILE": lambda item: item.place,
}

_rules = click.argument("file", metavar="RULES", type=click.Path(path_type=Path))


@add_example("p3s inject start rules.yaml")
@click.command()
@_rules
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per decision.")
@click.option("--exit-with-parent", "parent", type=int, hidden=True)
@add_server_option
def start(file: Path, parent: int | None, url: str | None, *, as_json: bool) -> int:
    """Watch folders and start work for each file that arrives.

    It runs until Ctrl-C or SIGTERM. While the server is away files wait; nothing is started twice.
    """
    from p3s.inject.main import run_for_ever  # noqa: PLC0415 - it brings the YAML reader, the client and more
    from p3s.inject.rules import load_rules  # noqa: PLC0415

    if parent is not None:
        exit_with_parent(parent)
    rules = load_rules(file)
    folders = ", ".join(dict.fromkeys(str(rule.folder) for rule in rules.rules))
    tell(f"injector {rules.name} watches {folders}; Ctrl-C ends it")
    return run_for_ever(connect(url), rules, lambda report: _show(report, as_json=as_json), tell)


@add_example(
    "p3s inject run rules.yaml --once",
    "p3s inject run rules.yaml --match 'quakes-2018-02-*' --again --dry-run",
)
@click.command()
@_rules
@click.option("--once", is_flag=True, help="Look once and leave what is still growing to the next run, as for cron.")
@click.option("--match", metavar="PATTERN", help="Only files whose name or path fits, as in a shell.")
@click.option("--again", is_flag=True, help="Start these once more, whatever became of them; needs --match.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per decision.")
@add_server_option
def run(
    file: Path, match: str | None, url: str | None, *, once: bool, again: bool, dry_run: bool, as_json: bool
) -> int:
    """Decide about the files that are there, then exit.

    Without --once it stays until no file grows or waits for its turn. Exits 1 if work could not be started.
    """
    from p3s.inject.main import Service, run_to_end  # noqa: PLC0415 - as above
    from p3s.inject.rules import load_rules  # noqa: PLC0415
    from p3s.inject.work import Injector  # noqa: PLC0415

    if again and match is None:
        raise click.UsageError("--again needs --match: give '*' to start everything once more")
    rules = load_rules(file)
    client = connect(url)
    failed: list[str] = []

    def show(report: Report) -> None:
        _show(report, as_json=as_json)
        for trouble in report.troubles:
            tell(trouble)
        failed.extend(view.place for view in report.decided if view.fate is Fate.FAILED)

    # A reprocessing beside an injector that runs is no second injector.
    service = None if match is not None or dry_run else Service(client, rules)
    injector = Injector(client, rules, patient=False, match=match, again=again, dry_run=dry_run)
    report = run_to_end(injector, service, show, once=once or dry_run)
    if dry_run:
        tell("nothing was done")
    elif once and report.open:
        tell(f"{format_count(report.open, 'file')} not ready yet; the next run looks again")
    return 1 if failed else 0


@add_example("p3s inject check rules.yaml")
@click.command()
@click.argument("files", metavar="RULES...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(files: tuple[Path, ...], *, as_json: bool) -> int:
    """Show every problem of files of rules and of the workflows they start.

    Each is shown as file:line:column: message. Exits 0 if there is none, else 64. No server is asked.
    """
    from p3s.inject.rules import load_rules  # noqa: PLC0415 - as above

    return show_problems(find_problems(files, load_rules), as_json=as_json)


@add_example("p3s inject list", "p3s inject list --fate failed")
@click.command()
@click.option("--service", help="Only those of this injector.")
@click.option("--rule", help="Only those of this rule.")
@click.option("--fate", type=click.Choice([fate.value for fate in Fate]), help="Only those with this fate.")
@add_list_options
def list_arrivals(
    url: str | None,
    service: str | None,
    rule: str | None,
    fate: str | None,
    limit: int,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """List files that injectors have seen, newest first.

    With -q it prints their paths.
    """
    client = connect(url)
    found = collect_pages(
        lambda size, cursor: client.list_arrivals(service=service, rule=rule, fate=fate, limit=size, cursor=cursor),
        limit,
    )
    print_items(found, COLUMNS, noun="files", as_json=as_json, quiet=quiet, ident=lambda item: str(item.place))
    if not (as_json or quiet) and len(found) > 1:
        counts: dict[str, int] = {}
        for item in found:
            counts[item.fate] = counts.get(item.fate, 0) + 1
        tell(format_counts(counts))


def _show(report: Report, *, as_json: bool) -> None:
    for view in report.decided:
        if as_json:
            print_line(view)
        elif view.fate is not Fate.WAITING or view.message:
            click.echo(_describe(view))


def _describe(view: ArrivalView) -> str:
    what = f" as {view.workflow}" if view.workflow and view.fate in {Fate.STARTED, Fate.STARTING} else ""
    return clean_text(f"{view.fate:<11} {view.place}{what}" + (f": {view.message}" if view.message else ""))
