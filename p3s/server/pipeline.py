"""Statements of one transaction that are sent together, so that they share a trip to the database and back.

On PostgreSQL the way there and back takes longer than most statements. So a `Pipe` keeps what is given to it until
somebody asks for rows, or the transaction ends; the statements run in the order in which they were given. On SQLite,
which has no way to go, each runs at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa

__all__ = ["Later", "Pipe", "can_pipe", "find_pipe", "watch_pipes"]

#: The key in a connection's `info`.
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
    """The statements of one open transaction on PostgreSQL that were not sent yet.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Has it until `close`.
    wrap_error : callable
        Turns an error of the driver into SQLAlchemy's.
    """

    def __init__(
        self, connection: sa.Connection, wrap_error: Callable[[sa.Connection, str, Exception], BaseException]
    ) -> None:
        self._connection, self._wrap_error = connection, wrap_error
        self._waiting: list[tuple[str, Any, Callable[[Sequence[Any]], list[Any]] | None, Later]] = []
        connection.info[_KEY] = self

    def add(self, text: str, values: Any, read: Callable[[Sequence[Any]], list[Any]] | None) -> Later:
        """Add a statement; `read` makes rows of what the driver gives, None if it gives none."""
        later = Later(self)
        self._waiting.append((text, values, read, later))
        return later

    def flush(self, *, commit: bool = False) -> None:
        """Run what waits, and commit behind it if asked to; the first error of any is raised."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        driver: Any = self._connection.connection.dbapi_connection
        cursors = []
        try:
            if len(waiting) == 1 and not commit:
                cursors.append(driver.execute(*waiting[0][:2], prepare=True))
            else:
                with driver.pipeline():
                    cursors += [driver.execute(text, values, prepare=True) for text, values, _, _ in waiting]
                    if commit:
                        # The driver's own `commit` would be another trip; this one leaves it nothing to do.
                        driver.execute("COMMIT", prepare=False)
        except Exception as error:
            raise self._wrap_error(self._connection, waiting[0][0], error) from error
        for cursor, (_, _, read, later) in zip(cursors, waiting, strict=True):
            later.take([] if read is None else read(cursor.fetchall()))
            cursor.close()

    def close(self) -> None:
        """Leave the connection; what waits is dropped."""
        self._waiting.clear()
        self._connection.info.pop(_KEY, None)


def can_pipe() -> bool:
    """Return whether the library of PostgreSQL that is installed here can send statements together (14 and later)."""
    import psycopg  # noqa: PLC0415 - installed only where it is used

    return bool(psycopg.Pipeline.is_supported())


def find_pipe(connection: sa.Connection) -> Pipe | None:
    """Return the pipe of a connection, if it has one."""
    found: Pipe | None = connection.info.get(_KEY)
    return found


def watch_pipes(engine: sa.Engine) -> None:
    """Have what waits sent before each statement that SQLAlchemy sends by itself."""

    def send(connection: sa.Connection, *_: Any) -> None:
        if (pipe := find_pipe(connection)) is not None:
            pipe.flush()

    event.listen(engine, "before_cursor_execute", send)
