"""Statements of one transaction that are sent together, so that they share a trip to the database and back.

On PostgreSQL the way there and back takes longer than most statements. So a `Pipe` keeps what is given to it until
somebody asks for rows, or the transaction ends; the statements run in the order in which they were given. On SQLite,
which has no way to go, each runs at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from p3s.server.libpq import Command, Line

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

__all__ = ["Later", "Pipe", "count_known", "find_pipe", "lay_pipes"]

#: The key in a connection's `info`, which lives as long as the driver's connection does.
_KEY = "p3s_pipe"


class Later:
    """What a statement gives, once it has run.

    Parameters
    ----------
    pipe : Pipe or None
        Where the statement waits; None if it has run.
    found : list
        Its rows, if it has run.
    """

    __slots__ = ("_found", "_pipe")

    def __init__(self, pipe: Pipe | None = None, found: list[Any] | None = None) -> None:
        self._pipe, self._found = pipe, found

    def rows(self) -> list[Any]:
        """Return the rows; empty for a statement that gives none. All that waits before it runs now."""
        if self._found is None:
            assert self._pipe is not None
            self._pipe.flush()
        # Else its transaction has failed or ended.
        assert self._found is not None
        return self._found

    def take(self, found: list[Any]) -> None:
        """Take in the rows."""
        self._found = found


class Pipe:
    """The statements of one connection to PostgreSQL that were not sent yet.

    Parameters
    ----------
    driver : psycopg.Connection
        The connection.
    wrap_error : callable
        Turns an error of the driver into SQLAlchemy's.
    """

    def __init__(self, driver: Any, wrap_error: Callable[[sa.Connection, str, Exception], BaseException]) -> None:
        self._line, self._wrap_error = Line(driver), wrap_error
        self._waiting: list[tuple[Command, Later]] = []
        self._connection: sa.Connection | None = None

    @property
    def known(self) -> int:
        """How many statements the database has prepared for this connection."""
        return self._line.known

    def add(self, connection: sa.Connection, command: Command) -> Later:
        """Add a statement of the transaction that `connection` has open."""
        later = Later(self)
        self._connection = connection
        self._waiting.append((command, later))
        return later

    def flush(self, *, commit: bool = False) -> None:
        """Run what waits, and commit behind it if asked to; the first error of any is raised."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        commands = [command for command, _ in waiting]
        try:
            # Behind a commit on the same trip, the driver's own has nothing to do.
            found = self._line.travel(commands, commit=commit)
        except Exception as error:
            assert self._connection is not None
            raise self._wrap_error(self._connection, commands[0].text, error) from error
        for (_, later), rows in zip(waiting, found, strict=True):
            later.take(rows)

    def drop(self) -> None:
        """Forget what waits: its transaction has ended without it."""
        self._waiting.clear()
        self._connection = None


def find_pipe(connection: sa.Connection) -> Pipe | None:
    """Return the pipe of a connection; None on SQLite."""
    found: Pipe | None = connection.info.get(_KEY)
    return found


def count_known(connection: sa.Connection) -> int:
    """Return how many statements were prepared over a connection; 0 on SQLite."""
    pipe = find_pipe(connection)
    return 0 if pipe is None else pipe.known


def lay_pipes(engine: sa.Engine, wrap_error: Callable[[sa.Connection, str, Exception], BaseException]) -> None:
    """Give each connection of an engine a pipe, which is emptied before what SQLAlchemy sends itself, and a commit."""

    def lay(driver: Any, record: Any) -> None:
        record.info[_KEY] = Pipe(driver, wrap_error)

    def send(connection: sa.Connection, *_: Any) -> None:
        if (pipe := find_pipe(connection)) is not None:
            pipe.flush()

    def drop(_driver: Any, record: Any, _state: object) -> None:
        if _KEY in record.info:
            record.info[_KEY].drop()

    event.listen(engine, "connect", lay)
    event.listen(engine, "before_cursor_execute", send)
    event.listen(engine, "commit", send)
    # A connection goes back to the pool after what was rolled back, and after what was committed nothing waits.
    event.listen(engine, "reset", drop)
