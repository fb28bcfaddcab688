"""Many new rows at once: numbers reserved ahead, then one stream of values per table, past SQLAlchemy's statements.

What an INSERT that returns its ids costs per row is mostly SQLAlchemy's preparation of it. With ids reserved ahead
nothing need come back, so PostgreSQL takes rows by COPY and SQLite by one prepared statement.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.server.prepared import wrap_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BulkInsert", "encode_json", "reserve_ids"]

#: Encodes a value for a column of JSON, which `BulkInsert` takes as text.
encode_json = json.JSONEncoder(separators=(",", ":")).encode


def reserve_ids(connection: sa.Connection, table: sa.Table, number: int) -> Sequence[int]:
    """Return so many row ids that nobody else will use, in ascending order.

    On SQLite they hold for this transaction, which has the only write lock, and while it inserts no other rows into
    the table.
    """
    if connection.dialect.name == "sqlite":
        first = (connection.scalar(sa.select(sa.func.max(table.c.id))) or 0) + 1
        return range(first, first + number)
    sequence = sa.func.pg_get_serial_sequence(table.name, "id")
    series = sa.func.generate_series(1, number).table_valued("n")
    return connection.scalars(sa.select(sa.func.nextval(sequence)).select_from(series)).all()


class BulkInsert:
    """Insert rows given as tuples.

    Parameters
    ----------
    table : Table
        Where to.
    names : sequence of str
        The columns, in the order of the tuples. The others get the defaults that the database has.
    """

    def __init__(self, table: sa.Table, names: Sequence[str]) -> None:
        self._table = table
        self._names = list(names)
        self._texts: dict[str, str] = {}

    def run(self, connection: sa.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert `rows`: numbers, plain texts, flags or None, and JSON as text."""
        name = connection.dialect.name
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = self._make_text(connection.dialect)
        cursor: Any = connection.connection.cursor()
        try:
            if name == "sqlite":
                cursor.executemany(text, rows)
            else:
                with cursor.copy(text) as copy:
                    for row in rows:
                        copy.write_row(row)
        except Exception as error:
            raise wrap_error(connection, text, None, error) from error
        finally:
            cursor.close()

    def _make_text(self, dialect: sa.Dialect) -> str:
        quote = dialect.identifier_preparer.quote
        columns = ", ".join(quote(name) for name in self._names)
        target = f"{quote(self._table.name)} ({columns})"
        if dialect.name == "sqlite":
            marks = ", ".join("?" * len(self._names))
            return f"INSERT INTO {target} VALUES ({marks})"  # noqa: S608  # nosec B608 - names of our own
        return f"COPY {target} FROM STDIN"
