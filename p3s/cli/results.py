"""Show the results of a workflow: each file with its size and place, small JSON ones with their content."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from p3s.cli.output import clean_text, format_size, print_table, tell

if TYPE_CHECKING:
    from p3s.client import Client
    from p3s.wire import ResultView, WorkflowView

__all__ = ["print_results", "summarise_json"]

#: Largest JSON result whose content is shown, in bytes.
LARGEST_SHOWN = 64 * 1024
#: Lines of it that are shown.
MOST_LINES = 12
#: Characters of a value that are shown.
LONGEST_VALUE = 80


def print_results(client: Client, found: WorkflowView) -> None:
    """Print a workflow's result files; the content of small JSON ones in a few lines."""
    results = client.list_results(found.uuid).items
    if not results:
        tell("no results")
        return
    print_table(["RESULT", "SIZE", "PLACE"], [[item.key, format_size(item.size), item.place] for item in results])
    for item in results:
        if item.place.endswith(".json") and item.digest and item.size <= LARGEST_SHOWN:
            _print_content(client, item)
    sys.stdout.flush()


def _print_content(client: Client, item: ResultView) -> None:
    assert item.digest is not None
    try:
        value = json.loads(client.fetch_blob(item.digest))
    except ValueError:
        # It is named like JSON and is none; its place was printed, and that is all to be said of it here.
        return
    click.echo(f"\n{item.key}:")
    for line in summarise_json(value):
        click.echo(f"  {line}")


def summarise_json(value: Any) -> list[str]:
    """Return a few lines that show the outermost entries of a JSON value.

    Examples
    --------
    >>> summarise_json({"days": ["a", "b"], "events": 7})
    ['days    ["a", "b"]', 'events  7']
    """
    if not isinstance(value, dict):
        return [_shorten(value)]
    width = max((len(clean_text(str(name))) for name in value), default=0)
    lines = [f"{clean_text(str(name)).ljust(width)}  {_shorten(item)}" for name, item in value.items()]
    if len(lines) > MOST_LINES:
        return [*lines[: MOST_LINES - 1], f"... {len(lines) - MOST_LINES + 1} more"]
    return lines


def _shorten(value: Any) -> str:
    text = clean_text(json.dumps(value, ensure_ascii=False))
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[: LONGEST_VALUE - 3]}..."
