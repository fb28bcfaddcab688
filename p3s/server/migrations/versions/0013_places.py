"""URLs have no site."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Where several sites had a dataset of one URL, the oldest is found from now on.
    op.execute(
        "UPDATE dataset SET site = '' WHERE id IN (SELECT MIN(id) FROM dataset "
        "WHERE workflow_id IS NULL AND place LIKE '%://%' GROUP BY place, version)"
    )
