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

__all__ = ["BulkInsert", "Ids", "encode_json"]

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


class Ids:
    """Row ids that nobody else will use, in ascending order; they are asked for along with what is sent next.

    On SQLite they hold for this transaction, which has the only write lock, and while it inserts no other rows into
    the table.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        The open transaction.
    table : Table
        Where the rows will go.
    number : int
        How many at most.
    """

    def __init__(self, connection: sa.Connection, table: sa.Table, number: int) -> None:
        kind = connection.dialect.name
        statement = _prepare_ids(table, kind)
        self._number, self._taken = number, 0
        self._sent = statement.send(connection) if kind == "sqlite" else statement.send(connection, number=number)

    def take(self, number: int) -> Sequence[int]:
        """Return the next so many of them."""
        begin, self._taken = self._taken, self._taken + number
        assert self._taken <= self._number, f"{self._number} ids were asked for, {self._taken} are needed"
        rows = self._sent.rows()
        if len(rows) == self._number:
            return [row.id for row in rows[begin : self._taken]]
        # SQLite tells the first one.
        return range(rows[0].id + begin, rows[0].id + self._taken)


class BulkInsert:
    """Insert rows given as tuples.

    Parameters
    ----------
    table : Table
        Where to.
    names : sequence of str
        The columns, in the order of the tuples. The others get the defaults that the database has.
    replacing : sequence of str, optional
        The columns that a row gets which is there with the same primary key, perhaps none. Without it, such a row is
        an error.
    """

    def __init__(self, table: sa.Table, names: Sequence[str], *, replacing: Sequence[str] | None = None) -> None:
        self._table = table
        self._names = list(names)
        self._replacing = replacing
        self._texts: dict[str, str] = {}

    def run(self, connection: sa.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert `rows`: numbers, plain texts, flags or None, and JSON as text."""
        kind = connection.dialect.name
        pipe = find_pipe(connection)
        if pipe is not None:
            rows = list(rows)
            if not rows:
                return
            if len(rows) <= FEW or self._replacing is not None:
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
        quote = dialect.identifier_preparer.quote
        kept = ""
        if self._replacing is not None:
            keys = ", ".join(quote(column.name) for column in self._table.primary_key)
            fresh = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in self._replacing)
            kept = f" ON CONFLICT ({keys}) DO NOTHING"
            if fresh:
                kept = f" ON CONFLICT ({keys}) DO UPDATE SET {fresh}"  # nosec B608 - names of our own
        if kind == "few":
            return make_unnest(self._table, self._names, dialect) + kept
        columns = ", ".join(quote(name) for name in self._names)
        target = f"{quote(self._table.name)} ({columns})"
        if kind == "sqlite":
            marks = ", ".join("?" * len(self._names))
            return f"INSERT INTO {target} VALUES ({marks}){kept}"  # noqa: S608  # nosec B608 - names of our own
        return f"COPY {target} FROM STDIN"
