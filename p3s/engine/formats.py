"""How quantities are shown to people: ages, durations, sizes."""

from __future__ import annotations

__all__ = ["format_age", "format_duration", "format_size"]

_SIZES = {"d": 86_400, "h": 3_600, "m": 60}


def format_age(seconds: float | None) -> str:
    """Return an age in its largest unit; a dash for none.

    Examples
    --------
    >>> format_age(5), format_age(200), format_age(90_000), format_age(None)
    ('5s', '3m', '25h', '-')
    """
    if seconds is None:
        return "-"
    left = max(0, int(seconds))
    for size, unit in ((172_800, "d"), (7_200, "h"), (120, "m")):
        if left >= size:
            return f"{left // _SIZES[unit]}{unit}"
    return f"{left}s"


def format_duration(seconds: float | None) -> str:
    """Return how long something took, in its two largest units; a dash for unknown.

    Examples
    --------
    >>> format_duration(0.42), format_duration(75), format_duration(3_900), format_duration(100_000)
    ('0.42 s', '1 min 15 s', '1 h 05 min', '1 d 03 h')
    >>> format_duration(8.04), format_duration(None)
    ('8.0 s', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 24 else f"{hours // 24} d {hours % 24:02} h"


def format_size(size: int | None) -> str:
    """Return bytes in the unit that leaves few digits; a dash for unknown.

    Examples
    --------
    >>> format_size(512), format_size(20_480), format_size(None)
    ('512 B', '20.5 kB', '-')
    """
    if size is None:
        return "-"
    shown, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if shown < 1000 or unit == "TB":
            break
        shown /= 1000
    return f"{shown:.0f} {unit}" if unit == "B" else f"{shown:.1f} {unit}"
