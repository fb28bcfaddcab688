"""The database's own troubles: clear errors, another try where it helps, and nothing half written."""

from __future__ import annotations

import sqlite3
import threading
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy import event as sa_event

from p3s.errors import BadInput, Unavailable
from p3s.server.app import create_app
from p3s.server.db import Database, Overtaken
from p3s.server.models import job, token, workflow
from p3s.server.prepared import Prepared
from p3s.settings import Home, ServerSettings
from tests.support.databases import copy_sqlite
from tests.support.workflows import load_text, make_job

ROW = {"role": "viewer", "created": 0.0}


def insert(connection, name):
    """Insert a token row."""
    connection.execute(sa.insert(token).values(ROW | {"name": name, "hash": name}))


def count(db):
    """Return the number of token rows."""
    with db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(token))


def test_raising_rolls_back(core):
    """What a transaction wrote before it raised is gone."""

    def action(connection):
        insert(connection, "x")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        core.db.write(action)
    assert count(core.db) == 0


def test_a_reading_that_writes_is_found(core):
    """On SQLite what a reading wrote is gone; on PostgreSQL it would be kept, so that these tests fail."""
    change = Prepared(sa.update(token).values(role="admin"))
    with core.db.read() as connection:
        if core.db.is_sqlite:
            insert(connection, "x")
            change.run(connection)
        else:
            with pytest.raises(AssertionError, match="a reading writes"):
                insert(connection, "x")
            with pytest.raises(AssertionError, match="a reading writes"):
                change.run(connection)
    assert count(core.db) == 0


def test_overtaken_transactions_run_again(core):
    """A transaction that another overtook runs again on what is true then, and in the end says so."""
    runs = []

    def action(connection):
        runs.append(1)
        if len(runs) < 3:
            insert(connection, f"x{len(runs)}")
            raise Overtaken
        insert(connection, "last")

    core.db.write(action)
    assert (len(runs), count(core.db)) == (3, 1)

    def never(_connection):
        raise Overtaken

    with pytest.raises(Unavailable, match="quicker each time"):
        core.db.write(never)


def test_the_connection_used_last_is_used_first(core):
    """What one caller at a time asks goes over one connection, whose caches are warm, also after many were in use."""
    opened = [core.db.engine.connect() for _ in range(4)]
    for connection in opened:
        connection.close()
    used = set()
    for _ in range(4):
        with core.db.read() as connection:
            used.add(id(connection.connection.dbapi_connection))
    assert len(used) == 1


def test_one_connection_writes_and_is_not_in_use_between(core):
    """Transactions that follow each other share a connection, which counts as free in between."""

    def find(connection):
        return id(connection.connection.dbapi_connection)

    assert len({core.db.write(find) for _ in range(4)}) == 1
    assert core.db.count_used() == 0

    def fail(_connection):
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        core.db.write(fail)
    assert core.db.count_used() == 0
    core.db.write(lambda connection: insert(connection, "x"))
    assert count(core.db) == 1


@pytest.mark.parametrize("first_ends_last", [True, False])
def test_of_two_connections_that_wrote_at_a_time_the_one_that_knows_more_writes_on(postgres, first_ends_last):
    """What a transaction found prepared, the next one finds too, whoever came in between."""
    db = Database(postgres.copy())
    look = Prepared(sa.select(token.c.id).where(token.c.name == "x"))

    def ask(connection):
        look.run(connection)
        return connection.scalar(sa.text("SELECT pg_backend_pid()"))

    first, others = db.write(ask), []
    begun, ended = threading.Event(), threading.Event()

    def act_meanwhile(connection):
        others.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
        begun.set()
        assert first_ends_last or ended.wait(20)

    thread = threading.Thread(target=db.write, args=(act_meanwhile,))

    def act(_connection):
        thread.start()
        assert begun.wait(20)
        if first_ends_last:
            thread.join(20)

    db.write(act)
    ended.set()
    thread.join(20)
    assert others != [first]
    assert db.write(ask) == first
    assert db.count_used() == 0
    db.close()


def test_a_connection_that_broke_while_it_rested_is_replaced(postgres, monkeypatch):
    """A server that was restarted between two transactions costs none of them."""
    db = Database(postgres.copy())
    # So each of them has rested for long.
    monkeypatch.setattr("p3s.server.db.IDLE", 0.0)
    ask = sa.text("SELECT pg_backend_pid()")
    first = db.write(lambda connection: connection.scalar(ask))
    assert db.write(lambda connection: connection.scalar(ask)) == first
    with db.read() as connection:
        assert connection.scalar(sa.text(f"SELECT pg_terminate_backend({first})"))
    runs = []

    def action(connection):
        runs.append(connection.scalar(ask))
        insert(connection, "x")

    db.write(action)
    assert len(runs) == 1
    assert runs != [first]
    assert count(db) == 1
    db.close()


