"""The numbers of a JSON result, by their place in the document: what can be plotted."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["MAX_NUMBERS", "find_numbers"]

#: Numbers that are kept of one result, and characters of a place.
MAX_NUMBERS, MAX_KEY = 200, 200
#: Larger documents are no summaries.
MAX_BYTES = 1024 * 1024


def find_numbers(content: bytes) -> dict[str, float]:
    """Return the numbers in a JSON document.

    Parameters
    ----------
    content : bytes
        Any file.

    Returns
    -------
    dict of str to float
        By place, such as ``fit.slope``; nothing if the file is no JSON object. Lists are data, not summaries, and
        are left out; so are true and false, and what no axis has a place for (NaN, infinities).

    Examples
    --------
    >>> find_numbers(b'{"events": 12, "fit": {"slope": 1.5, "good": true}, "bins": [1, 2]}')
    {'events': 12.0, 'fit.slope': 1.5}
    >>> find_numbers(b"no JSON")
    {}
    """
    if len(content) > MAX_BYTES or content.lstrip()[:1] != b"{":
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, float] = {}
    pending: list[tuple[str, Any]] = [("", document)]
    while pending and len(found) < MAX_NUMBERS:
        key, value = pending.pop()
        if isinstance(value, dict):
            start = f"{key}." if key else ""
            pending += [(f"{start}{name}", item) for name, item in reversed(value.items())]
        elif isinstance(value, int | float) and not isinstance(value, bool) and 0 < len(key) <= MAX_KEY:
            number = _to_float(value)
            # PostgreSQL's text holds no NUL, and no half of a character.
            if math.isfinite(number) and key.isprintable():
                found[key] = number
    return found


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
