"""held jobs by workflow: what a start goes through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    held = sa.text("state = 'held'")
    op.create_index("ix_job_held", "job", ["workflow_id", "id"], sqlite_where=held, postgresql_where=held)
