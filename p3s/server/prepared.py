"""Statements of the hot path: built and compiled once, then handed to the driver as they are.

SQLAlchemy builds, caches and compiles a statement in 0.2 to 0.5 ms at each call, the driver executes it in 0.01
(SQLite) or 0.15 (PostgreSQL). A `Prepared` keeps the text, the order of parameters and the converters of columns.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles

from p3s.server.libpq import Command
from p3s.server.pipeline import Later, find_pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy.sql.compiler import SQLCompiler

__all__ = [
    "Conditions",
    "InsertRows",
    "Prepared",
    "among",
    "has_state",
    "make_unnest",
    "param",
    "there_is",
    "wrap_error",
]


#: What holds of rows, all of it.
Conditions: TypeAlias = "tuple[sa.ColumnElement[bool], ...]"


def _encode(values: Sequence[Any]) -> str:
    return to_json(values).decode()


class _List(sa.Text):
    """A list of values written as JSON."""


class _Among(sa.ColumnElement[bool]):
    """A column's value is one of a list given at each run, in a text that does not depend on the list's length."""

    inherit_cache = True
    #: Else SQLAlchemy would write "= 1" behind it, and SQLite would read the whole table.
    _is_implicitly_boolean = True

    def __init__(self, column: sa.ColumnElement[Any], name: str) -> None:
        self.type = sa.Boolean()
        self.column = column
        self.values: sa.BindParameter[Any] = param(name, _List())
        self.listed: sa.BindParameter[Any] = param(name, sa.ARRAY(column.type))


@compiles(_Among, "postgresql")
def _compile_any(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY({compiler.process(element.listed, **kw)})"


@compiles(_Among, "sqlite")
def _compile_each(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    values = compiler.process(element.values, **kw)
    return f"{compiler.process(element.column, **kw)} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - compiled parts # nosec B608


def param(name: str, kind: Any) -> sa.BindParameter[Any]:
    """Return a parameter that is given at each run.

    Parameters
    ----------
    name : str
        Not that of a column which the statement sets.
    kind : SQLAlchemy type
        PostgreSQL is told of it.
    """
    return sa.bindparam(name, None, type_=kind)


def has_state(table: Any, state: str) -> sa.ColumnElement[bool]:
    """Return the condition that a row of `table` is in a state, in words that no partial index is chosen for.

    Where one might serve for a parameter's value, SQLite plans the statement anew at each run, which takes longer than
    the rest of it; and a plan that PostgreSQL keeps must not depend on how many rows were in a state when it was made.
    """
    given: sa.BindParameter[str] = sa.bindparam(None, str(state), type_=sa.Text())
    return cast("sa.ColumnElement[bool]", table.c.state == given.concat(sa.literal_column("''")))


def among(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """Return the condition that `column` has one of the values of the list parameter `name`."""
    return _Among(column, name)


def there_is(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return the condition that there is a row, which is looked for each time.

    For EXISTS, PostgreSQL would read all of a table once that it takes for small, and remember.
    """
    return sa.select(sa.literal_column("1")).where(*conditions).limit(1).scalar_subquery().is_not(None)


