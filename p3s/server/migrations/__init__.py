"""The database's history: Alembic migrations, and what applies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from p3s.server.db import Database

__all__ = ["apply_migrations", "find_pending"]


def _make_config() -> Config:
    config = Config()
    config.set_main_option("script_location", "p3s.server:migrations")
    config.set_main_option("path_separator", "os")
    return config


def find_pending(db: Database) -> tuple[str | None, str]:
    """Return the version that the database has, None if it is empty, and the newest one."""
    newest = ScriptDirectory.from_config(_make_config()).get_current_head() or ""
    with db.read() as connection:
        return MigrationContext.configure(connection).get_current_revision(), newest


def apply_migrations(db: Database) -> None:
    """Bring the database to the newest version, in one transaction; two servers that start together wait in turn."""

    def action(connection: sa.Connection) -> None:
        if not db.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x70337301)))
        config = _make_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    db.write(action)
