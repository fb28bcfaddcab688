"""What happened in each minute, for plots."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.server.models.base import make_table

#: Jobs that began, finished and failed in a minute, and those ready to run at its end, added up from the event log;
#: and as they were when last looked at, the seconds for which the oldest of those had waited, and the workflows past
#: their deadline. `at` is the start of the minute; one that no server lived through has no row.
minute = make_table(
    "minute",
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("started", sa.Integer, nullable=False),
    sa.Column("finished", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("queue", sa.Integer, nullable=False),
    sa.Column("wait", sa.Double, nullable=False, server_default="0"),
    sa.Column("late", sa.Integer, nullable=False, server_default="0"),
)
