"""datatypes, versions of datasets, published names, files to delete."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_index("ix_workflow_owner_name_id", "workflow", ["owner", "name", "id"])
    op.add_column("dataset", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("dataset", sa.Column("message", sa.Text(), server_default="", nullable=False))
    op.drop_index("uq_dataset_external", table_name="dataset")
    external = sa.text("workflow_id IS NULL")
    op.create_index(
        "uq_dataset_external",
        "dataset",
        ["site", "place", "version"],
        unique=True,
        sqlite_where=external,
        postgresql_where=external,
    )
    op.create_index("ix_dataset_place", "dataset", ["place"], postgresql_using="hash")
    op.create_table(
        "datatype",
        sa.Column("id", big, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("ext", sa.String(length=100), nullable=False),
        sa.Column("comment", sa.Text(), server_default="", nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datatype")),
        sa.UniqueConstraint("name", name=op.f("uq_datatype_name")),
    )
    op.create_table(
        "publication",
        sa.Column("id", big, nullable=False),
        sa.Column("site", sa.String(length=100), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("workflow_id", big, nullable=False),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.id"], name=op.f("fk_publication_workflow_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publication")),
        sa.UniqueConstraint("site", "place", name=op.f("uq_publication_site_place")),
    )
    op.create_index("ix_publication_workflow_id", "publication", ["workflow_id"])
