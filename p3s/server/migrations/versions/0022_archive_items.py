"""archived datasets and attempts are found by their ids."""

from __future__ import annotations

import json
import zlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    ident = sa.String(length=36, collation="C").with_variant(sa.String(length=36), "sqlite")
    table = op.create_table(
        "archive_item",
        sa.Column("uuid", ident, nullable=False),
        sa.Column("noun", sa.String(length=16), nullable=False),
        sa.Column("archive_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_archive_item_archive_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_archive_item")),
    )
    op.create_index("ix_archive_item_archive_id", "archive_item", ["archive_id"])
    _fill(op.get_bind(), table)


def _fill(connection: sa.Connection, table: sa.Table) -> None:
    """Write down what is in the archive already, one part after the other."""
    for ident, uuid in connection.execute(sa.text("SELECT id, uuid FROM archive ORDER BY id")).all():
        parts = sa.text("SELECT number FROM archive_part WHERE archive_id = :ident ORDER BY number")
        known: set[str] = set()
        for number in connection.scalars(parts, {"ident": ident}).all():
            body = sa.text("SELECT body FROM archive_part WHERE archive_id = :ident AND number = :number")
            part = json.loads(zlib.decompress(connection.scalars(body, {"ident": ident, "number": number}).one()))
            found = _list_items(part, uuid)
            rows = [
                {"uuid": one, "noun": noun, "archive_id": ident, "number": number}
                for one, noun in found.items()
                if one not in known
            ]
            known |= found.keys()
            if rows:
                connection.execute(sa.insert(table), rows)


def _list_items(part: dict[str, Any], workflow: str) -> dict[str, str]:
    mine = {one: "dataset" for one, view in part["datasets"].items() if view.get("workflow") == workflow}
    return mine | {entry["uuid"]: "attempt" for job in part["jobs"] for entry in job["attempts"]}
