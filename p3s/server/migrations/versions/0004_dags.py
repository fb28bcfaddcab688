"""caps of jobtypes, jobs held one by one, overrides, numbers of results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "jobtype",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("cap", sa.Integer(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobtype")),
    )
    op.create_table(
        "blob_number",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name=op.f("fk_blob_number_digest"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", "key", name=op.f("pk_blob_number")),
    )
    op.add_column("attempt", sa.Column("counted", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("job", sa.Column("hold", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("workflow", sa.Column("overrides", sa.JSON(), nullable=True))
