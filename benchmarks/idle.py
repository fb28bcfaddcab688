"""From a submission to its payload, on a system that has had nothing to do for a moment: the same for all systems.

Only the standard library is used: other engines run this in environments of their own.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["measure_idle"]

#: Seconds that a payload may take to come.
LIMIT = 30.0


def measure_idle(submit: Callable[[list[str]], object], plan: Iterable[tuple[float, int]]) -> list[list[float]]:
    """Return the ms from each submission to its payload.

    The payload is a shell that starts `date`, a process of its own: what that takes is in the number, as for any
    payload.

    Parameters
    ----------
    submit : callable
        Is given the payload's program and arguments.
    plan : iterable of (float, int)
        Seconds between a payload's beginning and the next submission, and how many of these there are.

    Returns
    -------
    list of list of float
        For each entry of the plan its submissions.

    Raises
    ------
    TimeoutError
        If a payload does not come.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "noted"
        note.touch()
        command = ["/bin/sh", "-c", f"date +%s.%N >> {note}"]
        numbers = itertools.count(1)

        def measure(pause: float) -> float:
            time.sleep(pause)
            begin = time.time()  # noqa: TID251 - beside the clock of `date`
            submit(command)
            return (_wait(note, next(numbers)) - begin) * 1000

        # The first one finds nothing warm.
        measure(0.0)
        return [[measure(pause) for _ in range(number)] for pause, number in plan]


def _wait(note: Path, count: int) -> float:
    """Return the stamp in the line of this number, in s."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        lines = note.read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) == count and lines[-1].endswith("\n"):
            return float(lines[-1])
        # What the system does after the payload's end is not disturbed by more than this.
        time.sleep(0.002)
    raise TimeoutError(f"payload {count} did not come within {LIMIT:g} s")
