"""sites."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "site",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("env", sa.JSON(), nullable=False),
        sa.Column("pilots", sa.Integer(), nullable=True),
        sa.Column("pilotcycles", sa.Integer(), nullable=True),
        sa.Column("pilotperiod", sa.Double(), nullable=True),
        sa.Column("pilotbeat", sa.Double(), nullable=True),
        sa.Column("pilotlife", sa.Double(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_site")),
    )
