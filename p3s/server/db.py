"""The database: connections, transactions, and all that differs between SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from p3s.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Database", "Overtaken", "insert_missing", "lock_rows", "normalise_address", "split_batches"]

Result = TypeVar("Result")

#: A transaction that met a deadlock or a serialisation failure is run again this often.
TRIES = 6
#: One number for all p3s servers on a PostgreSQL database: who holds it, sweeps.
SWEEPER_LOCK = 0x703373


class Overtaken(Exception):
    """Another transaction was quicker; this one rolls back and runs again on what is true now."""


def normalise_address(address: str) -> str:
    """Return `address` with the driver named that p3s uses.

    Examples
    --------
    >>> normalise_address("postgres://host/db")
    'postgresql+psycopg://host/db'
    >>> normalise_address("/srv/p3s.sqlite")
    'sqlite:////srv/p3s.sqlite'
    """
    for scheme in ("postgresql://", "postgres://"):
        if address.startswith(scheme):
            return "postgresql+psycopg://" + address.removeprefix(scheme)
    return address if "://" in address else f"sqlite:///{address}"


class Database:
    """A pool of connections to one database.

    Parameters
    ----------
    address : str
        An SQLAlchemy address, or the path of an SQLite file.
    """

    def __init__(self, address: str) -> None:
        self.address = normalise_address(address)
        url = sa.make_url(self.address)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if not self.is_sqlite and url.get_backend_name() != "postgresql":
            raise BadInput([f"database '{address}': p3s works on sqlite:/// and postgresql:// addresses"])
        options: dict[str, Any] = {"pool_size": 16, "max_overflow": 32, "pool_timeout": 20}
        if self.is_sqlite:
            options["connect_args"] = {"check_same_thread": False, "timeout": 30}
            # A QueuePool would keep a memory database apart per connection; only files are supported.
            options["poolclass"] = sa.QueuePool
        else:
            options["pool_pre_ping"] = True
        try:
            self.engine = sa.create_engine(self.address, **options)
        except ModuleNotFoundError as error:
            raise BadInput(
                [f"database '{url.render_as_string()}' needs the package {error.name}: pip install 'p3s[postgres]'"]
            ) from error
        # SQLite has one writer; a queue in the process is fair and wakes at once, its busy handler sleeps.
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writes = self.engine.execution_options(p3s_write=True)

    @property
    def kind(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a connection for reading; what it wrote would be rolled back."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def read_snapshot(self) -> Iterator[sa.Connection]:
        """Open a connection all of whose reads see one moment, while others write."""
        with self.engine.connect() as connection:
            # A transaction of SQLite is a snapshot by itself.
            level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            yield connection.execution_options(**level)

    def write(self, action: Callable[[sa.Connection], Result]) -> Result:
        """Run `action` in one transaction: returning commits, raising rolls back.

        A deadlock, a serialisation failure or a lost connection before the commit rolls back and runs `action`
        again, so it must not act outside the database.

        Raises
        ------
        Unavailable
            If the database stayed locked, out of connections or out of reach.
        """
        for attempt in range(1, TRIES + 1):
            try:
                with self._writer, self._writes.begin() as connection:
                    return action(connection)
            except Overtaken as error:
                if attempt == TRIES:
                    raise Unavailable("other changes were quicker each time; try again") from error
            except PoolTimeoutError as error:
                raise Unavailable("all database connections are busy; try again in a moment") from error
            except DBAPIError as error:
                if not _is_passing(error):
                    raise
                if attempt == TRIES:
                    raise Unavailable(f"the database cannot be written now ({_tell(error)}); try again") from error
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - a jitter, not a secret
        raise AssertionError

    def try_to_lead(self, connection: sa.Connection) -> bool:
        """Return whether this transaction may sweep: at most one does at a time across all server processes."""
        if self.is_sqlite:
            return True
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(SWEEPER_LOCK))))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def lock_rows(statement: sa.Select[Any], *, skip_locked: bool = False, share: bool = False) -> sa.Select[Any]:
    """Return `statement` locking the rows it reads; on SQLite the transaction holds the only write lock anyway."""
    return statement.with_for_update(skip_locked=skip_locked, read=share)


def insert_missing(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows that no unique constraint stops; another process may insert the same at the same moment."""
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(build(table).on_conflict_do_nothing(), rows)


def split_batches(items: Sequence[Result], size: int = 500) -> Iterator[Sequence[Result]]:
    """Yield `items` in runs of at most `size`: databases bound the number of parameters of a statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction control begins too late and deferred; `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("p3s_write", False)
    # A deferred transaction that reads and then writes fails at once when another wrote between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


#: PostgreSQL: serialisation failure, deadlock, and the shutdown classes.
_PASSING_STATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003", "08001"})


def _is_passing(error: DBAPIError) -> bool:
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _PASSING_STATES:
        return True
    return isinstance(error, OperationalError) and (
        "locked" in str(error.orig) or getattr(error.orig, "sqlstate", "") is None
    )


def _tell(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
