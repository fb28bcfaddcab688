"""what the monitor looks up: failures, results, late workflows, processes of the server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "process",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.Column("lost", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process")),
    )
    _index("ix_attempt_bad", "attempt", "ended", "state IN ('failed', 'lost')")
    if op.get_bind().dialect.name == "postgresql":
        _index("ix_workflow_late", "workflow", "deadline", "state = 'running' AND late IS true")
        _index("ix_dataset_result", "dataset", "id", "result IS true")
    else:
        _index("ix_workflow_late", "workflow", "deadline", "state = 'running' AND late IS 1")
        _index("ix_dataset_result", "dataset", "id", "result IS 1")


def _index(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
