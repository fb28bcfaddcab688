"""The database: connections, transactions, and all that differs between SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from p3s.errors import BadInput, Unavailable
from p3s.server.libpq import Command
from p3s.server.pipeline import count_known, find_pipe, lay_pipes
from p3s.server.prepared import Prepared, param, wrap_error
from p3s.server.sqlite import begin_sqlite, lengthen_log, prepare_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "Database",
    "Overtaken",
    "act",
    "cut_minutes",
    "insert_missing",
    "insert_new",
    "lock_name",
    "lock_rows",
    "normalise_address",
    "split_batches",
]

Result = TypeVar("Result")

#: A transaction that met a deadlock or a serialisation failure is run again this often.
TRIES = 6
#: Seconds after which a connection of PostgreSQL that nobody used is asked whether it is still there.
IDLE = 1.0
#: One number for all p3s servers on a PostgreSQL database: who holds it, sweeps.
SWEEPER_LOCK = 0x703373


class Overtaken(Exception):
    """Another transaction was quicker; this one rolls back and runs again on what is true now."""

    def __str__(self) -> str:
        return "other changes were quicker each time"


class _Passing(Unavailable):
    """What may be gone at the next try: a lock, a deadlock, a lost connection."""


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
    connections : int
        Most at a time, besides the one that the last transaction leaves to the next.
    patience : float
        Seconds that a caller waits for one of them.
    """

    def __init__(self, address: str, *, connections: int = 48, patience: float = 20.0) -> None:
        self.address = normalise_address(address)
        url = sa.make_url(self.address)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if not self.is_sqlite and url.get_backend_name() != "postgresql":
            raise BadInput([f"database '{address}': p3s works on sqlite:/// and postgresql:// addresses"])
        kept = min(16, connections)
        options: dict[str, Any] = {"pool_size": kept, "max_overflow": connections + 1 - kept, "pool_timeout": patience}
        # The one used last: its caches of pages and statements are warm, and those of the others stay small.
        options["pool_use_lifo"] = True
        options["json_deserializer"] = from_json
        if self.is_sqlite:
            options["connect_args"] = {"check_same_thread": False, "timeout": 30}
            # A QueuePool would keep a memory database apart per connection; only files are supported.
            options["poolclass"] = sa.QueuePool
        else:
            # What is prepared here outlives a transaction; what psycopg prepares by itself, it has dropped, all of it
            # with that of others, at each rollback, and that is how each reading ends.
            options["connect_args"] = {"prepare_threshold": None}
        try:
            self.engine = sa.create_engine(self.address, **options)
        except ModuleNotFoundError as error:
            raise BadInput(
                [f"database '{url.render_as_string()}' needs the package {error.name}: pip install 'p3s[postgres]'"]
            ) from error
        # SQLite has one writer; a queue in the process is fair and wakes at once, its busy handler sleeps.
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine, "connect", prepare_sqlite)
            event.listen(self.engine, "begin", begin_sqlite)
        else:
            event.listen(self.engine, "checkin", _note_use)
            event.listen(self.engine, "checkout", _check_idle)
            lay_pipes(self.engine, lambda connection, text, error: wrap_error(connection, text, None, error))
        self._writes = self.engine.execution_options(p3s_write=True)
        #: The connection of the last transaction, and when that ended; more than one only if some ended at a time.
        self._kept: list[tuple[sa.Connection, float]] = []
        # Each statement of PostgreSQL sees what was committed before it, with a transaction around it or without; its
        # begin and its end would be two more ways to the database and back.
        self._reads = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def kind(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    def show_address(self) -> str:
        """Return the address without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a connection for reading alone: on SQLite what it wrote would be rolled back, on PostgreSQL kept."""
        with _translate_errors(), self._reads.connect() as connection:
            yield connection

    @contextmanager
    def read_snapshot(self) -> Iterator[sa.Connection]:
        """Open a connection all of whose reads see one moment, while others write."""
        with self.engine.connect() as connection:
            # A transaction of SQLite is a snapshot by itself.
            level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            yield connection.execution_options(**level)

    def write(self, action: Callable[[sa.Connection], Result], *, planned: bool = False) -> Result:
        """Run `action` in one transaction: returning commits, raising rolls back.

        A deadlock, a serialisation failure or a lost connection before the commit rolls back and runs `action`
        again, so it must not act outside the database.

        Parameters
        ----------
        action : callable
            Acts on the open connection.
        planned : bool
            Whether its statements ask for rows by their keys, so that PostgreSQL may plan each of them once for a
            connection, whatever the values.

        Raises
        ------
        Unavailable
            If the database stayed locked, out of connections or out of reach.
        """
        for attempt in range(1, TRIES + 1):
            try:
                with _translate_errors(), self._writer, self._open_write() as connection:
                    return act(connection, action, planned=planned, commit=True)
            except (Overtaken, _Passing) as error:
                if attempt == TRIES:
                    raise Unavailable(f"the database cannot be written now ({error}); try again") from error
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - a jitter, not a secret
        raise AssertionError

    @contextmanager
    def _open_write(self) -> Iterator[sa.Connection]:
        """Open a transaction, mostly on the connection of the last one: the pool's part is as long as a statement."""
        connection = self._take_kept() or self._writes.connect()
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            raise
        self._keep(connection, time.monotonic())

    def _keep(self, connection: sa.Connection, used: float) -> None:
        """Leave a connection to the next transaction: of two used at a time the one that knows more statements."""
        try:
            other, before = self._kept.pop()
        except IndexError:
            self._kept.append((connection, used))
            return
        best, last = (connection, used) if count_known(connection) > count_known(other) else (other, before)
        self._kept.append((best, last))
        (other if best is connection else connection).close()

    def _take_kept(self) -> sa.Connection | None:
        try:
            connection, used = self._kept.pop()
        except IndexError:
            return None
        if self.is_sqlite or time.monotonic() - used < IDLE:
            return connection
        try:
            with connection.begin():
                connection.exec_driver_sql("SELECT 1")
        except DBAPIError:
            connection.close()
            return None
        return connection

    def try_to_lead(self, connection: sa.Connection) -> bool:
        """Return whether this transaction may sweep: at most one does at a time across all server processes."""
        if self.is_sqlite:
            return True
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(SWEEPER_LOCK))))

    def lengthen_log(self) -> int:
        """Make the log of SQLite as long as it gets, so that commits write over what is there.

        A commit that makes a file longer waits for the file system's own log too, twice as long in all. SQLite deletes
        its log when the last connection is closed, and otherwise begins it anew every 1,000 pages without cutting it.

        Returns
        -------
        int
            Pages written, by as many transactions that change nothing; 0 on PostgreSQL, which makes room by itself.
        """
        if not self.is_sqlite:
            return 0
        connection = self.engine.raw_connection()
        connection.detach()
        try:
            with self._writer:
                return lengthen_log(connection.dbapi_connection, Path(f"{self.engine.url.database}-wal"))
        finally:
            connection.close()

    def count_used(self) -> int:
        """Return how many connections are in use."""
        pool: Any = self.engine.pool
        return int(pool.checkedout()) - len(self._kept)

    def close(self) -> None:
        """Close all connections."""
        while self._kept:
            self._kept.pop()[0].close()
        self.engine.dispose()


