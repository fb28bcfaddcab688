"""How things are printed: aligned columns, short ids, relative ages, JSON.

Data goes to stdout, all else to stderr.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from p3s.clock import read_clock
from p3s.engine.formats import format_age, format_size
from p3s.settings import allows_color

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import BaseModel

__all__ = [
    "Columns",
    "clean_lines",
    "clean_output",
    "clean_text",
    "color_state",
    "format_age",
    "format_count",
    "format_counts",
    "format_since",
    "format_size",
    "print_fields",
    "print_items",
    "print_json",
    "print_line",
    "print_table",
    "shorten_id",
    "tell",
]

#: The heads of a table, and what each column shows of an item.
Columns: TypeAlias = "dict[str, Callable[[Any], str]]"

#: State to the colour of its word, on a terminal.
COLORS = {
    "finished": "green",
    "succeeded": "green",
    "available": "green",
    "running": "cyan",
    "dispatched": "cyan",
    "failed": "red",
    "lost": "red",
    "timeout": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "draining": "yellow",
}


#: What chooses colours, between the pieces of a text.
_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,20}m)")
#: What a terminal may obey or show in another order, and JSON leaves as it is.
_STRANGE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def tell(message: str) -> None:
    """Write a remark for the user to stderr; what is no text in it is shown, not obeyed."""
    click.echo(clean_lines(message), err=True)


def shorten_id(uuid: str | None) -> str:
    """Return the first characters of an id, enough to name it; a dash for none."""
    return uuid[:8] if uuid else "-"


def clean_text(text: str) -> str:
    """Return `text` on one line, with control characters shown instead of obeyed by the terminal.

    Examples
    --------
    >>> clean_text("a" + chr(27) + "[31mb").count(chr(27))
    0
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def clean_lines(text: str) -> str:
    """Return `text` with each of its lines as `clean_text` returns it."""
    return "\n".join(map(clean_text, text.split("\n")))


def clean_output(text: str) -> str:
    r"""Return what a payload printed as a terminal may have it: with colours, without other orders to the terminal.

    Examples
    --------
    >>> clean_output("\x1b[31mred\x1b[0m \x1b]0;title\x07\n")
    '\x1b[31mred\x1b[0m \\x1b]0;title\\x07\n'
    """
    return "".join(
        part if number % 2 else "".join(char if char in "\n\t\r" else clean_text(char) for char in part)
        for number, part in enumerate(_COLOUR.split(text))
    )


def color_state(word: str) -> str:
    """Return a state's word, coloured where stdout is a terminal that takes it."""
    if word not in COLORS or not sys.stdout.isatty() or not allows_color():
        return word
    return click.style(word, fg=COLORS[word])


def format_since(moment: float | None) -> str:
    """Return how long ago `moment`, in seconds since 1970, was; a dash for never."""
    return "-" if moment is None else format_age(read_clock() - moment)


def format_count(count: int, noun: str) -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> format_count(1, "job"), format_count(2, "job")
    ('1 job', '2 jobs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_counts(counts: dict[str, int]) -> str:
    """Return counts by state as ``3 finished, 1 running``, without the zeros; a dash for none at all.

    Examples
    --------
    >>> format_counts({"finished": 3, "failed": 0, "running": 1})
    '3 finished, 1 running'
    """
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "-"


def print_json(value: Any) -> None:
    """Print `value`, or the models within it, as one indented JSON document."""
    click.echo(_write_json(value, indent=2))


def print_line(value: Any) -> None:
    """Print `value`, or the models within it, as one line of JSON, and see that it leaves at once."""
    click.echo(_write_json(value))
    sys.stdout.flush()


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns below their heads; a column named STATE is coloured on a terminal."""
    cells = [[clean_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    click.echo("  ".join(head.ljust(width) for head, width in zip(headers, widths, strict=True)).rstrip())
    for row in cells:
        parts = [
            (color_state(cell) if head == "STATE" else cell) + " " * (width - len(cell))
            for head, cell, width in zip(headers, row, widths, strict=True)
        ]
        click.echo("  ".join(parts).rstrip())


def print_fields(fields: Iterable[tuple[str, str]], *, err: bool = False) -> None:
    """Print names and values, one a line, values aligned; empty ones are left out."""
    shown = [(name, clean_text(value)) for name, value in fields if value not in {"", "-"}]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {color_state(value)}", err=err)


def print_items(
    items: Sequence[Any],
    columns: Columns,
    *,
    noun: str,
    as_json: bool,
    quiet: bool,
    ident: Callable[[Any], str] = lambda item: str(item.uuid),
) -> None:
    """Print a listing the way the options ask for.

    Parameters
    ----------
    items : sequence of models
        What to list.
    columns : dict of head to function
        What the table shows of an item.
    noun : str
        What to say that there is none of.
    as_json, quiet : bool
        The options.
    ident : function
        The id that ``-q`` prints.
    """
    if as_json:
        print_json(list(items))
    elif quiet:
        for item in items:
            click.echo(clean_text(ident(item)))
    elif items:
        print_table(list(columns), [[show(item) for show in columns.values()] for item in items])
    else:
        tell(f"no {noun}")


def _write_json(value: Any, indent: int | None = None) -> str:
    """Return JSON in which control characters and marks of direction are escapes, wherever the text came from."""
    text = json.dumps(_dump(value), indent=indent, ensure_ascii=False)
    return _STRANGE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _dump(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dump(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dump(item) for item in value]
    if hasattr(value, "model_dump"):
        model: BaseModel = value
        return model.model_dump(mode="json")
    return value