def test_full_disk_is_told_and_changes_nothing(tmp_path, sqlite_template):
    """When the disk is full, a load fails with what to do, and leaves no half a workflow that could run."""
    from p3s.server.usecases.core import Core

    address = copy_sqlite(sqlite_template, tmp_path)
    db = Database(address)
    core = Core(db, ServerSettings(database=address, home=Home(tmp_path / "home")))
    make_job(core)
    db.close()
    size = sqlite3.connect(tmp_path / "p3s.sqlite").execute("PRAGMA page_count").fetchone()[0]
    # A database that may not grow is what a full disk looks like from inside.
    sa_event.listen(
        db.engine, "connect", lambda connection, _record: connection.execute(f"PRAGMA max_page_count={size + 2}")
    )
    with pytest.raises(Unavailable, match="no room"):
        load_text(core, "name: big\njobs:\n" + "".join(f"  j{number}: {{run: x}}\n" for number in range(2000)))
    with db.read() as connection:
        states = connection.scalars(sa.select(workflow.c.state).where(workflow.c.name == "big")).all()
        assert connection.scalar(sa.select(sa.func.count()).where(job.c.state == "defined")) == 1
    assert set(states) <= {"loading"}
    db.close()


def test_the_log_gets_its_length_at_once(tmp_path, sqlite_template):
    """Commits write over what is there: the log grows no more, and nothing in the database has changed."""
    db = Database(copy_sqlite(sqlite_template, tmp_path))
    db.write(lambda connection: insert(connection, "before"))
    log = tmp_path / "p3s.sqlite-wal"
    version = sqlite3.connect(tmp_path / "p3s.sqlite").execute("PRAGMA user_version").fetchone()
    frame = 24 + sqlite3.connect(tmp_path / "p3s.sqlite").execute("PRAGMA page_size").fetchone()[0]
    assert log.stat().st_size < 100 * frame
    assert db.lengthen_log() > 900
    size = log.stat().st_size
    assert size > 1000 * frame
    assert db.lengthen_log() == 0
    for number in range(300):
        db.write(partial(insert, name=f"after {number}"))
    assert log.stat().st_size <= size + 100 * frame
    assert count(db) == 301
    with db.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 1000
    assert sqlite3.connect(tmp_path / "p3s.sqlite").execute("PRAGMA user_version").fetchone() == version
    db.close()


def test_a_log_that_stays_short_is_no_reason_to_stop(tmp_path, sqlite_template, caplog):
    """A server whose database is locked at its start, or has no room, serves as soon as it can."""
    from p3s.server.serve import _warm_up
    from p3s.server.usecases.core import Core

    address = copy_sqlite(sqlite_template, tmp_path)
    core = Core(Database(address), ServerSettings(database=address, home=Home(tmp_path / "home")))
    core.db.close()
    sa_event.listen(core.db.engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout=1"))
    other = sqlite3.connect(tmp_path / "p3s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    _warm_up(core)
    assert "stays short" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    core.db.write(lambda connection: insert(connection, "x"))
    assert count(core.db) == 1
    core.db.close()


def test_postgresql_needs_no_longer_log(postgres):
    """It makes room in advance by itself."""
    db = Database(postgres.copy())
    assert db.lengthen_log() == 0
    db.close()


def test_a_lock_that_stays_is_told(tmp_path, sqlite_template):
    """A database that another program keeps locked is an error to try again, not a crash."""
    address = copy_sqlite(sqlite_template, tmp_path)
    db = Database(address)
    sa_event.listen(db.engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout=1"))
    other = sqlite3.connect(tmp_path / "p3s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        db.write(lambda connection: insert(connection, "x"))
    other.execute("ROLLBACK")
    other.close()
    db.write(lambda connection: insert(connection, "x"))
    assert count(db) == 1
    db.close()


def test_empty_pool_answers_503(tmp_path, sqlite_template):
    """With all connections taken, a request is answered 503 with Retry-After, and the next one goes through."""
    address = copy_sqlite(sqlite_template, tmp_path)
    db = Database(address, connections=1, patience=0.05)
    app = create_app(db, ServerSettings(database=address, home=Home(tmp_path / "home")))
    release, taken = threading.Event(), threading.Event()

    def keep():
        with db.read():
            taken.set()
            release.wait(20)

    keeper = threading.Thread(target=keep)
    keeper.start()
    taken.wait(10)
    headers = {"Authorization": "Bearer p3s_nobody"}
    busy = app.test_client().get("/api/v1/status", headers=headers)
    release.set()
    keeper.join(10)
    assert busy.status_code == 503
    assert "connections are busy" in busy.get_json()["error"]["message"]
    assert busy.headers["Retry-After"]
    assert app.test_client().get("/api/v1/status", headers=headers).status_code == 401
    db.close()


def test_unknown_databases_are_refused():
    """Only SQLite and PostgreSQL are served."""
    with pytest.raises(BadInput, match="sqlite:/// and postgresql://"):
        Database("mysql://host/db")


@pytest.mark.postgres
def test_a_database_out_of_reach_is_told(tmp_path):
    """A PostgreSQL server that does not answer is an error to try again."""
    db = Database(f"postgresql://nobody@/p3s?host={tmp_path}")
    with pytest.raises(Unavailable):
        db.write(lambda connection: insert(connection, "x"))
    with pytest.raises(Unavailable), db.read():
        pass
    db.close()
