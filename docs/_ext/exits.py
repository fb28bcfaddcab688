"""A pilot's exit codes."""

from __future__ import annotations

import inspect

from _ext.tables import make_table, read_comments
from p3s.pilot import exits

__all__ = ["make_exits"]


def make_exits() -> str:
    """Return the table of a pilot's exit codes."""
    meanings = read_comments(inspect.getsource(exits))
    rows = [[str(getattr(exits, name)), meanings[name]] for name in meanings]
    return make_table(["code", "meaning"], sorted(rows, key=lambda row: int(row[0])))
