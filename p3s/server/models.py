"""The tables. Times are seconds since 1970-01-01 UTC by the server's clock; states are text of `engine.states`."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "attempt",
    "attempt_log",
    "blob",
    "bundle",
    "bundle_file",
    "dag",
    "dataset",
    "event",
    "host",
    "job",
    "job_input",
    "job_need",
    "job_spec",
    "meta",
    "metadata",
    "pilot",
    "requirement",
    "ripple",
    "runtime",
    "token",
    "workflow",
]

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in an INTEGER primary key.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Byte order, so that a range of the index finds a prefix.
Ident = sa.String(36, collation="C").with_variant(sa.String(36), "sqlite")
State = sa.String(16)
Clock: sa.types.TypeEngine[float] = sa.Double()


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *parts)


def _id() -> sa.Column[int]:
    return sa.Column("id", BigId, primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        name,
        BigId,
        sa.ForeignKey(f"{target}.id", ondelete="CASCADE"),
        nullable=nullable,
        primary_key=primary_key,
    )


#: Facts about the database itself: the signing secret, the uuid.
meta = _table("meta", sa.Column("key", sa.String(40), primary_key=True), sa.Column("value", sa.Text, nullable=False))

#: Who may call; only the hash of a token is kept.
token = _table(
    "token",
    _id(),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("role", State, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("site", sa.String(100)),
    sa.Column("created", Clock, nullable=False),
    sa.Column("expires", Clock),
    sa.Column("revoked", Clock),
    sa.Column("used", Clock),
)

#: Small files by content: bundles and results.
blob = _table(
    "blob",
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("created", Clock, nullable=False),
)

#: Small files that travel together, by content.
bundle = _table("bundle", _id(), sa.Column("digest", sa.String(64), nullable=False, unique=True))

#: The files of a bundle, unpacked into every sandbox.
bundle_file = _table(
    "bundle_file",
    _ref("bundle_id", "bundle", primary_key=True),
    sa.Column("path", sa.String(1024), primary_key=True),
    sa.Column("digest", sa.String(64), sa.ForeignKey("blob.digest"), nullable=False),
    sa.Column("executable", sa.Boolean, nullable=False),
)

#: Templates: changed text or files make a new version.
dag = _table(
    "dag",
    _id(),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("bundle_id", BigId, sa.ForeignKey("bundle.id")),
    sa.Column("created", Clock, nullable=False),
    sa.UniqueConstraint("owner", "name", "version"),
    sa.UniqueConstraint("owner", "name", "digest"),
)

#: Instances. `remaining` counts jobs not yet final, `failures` the failed ones that are not tolerated; `touched` is
#: when a load last wrote something.
workflow = _table(
    "workflow",
    _id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("dag_id", BigId, sa.ForeignKey("dag.id")),
    sa.Column("bundle_id", BigId, sa.ForeignKey("bundle.id")),
    sa.Column("key", sa.String(200)),
    sa.Column("state", State, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("site", sa.String(100), nullable=False),
    sa.Column("created", Clock, nullable=False),
    sa.Column("touched", Clock, nullable=False),
    sa.Column("started", Clock),
    sa.Column("ended", Clock),
    sa.Column("allowance", Clock),
    sa.Column("on_deadline", State, nullable=False),
    sa.Column("deadline", Clock),
    sa.Column("late", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("critical_path", sa.Double, nullable=False),
    sa.Column("jobs", sa.Integer, nullable=False),
    sa.Column("remaining", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("cancelled_by", sa.String(100)),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("owner", "key"),
    sa.Index("ix_workflow_state_id", "state", "id"),
)

# Workflows whose deadline may still pass: the sweeper's list.
_TIMELY = sa.and_(workflow.c.state == "running", workflow.c.late.is_(False))
sa.Index("ix_workflow_deadline", workflow.c.deadline, sqlite_where=_TIMELY, postgresql_where=_TIMELY)

#: What jobs ask of a pilot, once per distinct wish; rows never change. Matching looks at these, not at jobs.
requirement = _table(
    "requirement",
    _id(),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("jobtype", sa.String(100), nullable=False),
    sa.Column("site", sa.String(100), nullable=False),
    sa.Column("cpus", sa.Integer, nullable=False),
    sa.Column("memory", sa.BigInteger, nullable=False),
    sa.Column("timelimit", sa.Double, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
)

#: Nodes of work. `missing` counts predecessors not yet done, `paused` holds a release back, `attempt` is the number
#: of the newest attempt.
job = _table(
    "job",
    _id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    _ref("workflow_id", "workflow"),
    _ref("requirement_id", "requirement"),
    sa.Column("name", sa.String(300), nullable=False),
    sa.Column("family", sa.String(200), nullable=False),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("jobtype", sa.String(100), nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("reason", State),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("timelimit", sa.Double, nullable=False),
    sa.Column("missing", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("due", Clock, nullable=False),
    sa.Column("rank", sa.Double, nullable=False),
    sa.Column("not_before", Clock, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("tolerated", sa.Boolean, nullable=False),
    sa.Column("noop", sa.Boolean, nullable=False),
    sa.Column("created", Clock, nullable=False),
    sa.Column("released", Clock),
    sa.Column("started", Clock),
    sa.Column("ended", Clock),
    sa.UniqueConstraint("workflow_id", "name"),
    sa.Index("ix_job_state_id", "state", "id"),
)
# The order of work (docs/design.md, section 5) within one requirement: a claim reads its first rows only.
sa.Index(
    "ix_job_claim",
    job.c.requirement_id,
    job.c.priority.desc(),
    job.c.due,
    job.c.rank.desc(),
    job.c.id,
    sqlite_where=job.c.state == "defined",
    postgresql_where=job.c.state == "defined",
)
# Jobs that only time, or an interrupted release, holds back: the sweeper's list.
sa.Index(
    "ix_job_ready",
    job.c.not_before,
    sqlite_where=sa.and_(job.c.state == "waiting", job.c.missing == 0, job.c.paused.is_(False)),
    postgresql_where=sa.and_(job.c.state == "waiting", job.c.missing == 0, job.c.paused.is_(False)),
)

# Jobs held back by a pause, or by a retry or resume that is not done yet.
sa.Index(
    "ix_job_paused", job.c.workflow_id, sqlite_where=job.c.paused.is_(True), postgresql_where=job.c.paused.is_(True)
)

#: The wide and cold half of a job: what a pilot needs to run it.
job_spec = _table(
    "job_spec",
    _ref("job_id", "job", primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
)

#: Units of data. External ones have no workflow and are one per site and place.
dataset = _table(
    "dataset",
    _id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    _ref("workflow_id", "workflow", nullable=True),
    _ref("producer_id", "job", nullable=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("place", sa.Text),
    sa.Column("site", sa.String(100), nullable=False, server_default=""),
    sa.Column("size", sa.BigInteger),
    sa.Column("checksum", sa.String(100), nullable=False, server_default=""),
    sa.Column("datatype", sa.String(100), nullable=False, server_default=""),
    sa.Column("comment", sa.Text, nullable=False, server_default=""),
    sa.Column("result", sa.Boolean, nullable=False),
    sa.Column("digest", sa.String(64), sa.ForeignKey("blob.digest")),
    sa.Column("created", Clock, nullable=False),
    sa.UniqueConstraint("workflow_id", "key"),
    sa.Index("ix_dataset_producer_id", "producer_id"),
    sa.Index("ix_dataset_state_id", "state", "id"),
)
sa.Index(
    "uq_dataset_external",
    dataset.c.site,
    dataset.c.place,
    unique=True,
    sqlite_where=dataset.c.workflow_id.is_(None),
    postgresql_where=dataset.c.workflow_id.is_(None),
)

#: Edges from a dataset to a job. `partial`: final is enough, however it ended.
job_input = _table(
    "job_input",
    _id(),
    _ref("job_id", "job"),
    _ref("dataset_id", "dataset"),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("partial", sa.Boolean, nullable=False),
    sa.Index("ix_job_input_dataset_id_id", "dataset_id", "id"),
    sa.Index("ix_job_input_job_id", "job_id"),
)

#: Control edges from a parent to a job. `done`: final is enough, however it ended.
job_need = _table(
    "job_need",
    _id(),
    _ref("job_id", "job"),
    _ref("parent_id", "job"),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Index("ix_job_need_parent_id_id", "parent_id", "id"),
    sa.Index("ix_job_need_job_id", "job_id"),
)

#: What ended and whose successors are not all told yet; `after` is the last edge crossed.
ripple = _table(
    "ripple",
    _id(),
    sa.Column("noun", State, nullable=False),
    sa.Column("source_id", BigId, nullable=False),
    sa.Column("after", BigId, nullable=False),
)

#: Agents. `claim` is the newest claim's number, `acked` the newest whose answer is known to have arrived.
pilot = _table(
    "pilot",
    _id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("site", sa.String(100), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
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
)

#: Machines that pilots run on, where there is something to say of one. `burnt` has the jobs that could not be started
#: there in a row, `since` is when the row began.
host = _table(
    "host",
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("banned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("burnt", sa.JSON, nullable=False),
    sa.Column("since", Clock, nullable=False),
)

#: Executions. The token is derived from the uuid and the server's secret, so that a repeated claim can be answered.
attempt = _table(
    "attempt",
    _id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    _ref("job_id", "job"),
    _ref("pilot_id", "pilot"),
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
    sa.UniqueConstraint("job_id", "number"),
)
_OPEN = ("dispatched", "running", "stopping")
sa.Index(
    "ix_attempt_open",
    attempt.c.pilot_id,
    sqlite_where=attempt.c.state.in_(_OPEN),
    postgresql_where=attempt.c.state.in_(_OPEN),
)

#: The last part of what a payload printed; `start` is the offset of its first byte in the whole.
attempt_log = _table(
    "attempt_log",
    _ref("attempt_id", "attempt", primary_key=True),
    sa.Column("stream", sa.String(8), primary_key=True),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

#: How long the jobs of a DAG took: the newest samples, for expected times.
runtime = _table(
    "runtime",
    sa.Column("owner", sa.String(100), primary_key=True),
    sa.Column("dag", sa.String(200), primary_key=True),
    sa.Column("family", sa.String(200), primary_key=True),
    sa.Column("samples", sa.JSON, nullable=False),
)

#: Every change of state, and what was refused: append only.
event = _table(
    "event",
    _id(),
    sa.Column("at", Clock, nullable=False),
    sa.Column("noun", State, nullable=False),
    sa.Column("uuid", Ident, nullable=False),
    sa.Column("signal", State, nullable=False),
    sa.Column("before", State, nullable=False, server_default=""),
    sa.Column("after", State, nullable=False, server_default=""),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_event_uuid_id", "uuid", "id"),
)
