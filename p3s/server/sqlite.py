"""What is SQLite's own: its settings, its transactions, its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p3s.server.prepared import wrap_error

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

__all__ = ["begin_sqlite", "lengthen_log", "prepare_sqlite"]


def prepare_sqlite(connection: Any, _record: object) -> None:
    """Set up a new connection of the driver."""
    # The driver's own transaction control begins too late and deferred; `begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin_sqlite(connection: sa.Connection) -> None:
    """Begin a transaction, with the write lock at once if it is to write."""
    write = connection.get_execution_options().get("p3s_write", False)
    # A deferred transaction that reads and then writes fails at once when another wrote between. Asked of the driver
    # itself: what SQLAlchemy does around a statement costs several times as much as this one.
    text = "BEGIN IMMEDIATE" if write else "BEGIN"
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.execute(text).close()
    except Exception as error:
        raise wrap_error(connection, text, None, error) from error


def lengthen_log(driver: Any, log: Path) -> int:
    """Make the log of a database as long as it gets (see `p3s.server.db.Database.lengthen_log`).

    Parameters
    ----------
    driver : sqlite3.Connection
        To be closed afterwards.
    log : Path
        The file.

    Returns
    -------
    int
        Pages written.
    """

    def ask(name: str) -> int:
        return int(driver.execute(f"PRAGMA {name}").fetchone()[0])

    size = ask("page_size") + 24
    number = ask("wal_autocheckpoint") - (log.stat().st_size // size if log.exists() else 0)
    # What is not synced must not leave the log for the database: that is left to other connections, whose commits
    # sync all of the log first.
    driver.execute("PRAGMA wal_autocheckpoint=0")
    for left in range(number, 0, -1):
        driver.execute(f"PRAGMA synchronous={'OFF' if left > 1 else 'FULL'}")
        driver.execute("BEGIN IMMEDIATE")
        driver.execute(f"PRAGMA user_version={ask('user_version')}")
        driver.execute("COMMIT")
    return max(0, number)
