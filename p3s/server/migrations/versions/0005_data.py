"""data that arrives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    ident = sa.String(length=36, collation="C").with_variant(sa.String(length=36), "sqlite")
    op.add_column("workflow", sa.Column("arrived", sa.Double(), nullable=True))
    op.add_column("event", sa.Column("tx", sa.BigInteger(), server_default="0", nullable=False))
    if op.get_bind().dialect.name == "postgresql":
        # Several transactions write at once: their numbers tell which events may still be joined by earlier ones.
        op.execute("ALTER TABLE event ALTER COLUMN tx SET DEFAULT (pg_current_xact_id()::text::bigint)")
    op.create_index("ix_event_tx_id", "event", ["tx", "id"])
    op.create_table(
        "service",
        sa.Column("id", big, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("instance", ident, server_default="", nullable=False),
        sa.Column("host", sa.String(length=255), server_default="", nullable=False),
        sa.Column("pid", sa.Integer(), server_default="0", nullable=False),
        sa.Column("period", sa.Double(), server_default="60", nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.Column("stopped", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("last", sa.Text(), server_default="", nullable=False),
        sa.Column("last_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
        sa.UniqueConstraint("name", name=op.f("uq_service_name")),
    )
    op.create_table(
        "arrival",
        sa.Column("id", big, nullable=False),
        sa.Column("uuid", ident, nullable=False),
        sa.Column("service_id", big, nullable=False),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("stamp", sa.String(length=100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.String(length=80), nullable=False),
        sa.Column("fate", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("workflow", ident, nullable=True),
        sa.Column("arrived", sa.Double(), nullable=False),
        sa.Column("decided", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name=op.f("fk_arrival_service_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrival")),
        sa.UniqueConstraint("uuid", name=op.f("uq_arrival_uuid")),
        sa.UniqueConstraint(
            "service_id", "rule", "place", "identity", name=op.f("uq_arrival_service_id_rule_place_identity")
        ),
    )
    op.create_index("ix_arrival_place", "arrival", ["place"])
    op.create_index("ix_arrival_identity", "arrival", ["service_id", "rule", "identity"])
    op.create_index("ix_arrival_service_id_fate_id", "arrival", ["service_id", "fate", "id"])
