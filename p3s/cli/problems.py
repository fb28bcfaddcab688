"""What is wrong with files, the same for every command that only looks at them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from p3s.cli.output import clean_text, print_json, tell
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["find_problems", "show_problems"]


def find_problems(files: Iterable[Path], load: Callable[[Path], object]) -> dict[str, list[Problem]]:
    """Return what a loader says against each file."""
    found: dict[str, list[Problem]] = {}
    for file in files:
        try:
            load(file)
            found[str(file)] = []
        except BadInput as error:
            found[str(file)] = list(error.problems)
    return found


def show_problems(found: Mapping[str, Sequence[Problem]], *, as_json: bool, quiet: bool = False) -> int:
    """Print the problems of each file and return the exit code: 64 if there is one."""
    if as_json:
        print_json(
            [
                {"file": file, "valid": not problems, "problems": [asdict(problem) for problem in problems]}
                for file, problems in found.items()
            ]
        )
    else:
        for file, problems in found.items():
            for problem in problems:
                tell(clean_text(str(problem)))
            if not problems and not quiet:
                tell(f"{file}: no problems")
    return 64 if any(found.values()) else 0
