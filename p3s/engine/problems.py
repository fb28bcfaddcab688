"""From what a check finds to what the user reads: `Fault` names a path, `Problem` a line and column."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p3s.engine.units import shorten
from p3s.engine.yamltext import MAX_PROBLEMS, Path, locate_paths
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["Fault", "Source", "format_path", "make_problems", "raise_faults", "suggest_word"]

#: Near misses are looked up for so many faults at most: a hostile file has thousands.
MAX_SUGGESTIONS = 50
#: Words that a near miss is compared with; it costs about 20 microseconds each.
MAX_CANDIDATES = 400


@dataclass(frozen=True, slots=True)
class Source:
    """The text that a spec was read from, to find places in it later."""

    text: str = field(repr=False)
    file: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a spec.

    Attributes
    ----------
    path : tuple
        The value's keys and indexes within the document.
    message : str
        What is wrong and what to do.
    at_key : bool
        Whether the key is to be pointed at rather than the value.
    word : str
        A word that may be a near miss.
    candidates : collection of str
        What it may have meant.
    """

    path: Path
    message: str
    at_key: bool = False
    word: str = ""
    candidates: Collection[str] = ()


def suggest_word(word: str, candidates: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` if a candidate is near, else nothing.

    Parameters
    ----------
    word : str
        What was written.
    candidates : iterable of str
        What could have been meant.

    Returns
    -------
    str
        The end of a sentence.

    Examples
    --------
    >>> suggest_word("reduse", ["reduce", "track"])
    "; did you mean 'reduce'?"
    >>> suggest_word("x", ["reduce", "track"])
    ''
    """
    near = [
        candidate
        for candidate in candidates
        if abs(len(candidate) - len(word)) <= 3 and (candidate[:1] == word[:1] or candidate[-2:] == word[-2:])
    ]
    matches = difflib.get_close_matches(word[:100], near[:MAX_CANDIDATES], n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def format_path(path: Sequence[str | int]) -> str:
    """Return a path as people write it.

    Parameters
    ----------
    path : sequence of str or int
        Keys and indexes.

    Returns
    -------
    str
        Such as ``jobs.reduce.inputs[0]``.

    Examples
    --------
    >>> format_path(("jobs", "reduce", "inputs", 0))
    'jobs.reduce.inputs[0]'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def make_problems(faults: Sequence[Fault], source: Source | None) -> list[Problem]:
    r"""Return the problems that faults are, sorted by place.

    Parameters
    ----------
    faults : sequence of Fault
        All that is wrong.
    source : Source or None
        Where the spec came from; without it a problem names a path only.

    Returns
    -------
    list of Problem
        At most 1,000, the last of which says how many more there are.

    Examples
    --------
    >>> fault = Fault(("jobs", "a"), "is odd", at_key=True)
    >>> print(*make_problems([fault], Source("jobs:\n  a: {}", "x.yaml")))
    x.yaml:2:3: is odd
    """
    shown = list({(fault.path, fault.message): fault for fault in faults}.values())[:MAX_PROBLEMS]
    places = locate_paths(source.text, (fault.path for fault in shown)) if source else {}
    problems = []
    for number, fault in enumerate(shown):
        near = suggest_word(fault.word, fault.candidates) if fault.word and number < MAX_SUGGESTIONS else ""
        place = places.get(fault.path)
        line, column = (place.key if fault.at_key else place.value) if place else (None, None)
        problems.append(
            Problem(
                message=fault.message + near,
                file=source.file if source else None,
                line=line,
                column=column,
                where=format_path(fault.path),
            )
        )
    problems.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
    if len(faults) > MAX_PROBLEMS:
        rest = f"and {len(faults) - MAX_PROBLEMS} more problems; mend these first"
        problems.append(Problem(rest, file=source.file if source else None))
    return problems


def raise_faults(faults: Sequence[Fault], source: Source | None) -> None:
    """Raise `BadInput` with all faults, if there are any."""
    if faults:
        raise BadInput(make_problems(faults, source))
