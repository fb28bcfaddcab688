"""Folders that somebody else still changes: what goes away while one looks was not there."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_paths", "read_files"]


def find_paths(folder: Path, pattern: str = "*") -> list[Path]:
    """Return, in order, what lies below a folder with a name that fits; `Path.rglob` fails if a folder vanishes."""
    found = []
    for parent, folders, files in os.walk(folder):
        found += [Path(parent, name) for name in (*folders, *files) if fnmatch(name, pattern)]
    return sorted(found)


def read_files(folder: Path, pattern: str = "*") -> Iterator[tuple[Path, bytes]]:
    """Yield each file below a folder, no link, with its content."""
    for path in find_paths(folder, pattern):
        if path.is_file() and not path.is_symlink():
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            yield path, content
