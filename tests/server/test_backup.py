"""Backup and restore: whole, while jobs run, from either database into either."""

from __future__ import annotations

import gzip

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput
from p3s.server.db import Database
from p3s.server.models import event, metadata
from p3s.server.usecases.backup import backup_database, restore_database
from p3s.server.usecases.core import Core
from p3s.server.usecases.sweep import sweep
from p3s.settings import Home, ServerSettings
from p3s.wire import ExternalMember
from tests.conftest import BOTH
from tests.support.databases import copy_sqlite
from tests.support.invariants import check_invariants
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, make_job, read_workflow_state

THERE = {"raw": [ExternalMember(place="/data/raw.csv", available=True, size=3)]}


@pytest.fixture(params=BOTH)
def target(request, tmp_path, sqlite_template):
    """An empty database to restore into."""
    (tmp_path / "target").mkdir()
    if request.param == "sqlite":
        address = copy_sqlite(sqlite_template, tmp_path / "target")
    else:
        address = request.getfixturevalue("postgres").make_empty()
    db = Database(address)
    yield db
    db.close()


def read_rows(db):
    """Return the rows of all tables, without numbers of transactions, which mean nothing in another database."""
    with db.read() as connection:
        return {
            table.name: sorted(
                map(repr, connection.execute(sa.select(*(one for one in table.c if one.name != "tx"))).all())
            )
            for table in metadata.sorted_tables
        }


def test_restored_system_goes_on(core, target, tmp_path):
    """A backup taken in the middle of a workflow restores to a system that finishes it, on either database."""
    loaded = load_text(core, DIAMOND, externals=THERE)
    pilot = ScriptedPilot(core, slots=4)
    pilot.succeed(pilot.claim()[0])
    left, right = pilot.claim()
    pilot.report(left, "started", stdout=b"\x00\xff", stdout_size=2)
    path = tmp_path / "backup.gz"
    counts = backup_database(core.db, path)
    assert counts["job"] == 4
    assert path.stat().st_mode & 0o077 == 0
    restored = restore_database(target, path)
    assert restored == counts
    assert read_rows(target) == read_rows(core.db)
    again = Core(target, ServerSettings(database="", home=Home(tmp_path)))
    same = ScriptedPilot.__new__(ScriptedPilot)
    same.__dict__.update(pilot.__dict__)
    same.core = again
    # The attempts of before the backup are known, with their tokens.
    same.succeed(left)
    same.succeed(right)
    (join,) = same.claim()
    same.succeed(join)
    assert read_workflow_state(again, loaded.uuid) == "finished"
    make_job(again)
    assert len(same.claim()) == 1
    sweep(again, leases=True)
    check_invariants(target)
    for order in (left, right):
        pilot.succeed(order)


def test_a_database_with_rows_is_left_alone(core, tmp_path):
    """A restore into a database in use is refused and changes nothing."""
    make_job(core)
    path = tmp_path / "backup.gz"
    backup_database(core.db, path)
    before = read_rows(core.db)
    with pytest.raises(BadInput, match="give an empty one"):
        restore_database(core.db, path)
    assert read_rows(core.db) == before


def test_damaged_backups_are_refused(core, target, tmp_path):
    """A file that is no backup, cut off, or of another version restores nothing."""
    make_job(core)
    path = tmp_path / "backup.gz"
    backup_database(core.db, path)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    damaged = {
        "cut": gzip.compress(b"".join(lines[:-3])),
        "torn": path.read_bytes()[:-40],
        "other": gzip.compress(lines[0].replace(b'"migration": "', b'"migration": "x') + b"".join(lines[1:])),
        "text": b"hello",
        "empty": gzip.compress(b""),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput):
            restore_database(target, tmp_path / name)
    with pytest.raises(BadInput):
        restore_database(target, tmp_path / "missing")
    with target.read() as connection:
        assert connection.execute(sa.select(event)).all() == []


def test_backup_that_cannot_be_written_is_told(core, tmp_path):
    """A folder that is not there is an error with the path, and leaves no half file."""
    with pytest.raises(BadInput, match="cannot be written"):
        backup_database(core.db, tmp_path / "missing" / "backup.gz")
