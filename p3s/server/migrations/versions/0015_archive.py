"""finished work is archived; what a purge looks for has an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IDENT = sa.String(36, collation="C").with_variant(sa.String(36), "sqlite")


def _refer(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    name = op.f(f"fk_{table}_archive_id")
    return (
        sa.Column("archive_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["archive_id"], ["archive.id"], name=name, ondelete="CASCADE"),
    )


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "archive",
        sa.Column("id", _ID, nullable=False),
        sa.Column("uuid", _IDENT, nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("standalone", sa.Boolean(), nullable=False),
        sa.Column("dag", sa.String(200)),
        sa.Column("version", sa.Integer()),
        sa.Column("key", sa.String(200)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("overrides", sa.JSON()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("started", sa.Double()),
        sa.Column("ended", sa.Double()),
        sa.Column("deadline", sa.Double()),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("datasets", sa.Integer(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("archived", sa.Double(), nullable=False),
        sa.Column("moved", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archive")),
        sa.UniqueConstraint("uuid", name=op.f("uq_archive_uuid")),
        sa.UniqueConstraint("owner", "key", name=op.f("uq_archive_owner_key")),
    )
    op.create_index("ix_archive_archived", "archive", ["archived"])
    op.create_table(
        "archive_part",
        *_refer("archive_part"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("archive_id", "number", name=op.f("pk_archive_part")),
    )
    op.create_table(
        "archive_job",
        sa.Column("uuid", _IDENT, nullable=False),
        *_refer("archive_job"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_archive_job")),
    )
    op.create_index("ix_archive_job_archive_id", "archive_job", ["archive_id"])
    op.create_table(
        "archive_blob",
        *_refer("archive_blob"),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name=op.f("fk_archive_blob_digest")),
        sa.PrimaryKeyConstraint("archive_id", "digest", name=op.f("pk_archive_blob")),
    )
    op.create_index("ix_archive_blob_digest", "archive_blob", ["digest"])
    op.add_column("workflow", sa.Column("archived", sa.Double()))
    ended = sa.text("ended IS NOT NULL")
    op.create_index("ix_workflow_ended", "workflow", ["ended"], sqlite_where=ended, postgresql_where=ended)
    kept = sa.text("digest IS NOT NULL")
    op.create_index("ix_dataset_digest", "dataset", ["digest"], sqlite_where=kept, postgresql_where=kept)
    op.create_index("ix_bundle_file_digest", "bundle_file", ["digest"])
    op.create_index("ix_attempt_pilot_id", "attempt", ["pilot_id"])
