"""where data comes from that another DAG makes, and workflows by name and start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    ident = sa.String(length=36, collation="C").with_variant(sa.String(length=36), "sqlite")
    op.create_table(
        "origin",
        sa.Column("dataset_id", big, nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("dag", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("match", sa.JSON(), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("source_id", big, nullable=True),
        sa.Column("workflow", ident, nullable=True),
        sa.Column("bound", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_origin_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["source_id"], ["dataset.id"], name=op.f("fk_origin_source_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_origin")),
    )
    op.create_index("ix_origin_source_id", "origin", ["source_id"])
    waiting = sa.text("waiting IS true" if op.get_bind().dialect.name == "postgresql" else "waiting IS 1")
    columns = ["owner", "dag", "dataset_id"]
    op.create_index("ix_origin_waiting", "origin", columns, sqlite_where=waiting, postgresql_where=waiting)
    op.create_index("ix_workflow_owner_name_started", "workflow", ["owner", "name", "started"])