#: What writes asks for rows by an index. A plan made while a table is empty, or was when PostgreSQL last counted, would
#: read all of it, and is kept; and to compile one takes longer than to run it.
_INDEXED = "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"
#: PostgreSQL plans a statement anew at its first five uses, and always if it takes ten values for likelier than one.
_PLANNED = f"{_INDEXED}, set_config('plan_cache_mode', 'force_generic_plan', true)"


def act(connection: sa.Connection, action: Callable[[sa.Connection], Result], *, planned: bool, commit: bool) -> Result:
    """Run an action in an open transaction (see `Database.write`); on PostgreSQL its last trip may commit."""
    pipe = find_pipe(connection)
    if pipe is not None:
        pipe.add(connection, Command(_PLANNED if planned else _INDEXED, None, None))
    result = action(connection)
    if pipe is not None:
        pipe.flush(commit=commit)
    return result


def find_open_transaction(connection: sa.Connection) -> int | None:
    """Return the number of the oldest transaction that may still commit; None where only one writes at a time."""
    if connection.dialect.name != "postgresql":
        return None
    return int(connection.scalar(sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")) or 0)


def cut_minutes(connection: sa.Connection, clock: sa.ColumnElement[float]) -> sa.ColumnElement[int]:
    """Return the start of the minute of a time, in seconds; a cast rounds in one database and cuts in the other."""
    minutes = clock / 60 if connection.dialect.name == "sqlite" else sa.func.floor(clock / 60)
    return sa.cast(minutes, sa.BigInteger) * 60


def lock_rows(statement: sa.Select[Any], *, skip_locked: bool = False, share: bool = False) -> sa.Select[Any]:
    """Return `statement` locking the rows it reads; on SQLite the transaction holds the only write lock anyway."""
    return statement.with_for_update(skip_locked=skip_locked, read=share)


@cache
def _prepare_lock(*, share: bool) -> Prepared:
    take = sa.func.pg_advisory_xact_lock_shared if share else sa.func.pg_advisory_xact_lock
    # Two numbers are another space than the one that `SWEEPER_LOCK` is in.
    return Prepared(sa.select(take(SWEEPER_LOCK, sa.func.hashtext(param("name", sa.Text())))))


def lock_name(connection: sa.Connection, name: str, *, share: bool = False) -> None:
    """Hold a name to the end of the transaction: alone, or with others that share it. Rows need not exist for it.

    What is sent after it, on the same trip too, sees what those have committed who held it before.
    """
    if connection.dialect.name == "postgresql":
        _prepare_lock(share=share).send(connection, name=name)


def insert_missing(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows that no unique constraint stops; another process may insert the same at the same moment."""
    connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def insert_new(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """Insert a row if no unique constraint stops it, and return whether it was inserted.

    Where another transaction has inserted the same, this one waits until it ends.
    """
    statement = _insert(connection, table).on_conflict_do_nothing().values(row).returning(*table.primary_key)
    return connection.execute(statement).first() is not None


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def split_batches(items: Sequence[Result], size: int = 500) -> Iterator[Sequence[Result]]:
    """Yield `items` in runs of at most `size`: databases bound the number of parameters of a statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _note_use(_connection: object, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _check_idle(connection: Any, record: Any, _proxy: object) -> None:
    # SQLAlchemy's own ping asks at each use, which costs as much as a statement. A connection that breaks within a
    # second of its last use fails like one that breaks during it: a write is tried again, a reader is told to.
    if time.monotonic() - record.info.get("used", time.monotonic()) < IDLE:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise InvalidatePoolError("the connection has gone") from error


#: PostgreSQL: serialisation failure, deadlock, lost connections and the shutdown classes.
_PASSING_STATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003", "08001"})
#: What the databases say when there is no room: SQLite's words, PostgreSQL's state.
_FULL = ("disk is full", "disk I/O error", "53100")


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn what a database says of its own condition into errors that tell the user what to do."""
    try:
        yield
    except PoolTimeoutError as error:
        raise Unavailable("all database connections are busy; try again in a moment") from error
    except OverflowError as error:
        # SQLite's driver says so before it sends anything.
        raise BadInput(["a number is too large to be kept; give one below 2^63"]) from error
    except DataError as error:
        # PostgreSQL: a number out of range, a text with NUL or too long for its column.
        said = str(error.orig).strip().splitlines()[0]
        raise BadInput([f"a value cannot be kept ({said}); give a smaller or shorter one, without NUL"]) from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", "") or ""
        said = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
        if any(word in f"{said} {state}" for word in _FULL):
            message = f"the database has no room ({said}); nothing was changed: make room on its disk, then try again"
            raise Unavailable(message) from error
        if "unable to open database file" in said:
            message = "the database file cannot be opened; check that its folder is there and may be written"
            raise Unavailable(message) from error
        # psycopg gives no state where there was no connection to speak over.
        lost = isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", "") is None
        if error.connection_invalidated or lost or state in _PASSING_STATES or "locked" in said:
            raise _Passing(said) from error
        raise
