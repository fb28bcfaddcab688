"""Folders of attempts whose pilot died: deleted when the server says that nothing can come of them any more."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from p3s.pilot.sandbox import remove_sandbox
from p3s.pilot.spares import SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from p3s.wire import Leftover

__all__ = ["delete_folders", "delete_rivals", "is_uuid", "tidy_sandboxes"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Attempts in one question.
BATCH = 1000


def tidy_sandboxes(
    sandboxes: Sequence[Path], delete_outputs: Callable[[Leftover], None], ask: Callable[[list[str]], list[Leftover]]
) -> int:
    """Delete sandboxes that dead pilots left, and the outputs of those attempts that were not accepted.

    Parameters
    ----------
    sandboxes : sequence of Path
        ``<work>/<pilot>/<attempt>``, and spare ones, which belong to no attempt.
    delete_outputs : callable
        Deletes what is left of an attempt's outputs, if they are not to stay.
    ask : callable
        Asks the server which of the attempts nothing can come of any more.

    Returns
    -------
    int
        How many attempts were cleared away; the others are for a later time.
    """
    spares = [path for path in sandboxes if path.name.startswith(SPARE)]
    paths = {path.name: path for path in [path for path in sandboxes if path not in spares][:BATCH]}
    found = ask(list(paths)) if paths else []
    for one in found:
        sandbox = paths[one.attempt]
        # Outputs first: after a crash in between, the sandbox still asks for them.
        delete_outputs(one)
        delete_folders([sandbox])
    delete_folders(spares)
    for pilot in {path.parent for path in sandboxes}:
        with contextlib.suppress(OSError):
            pilot.rmdir()
    return len(found)


def delete_rivals(folder: Path) -> None:
    """Delete the outputs of all other attempts of a job one of whose attempts was accepted.

    Parameters
    ----------
    folder : Path
        The accepted attempt's folder. A job is accepted once, so nothing beside it can ever count.
    """
    with contextlib.suppress(OSError):
        delete_folders([other for other in folder.parent.iterdir() if other != folder and is_uuid(other.name)])


def is_uuid(name: str) -> bool:
    """Tell whether a folder's name is that of a pilot or an attempt."""
    return _UUID.fullmatch(name) is not None


def delete_folders(folders: Iterable[Path]) -> None:
    """Delete folders with all that is in them."""
    for folder in folders:
        remove_sandbox(folder)
