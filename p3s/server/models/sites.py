"""Sites: settings that pilots fetch."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_LABEL
from p3s.server.models.base import Clock, make_table

#: Defined sites. What is null was not defined and is left to each pilot; `env` goes to all payloads there,
#: `batch` is shown and no more.
site = make_table(
    "site",
    sa.Column("name", sa.String(MAX_LABEL), primary_key=True),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("env", sa.JSON, nullable=False),
    sa.Column("pilots", sa.Integer),
    sa.Column("pilotcycles", sa.Integer),
    sa.Column("pilotperiod", sa.Double),
    sa.Column("pilotbeat", sa.Double),
    sa.Column("pilotlife", sa.Double),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("batch", sa.String(20), nullable=False, server_default=""),
    sa.Column("changed", Clock, nullable=False),
)
