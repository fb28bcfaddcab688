"""The command line reference: made from click's own tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from _ext.tables import make_table
from p3s.cli.main import build_cli
from p3s.cli.tree import COMMANDS, GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_command", "make_commands", "make_pilot_options"]


def find_command(path: str) -> click.Context:
    """Return the context of the command that the words `path` name."""
    command: click.Command = build_cli()
    context = click.Context(command, info_name="p3s")
    for word in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None, path
        command = found
        context = click.Context(command, info_name=word, parent=context)
    return context


def make_commands() -> str:
    """Return a section for each command, grouped by noun."""
    parts: list[str] = []
    group = ""
    for path in COMMANDS:
        noun = path.rpartition(" ")[0]
        if noun != group:
            group = noun
            parts.append(f"## p3s {noun}\n\n{GROUPS[noun]}\n")
        parts.append(_make_command(path, "###" if noun else "##"))
    return "\n".join(parts)


def make_pilot_options() -> str:
    """Return the options of `p3s pilot start`."""
    return _make_options(find_command("pilot start"))


def _make_command(path: str, level: str) -> str:
    context = find_command(path)
    text, _, examples = (context.command.help or "").partition("\n\n\b\n")
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    prose = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    shown = "\n".join(line.strip() for line in examples.splitlines()[1:])
    return (
        f"{level} p3s {path}\n\n```text\n{usage}\n```\n\n{prose}\n\n{_make_options(context)}\n```text\n{shown}\n```\n"
    )


def _make_options(context: click.Context) -> str:
    rows = list(_list_options(context))
    return make_table(["option", "meaning"], rows) if rows else ""


def _list_options(context: click.Context) -> Iterator[list[str]]:
    for param in context.command.params:
        # Arguments stand in the usage line and are told of in the text.
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None:
            yield [f"`{record[0].replace(' RANGE', '')}`", record[1]]
