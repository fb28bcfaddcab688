"""what is due is found by state and time, where SQLite went through all that waits or runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    no, yes = ("false", "true") if op.get_bind().dialect.name == "postgresql" else ("0", "1")
    _replace("ix_job_ready", "job", "not_before", f"state = 'waiting' AND missing = 0 AND paused IS {no}")
    _replace("ix_workflow_deadline", "workflow", "deadline", f"state = 'running' AND late IS {no}")
    _replace("ix_workflow_late", "workflow", "deadline", f"state = 'running' AND late IS {yes}")


def _replace(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.drop_index(name, table)
    op.create_index(name, table, ["state", column], sqlite_where=where, postgresql_where=where)