class _Form:
    """A statement in one dialect: its text, how parameters are passed, how rows are read."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = cast("SQLCompiler", statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))
        self.text = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        order = compiled.positiontup
        lists = {name for name, kind in compiled.binds.items() if isinstance(kind.type, _List)}
        #: Where the driver takes values by their places: those that never change, and the names of the others.
        self._row = [self._fixed.get(name) for name in order] if order is not None else None
        self._open = [(place, name, name in lists) for place, name in enumerate(order or ()) if name not in self._fixed]
        columns = list(statement.exported_columns) if statement.is_select or statement._returning else []  # noqa: SLF001
        row: Any = namedtuple("Row", [column.key for column in columns], rename=True) if columns else None  # noqa: PYI024
        #: Makes a row of its values; None if the statement gives no rows.
        self.make_row: Callable[[Iterable[Any]], Any] | None = row._make if row is not None else None
        # PostgreSQL's driver gives numbers, flags and JSON as they are; SQLite knows fewer kinds.
        needy = columns if dialect.name == "sqlite" else []
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in needy]
        self._readers = [(place, reader) for place, reader in enumerate(readers) if reader is not None]

    def arrange(self, values: Mapping[str, Any]) -> Any:
        """Return the parameters as the driver takes them."""
        if self._row is None:
            return {**self._fixed, **values}
        found = self._row.copy()
        for place, name, is_list in self._open:
            # SQLite knows no lists; json_each unfolds a text.
            found[place] = _encode(values[name]) if is_list else values[name]
        return found

    def read(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """Return rows with attributes, their values converted."""
        make_row = self.make_row
        assert make_row is not None
        if not self._readers:
            return [make_row(row) for row in rows]
        made = []
        for row in rows:
            values = list(row)
            for place, reader in self._readers:
                values[place] = reader(values[place])
            made.append(make_row(values))
        return made


class Prepared:
    """One statement with named parameters.

    Parameters
    ----------
    statement : Select, Insert, Update or Delete
        Its `param` are given at each run. Values of columns pass through no converter on their way in, so
        only what the driver takes by itself may be a parameter: numbers, texts, lists for `among`.
    """

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def run(self, connection: sa.Connection, **values: Any) -> list[Any]:
        """Execute and return the rows; empty for a statement that gives none."""
        return self.send(connection, **values).rows()

    def send(self, connection: sa.Connection, **values: Any) -> Later:
        """Have it executed behind what was sent before: at once, or, on PostgreSQL, when somebody asks for rows."""
        form = self._find_form(connection)
        arranged = form.arrange(values)
        if (pipe := find_pipe(connection)) is not None:
            return pipe.add(connection, Command(form.text, arranged, form.make_row))
        driver: Any = connection.connection.dbapi_connection
        try:
            # A cursor that has given all its rows needs no closing.
            rows = driver.execute(form.text, arranged).fetchall()
        except Exception as error:
            raise wrap_error(connection, form.text, arranged, error) from error
        return Later(found=form.read(rows) if form.make_row is not None else [])

    def run_many(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute once for each of `rows` a statement that gives no rows."""
        form = self._find_form(connection)
        arranged = [form.arrange(values) for values in rows]
        cursor: Any = connection.connection.cursor()
        try:
            cursor.executemany(form.text, arranged)
        except Exception as error:
            raise wrap_error(connection, form.text, arranged, error) from error
        finally:
            cursor.close()

    def _find_form(self, connection: sa.Connection) -> _Form:
        form = self._forms.get(connection.dialect.name)
        if form is None:
            form = self._forms[connection.dialect.name] = _Form(self._statement, connection.dialect)
        return form


class InsertRows:
    """Insert any number of rows in one statement of fixed text.

    Parameters
    ----------
    table : Table
        Where to.
    names : sequence of str
        The columns; none of them JSON or of bytes.
    told : sequence of str
        Columns of the new rows that PostgreSQL tells.
    """

    def __init__(self, table: sa.Table, names: Sequence[str], told: Sequence[str] = ()) -> None:
        self._names = list(names)
        self._told = ", ".join(told)
        row: Any = namedtuple("Row", told) if told else None  # noqa: PYI024
        self._make_row: Callable[[Iterable[Any]], Any] | None = row._make if told else None
        self._one = Prepared(sa.insert(table).values({name: param(name, table.c[name].type) for name in names}))
        self._table = table
        self._text = ""

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> Later:
        """Insert `rows`; a name that a row lacks is NULL. It may wait as what `Prepared.send` sends."""
        if connection.dialect.name != "postgresql":
            self._one.run_many(connection, [{name: row.get(name) for name in self._names} for row in rows])
            return Later(found=[])
        if not self._text:
            self._text = make_unnest(self._table, self._names, connection.dialect)
            self._text += f" RETURNING {self._told}" if self._told else ""
        columns = [[row.get(name) for row in rows] for name in self._names]
        pipe = find_pipe(connection)
        assert pipe is not None
        return pipe.add(connection, Command(self._text, columns, self._make_row))


def make_unnest(table: sa.Table, names: Sequence[str], dialect: sa.Dialect) -> str:
    """Return PostgreSQL's text for inserting any number of rows that are given as one list for each column."""
    quote = dialect.identifier_preparer.quote
    kinds = (table.c[name].type.dialect_impl(dialect) for name in names)
    # A text of bounded length would be cut by a cast to its own type instead of being refused.
    casts = ("TEXT" if isinstance(kind, sa.String) else kind.compile(dialect) for kind in kinds)
    arrays = ", ".join(f"%s::{cast}[]" for cast in casts)
    columns = ", ".join(quote(name) for name in names)
    return f"INSERT INTO {quote(table.name)} ({columns}) SELECT * FROM unnest({arrays})"  # noqa: S608 - names of our own # nosec B608


def wrap_error(connection: sa.Connection, text: str, values: Any, error: Exception) -> BaseException:
    """Return what SQLAlchemy would raise for an error of the driver."""
    dialect = connection.dialect
    base = dialect.loaded_dbapi.Error
    if not isinstance(error, base):
        return error
    lost = dialect.is_disconnect(error, cast("Any", connection.connection.dbapi_connection), None)
    wrapped = DBAPIError.instance(
        text, values, error, base, hide_parameters=True, connection_invalidated=lost, dialect=dialect
    )
    if lost:
        connection.invalidate(error)
    return wrapped
