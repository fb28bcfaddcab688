"""How values are written in pages and exports."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from p3s.engine.formats import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FILTERS", "show_iso", "show_utc"]


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


def _show_params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())


#: Filters of the templates.
FILTERS: Mapping[str, Callable[..., str]] = {
    "utc": show_utc,
    "iso": show_iso,
    "duration": format_duration,
    "size": format_size,
    "params": _show_params,
    "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "number": lambda value: f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.4g}",
}
