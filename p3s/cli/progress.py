"""A bar on a terminal for what goes to the server in several requests."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["show_progress"]

#: What is done so soon that no bar is drawn: that many go in one request.
FEW = 1000


@contextmanager
def show_progress(total: int, noun: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Draw a bar on stderr if it is a terminal, and give a function that takes how much is done."""
    # Ids on a terminal are progress enough.
    if total <= FEW or quiet or sys.stdout.isatty() or not sys.stderr.isatty():
        yield lambda _done: None
        return
    # Rich takes a while to import.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(noun), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)
