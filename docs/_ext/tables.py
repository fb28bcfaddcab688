"""Markdown tables, and the comments that describe constants."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["make_table", "read_comments", "to_markdown"]

_COMMENTED = re.compile(r"((?:^[ ]*#: .*\n)+)^[ ]*([A-Z][A-Z_0-9]*)\b", re.MULTILINE)


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def read_comments(source: str) -> dict[str, str]:
    """Return what the ``#:`` lines above each constant or enum member of a source text say."""
    return {
        name: to_markdown(" ".join(line.strip().removeprefix("#:").strip() for line in lines.splitlines()))
        for lines, name in _COMMENTED.findall(source)
    }


def to_markdown(text: str) -> str:
    """Return a docstring's prose as Markdown."""
    return text.replace("``", "`")
