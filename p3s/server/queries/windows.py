"""How far one page of a list looks where no index helps, and where the wrong one would be taken."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["WINDOW", "find_floor", "sort_alone"]

#: Rows that one page goes through.
WINDOW = 100_000


def find_floor(connection: sa.Connection, table: sa.Table, cursor: str | None, window: int | None) -> int:
    """Return the number of the last row that a page looks at, which is the cursor of the next one; 0 for the first row.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    table : sqlalchemy.Table
        Whose rows are numbered.
    cursor : str or None
        Where the page begins.
    window : int or None
        How many rows it may go through; None for all.
    """
    if window is None:
        return 0
    top = int(cursor) if cursor else (connection.scalar(sa.select(sa.func.max(table.c.id))) or 0) + 1
    return max(0, top - window)


def sort_alone(number: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return an order by numbers of rows that no index has, for the few rows of one workflow.

    Else PostgreSQL may go through the rows of all workflows in their order until it has met enough of this one's.
    """
    return number + 0
