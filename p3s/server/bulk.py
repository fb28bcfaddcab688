"""Many new rows at once: numbers reserved ahead, then one stream of values per table, past SQLAlchemy's statements.

What an INSERT that returns its ids costs per row is mostly SQLAlchemy's preparation of it. With ids reserved ahead
nothing need come back, so PostgreSQL takes rows by COPY, few of them by a statement that waits for company, and SQLite
by one prepared statement.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.server.libpq import Command
from p3s.server.pipeline import find_pipe
from p3s.server.prepared import Prepared, make_unnest, param, wrap_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BulkInsert", "encode_json", "reserve_ids"]

#: Encodes a value for a column of JSON, which `BulkInsert` takes as text.
encode_json = json.JSONEncoder(separators=(",", ":")).encode


#: So many rows are few: a COPY is a trip to the database of its own.
FEW = 50


@cache
def _prepare_ids(table: sa.Table, kind: str) -> Prepared:
    if kind == "sqlite":
        return Prepared(sa.select((sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).label("id")))
    sequence = sa.func.pg_get_serial_sequence(sa.literal_column(f"'{table.name}'"), sa.literal_column("'id'"))
    series = sa.func.generate_series(1, param("number", sa.Integer)).table_valued("n")
    return Prepared(sa.select(sa.func.nextval(sequence).label("id")).select_from(series))


def reserve_ids(connection: sa.Connection, table: sa.Table, number: int) -> Sequence[int]:
    """Return so many row ids that nobody else will use, in ascending order.

    On SQLite they hold for this transaction, which has the only write lock, and while it inserts no other rows into
    the table.
    """
    kind = connection.dialect.name
    statement = _prepare_ids(table, kind)
    if kind == "sqlite":
        first = statement.run(connection)[0].id
        return range(first, first + number)
    return [row.id for row in statement.run(connection, number=number)]


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
        kind = connection.dialect.name
        pipe = find_pipe(connection)
        if pipe is not None:
            rows = list(rows)
            if 0 < len(rows) <= FEW:
                columns = [list(column) for column in zip(*rows, strict=True)]
                pipe.add(connection, Command(self._find_text(connection.dialect, "few"), columns, None))
                return
            pipe.flush()
        text = self._find_text(connection.dialect, kind)
        cursor: Any = connection.connection.cursor()
        try:
            if kind == "sqlite":
                cursor.executemany(text, rows)
            else:
                with cursor.copy(text) as copy:
                    for row in rows:
                        copy.write_row(row)
        except Exception as error:
            raise wrap_error(connection, text, None, error) from error
        finally:
            cursor.close()

    def _find_text(self, dialect: sa.Dialect, kind: str) -> str:
        text = self._texts.get(kind)
        if text is None:
            text = self._texts[kind] = self._make_text(dialect, kind)
        return text

    def _make_text(self, dialect: sa.Dialect, kind: str) -> str:
        if kind == "few":
            return make_unnest(self._table, self._names, dialect)
        quote = dialect.identifier_preparer.quote
        columns = ", ".join(quote(name) for name in self._names)
        target = f"{quote(self._table.name)} ({columns})"
        if kind == "sqlite":
            marks = ", ".join("?" * len(self._names))
            return f"INSERT INTO {target} VALUES ({marks})"  # noqa: S608  # nosec B608 - names of our own
        return f"COPY {target} FROM STDIN"
