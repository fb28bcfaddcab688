"""files of deleted datasets that pilots are to delete."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    ident = sa.String(length=36, collation="C").with_variant(sa.String(length=36), "sqlite")
    op.create_table(
        "removal",
        sa.Column("id", big, nullable=False),
        sa.Column("uuid", ident, nullable=False),
        sa.Column("dataset", ident, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("fence", sa.Text(), nullable=False),
        sa.Column("published", sa.Text(), nullable=False, server_default=""),
        sa.Column("site", sa.String(length=100), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("pilot_id", big, nullable=True),
        sa.Column("due", sa.Double(), nullable=False, server_default="0"),
        sa.Column("done", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["pilot_id"], ["pilot.id"], name=op.f("fk_removal_pilot_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removal")),
        sa.UniqueConstraint("uuid", name=op.f("uq_removal_uuid")),
    )
    op.create_index("ix_removal_dataset", "removal", ["dataset"])
    undone = sa.text("done IS NULL")
    op.create_index("ix_removal_open", "removal", ["pilot_id", "due"], sqlite_where=undone, postgresql_where=undone)
