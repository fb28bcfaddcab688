"""Caps: how many jobs of a type may be open at once."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_LABEL
from p3s.server.models.base import make_table

#: Jobtypes with a cap, and no others. `open` is the number of their open attempts, those marked as `counted`.
jobtype = make_table(
    "jobtype",
    sa.Column("name", sa.String(MAX_LABEL), primary_key=True),
    sa.Column("cap", sa.Integer, nullable=False),
    sa.Column("open", sa.Integer, nullable=False),
)
