"""How late work is, minute by minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("minute", sa.Column("wait", sa.Double, nullable=False, server_default="0"))
    op.add_column("minute", sa.Column("late", sa.Integer, nullable=False, server_default="0"))
