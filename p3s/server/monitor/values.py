"""How values are written in pages and exports."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from p3s.engine.formats import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["FILTERS", "order_states", "show_iso", "show_number", "show_prose", "show_utc"]


def show_utc(moment: float) -> str:
    """Return a time of seconds since 1970 for people, in UTC.

    Examples
    --------
    >>> show_utc(0.0), show_iso(0.5)
    ('1970-01-01 00:00:00', '1970-01-01T00:00:00.500Z')
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def show_iso(moment: float) -> str:
    """Return a time of seconds since 1970 for programs, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_number(value: float) -> str:
    r"""Return a number for people: in groups of three digits, and a whole one without a fraction.

    Examples
    --------
    >>> show_number(1202), show_number(12.0), show_number(0.12345)
    ('1\u202f202', '12', '0.1235')
    """
    if float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def order_states(counts: Mapping[str, int], order: Iterable[str]) -> dict[str, int]:
    """Return numbers by state in the order in which a thing goes through its states."""
    return {state: counts[state] for state in map(str, order) if counts.get(state)}


def _show_params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_show_plain(value)}" for name, value in params.items())


def _show_plain(value: object) -> str:
    """Return a value as it would be typed: a whole number without a fraction."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _split_place(place: str) -> tuple[str, str]:
    """Return the folder and the name of a place, so that a narrow column can cut the folder."""
    head, slash, tail = place.rstrip("/").rpartition("/")
    return head + slash, tail


def show_prose(text: str) -> Markup:
    """Return a sentence with what stands between backticks, a command to type, as code.

    Examples
    --------
    >>> print(show_prose("<b> is held; `p3s why b` tells more"))
    &lt;b&gt; is held; <code>p3s why b</code> tells more
    """
    parts = re.split(r"`([^`\n]+)`", text)
    shown = [Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)]
    # Joined, what is plain text is escaped.
    return Markup("").join(shown)


#: Filters of the templates.
FILTERS: Mapping[str, Callable[..., Any]] = {
    "utc": show_utc,
    "iso": show_iso,
    "duration": format_duration,
    "size": format_size,
    "params": _show_params,
    "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "number": show_number,
    "split_place": _split_place,
    "prose": show_prose,
}
