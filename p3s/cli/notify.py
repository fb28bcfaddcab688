"""``p3s notify``: files that say whom the server tells of what goes wrong."""

from __future__ import annotations

import uuid
from pathlib import Path

import click

from p3s.cli.common import add_example
from p3s.cli.output import clean_text, print_json, tell
from p3s.cli.problems import find_problems, show_problems
from p3s.errors import BadInput, Problem

__all__ = ["check", "test"]


@add_example("p3s notify check notify.yaml")
@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(files: tuple[Path, ...], *, as_json: bool) -> int:
    """Show every problem of files of notifications.

    Each is shown as file:line:column: message. Exits 0 if there is none, else 64. Nothing is sent.
    """
    from p3s.notify.rules import load_notify  # noqa: PLC0415 - it brings the YAML reader

    return show_problems(find_problems(files, load_notify), as_json=as_json)


@add_example("p3s notify test notify.yaml", "p3s notify test notify.yaml --channel mail")
@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--channel", "only", multiple=True, help="Only on this channel; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(file: Path, only: tuple[str, ...], *, as_json: bool) -> int:
    """Send a message on each channel now, and say how it went.

    No server is asked. Exits 1 if a channel did not take it.
    """
    from p3s.notify.rules import load_notify  # noqa: PLC0415 - as above
    from p3s.notify.send import Message, NotSent, send  # noqa: PLC0415 - it brings the HTTP client

    notify = load_notify(file)
    if unknown := [name for name in only if name not in notify.channels]:
        raise BadInput([Problem(f"has no channel '{name}'", file=str(file)) for name in unknown])
    subject = f"{notify.name}: a test of notifications"
    message = Message(str(uuid.uuid4()), notify.name, subject, "Nothing is wrong. Somebody tried `p3s notify test`.")
    outcome: dict[str, str] = {}
    for name in only or notify.channels:
        try:
            outcome[name] = send(notify.channels[name], message)
        except NotSent as error:
            outcome[name] = error.reason
            if not as_json:
                tell(f"{name}: {clean_text(error.reason)}")
            continue
        if not as_json:
            tell(f"{name}: sent{clean_text(outcome[name])}")
        outcome[name] = ""
    if as_json:
        print_json([{"channel": name, "sent": not error, "error": error} for name, error in outcome.items()])
    return 1 if any(outcome.values()) else 0
