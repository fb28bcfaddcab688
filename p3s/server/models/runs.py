"""Who runs the work: pilots, hosts, and each execution."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_HOST, MAX_LABEL, MAX_NAME, MAX_VERSION
from p3s.server.models.base import BigId, Clock, Ident, State, make_id, make_ref, make_table

#: Agents. The hash is empty once the token that registered it has ended. `claim` is the newest claim's number, `acked`
#: the newest whose answer is known to have arrived.
pilot = make_table(
    "pilot",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("token_id", BigId),
    sa.Column("name", sa.String(MAX_NAME), nullable=False),
    sa.Column("site", sa.String(MAX_LABEL), nullable=False),
    sa.Column("host", sa.String(MAX_HOST), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("version", sa.String(MAX_VERSION), nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("status", State, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("cpus", sa.Integer, nullable=False),
    sa.Column("memory", sa.BigInteger, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("accepts", sa.JSON, nullable=False),
    sa.Column("lifetime", sa.Double),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("seen", Clock, nullable=False),
    sa.Column("claim", sa.Integer, nullable=False, server_default="0"),
    sa.Column("acked", sa.Integer, nullable=False, server_default="0"),
    sa.Column("done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("created", Clock, nullable=False),
    sa.Index("ix_pilot_state_seen", "state", "seen"),
    sa.Index("ix_pilot_hash", "hash"),
    sa.Index("ix_pilot_token_id", "token_id"),
)

#: Machines that pilots run on, where there is something to say of one. `burnt` has the jobs that could not be started
#: there in a row, `since` is when the row began.
host = make_table(
    "host",
    sa.Column("name", sa.String(MAX_HOST), primary_key=True),
    sa.Column("banned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("burnt", sa.JSON, nullable=False),
    sa.Column("since", Clock, nullable=False),
)

#: Executions. The token is derived from the uuid and the server's secret, so that a repeated claim can be answered.
#: `counted`: it is open and stands in the counter of its jobtype.
attempt = make_table(
    "attempt",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    make_ref("job_id", "job"),
    make_ref("pilot_id", "pilot"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("claim", sa.Integer, nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("reason", State),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("created", Clock, nullable=False),
    sa.Column("started", Clock),
    sa.Column("ended", Clock),
    sa.Column("exit_code", sa.Integer),
    sa.Column("signal", sa.Integer),
    sa.Column("wall", sa.Double),
    sa.Column("cpu_time", sa.Double),
    sa.Column("peak_memory", sa.BigInteger),
    sa.Column("watched", Clock, nullable=False, server_default="0"),
    sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("job_id", "number"),
    sa.Index("ix_attempt_pilot_id", "pilot_id"),
)
_OPEN = ("dispatched", "running", "stopping")
sa.Index(
    "ix_attempt_open",
    attempt.c.pilot_id,
    sqlite_where=attempt.c.state.in_(_OPEN),
    postgresql_where=attempt.c.state.in_(_OPEN),
)

# What went wrong lately, without a look at what went well.
_BAD = ("failed", "lost")
sa.Index(
    "ix_attempt_bad",
    attempt.c.ended,
    sqlite_where=attempt.c.state.in_(_BAD),
    postgresql_where=attempt.c.state.in_(_BAD),
)

#: The last part of what a payload printed; `start` is the offset of its first byte in the whole.
attempt_log = make_table(
    "attempt_log",
    make_ref("attempt_id", "attempt", primary_key=True),
    sa.Column("stream", sa.String(8), primary_key=True),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

#: Processes of the server. One that ends as it should takes its row away; `lost` is when another found it gone.
process = make_table(
    "process",
    make_id(),
    sa.Column("host", sa.String(MAX_HOST), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started", Clock, nullable=False),
    sa.Column("seen", Clock, nullable=False),
    sa.Column("lost", Clock),
)
