"""Migrations: from nothing to the models, on both databases, and once only."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from p3s.server.db import Database
from p3s.server.migrations import apply_migrations, find_pending
from p3s.server.models import metadata
from tests.conftest import BOTH


@pytest.fixture(params=BOTH)
def empty(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite'}"
    return request.getfixturevalue("postgres").make_empty()


def test_models_equal_migrations(empty):
    """What the migrations make is what the models say."""
    db = Database(empty)
    assert find_pending(db)[0] is None
    apply_migrations(db)
    assert len(set(find_pending(db))) == 1
    with db.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    db.close()


def test_migrating_twice_changes_nothing(empty):
    """A second run finds nothing to do."""
    db = Database(empty)
    apply_migrations(db)
    before = find_pending(db)
    apply_migrations(db)
    assert find_pending(db) == before
    db.close()
