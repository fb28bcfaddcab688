"""The graphs: workflows, jobs, datasets, and the edges between them."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_LABEL, MAX_NAME
from p3s.server.models.base import BigId, Clock, Ident, State, make_id, make_ref, make_table

#: Instances. `remaining` counts jobs not yet final, `failures` the failed ones that are not tolerated; `touched` is
#: when a load last wrote something; `arrived` is when the data came that its deadline counts from; `archived` marks one
#: that is being moved into the archive and changes no more.
workflow = make_table(
    "workflow",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("name", sa.String(MAX_NAME), nullable=False),
    sa.Column("dag_id", BigId, sa.ForeignKey("dag.id")),
    sa.Column("bundle_id", BigId, sa.ForeignKey("bundle.id")),
    sa.Column("key", sa.String(MAX_NAME)),
    sa.Column("state", State, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("site", sa.String(MAX_LABEL), nullable=False),
    sa.Column("created", Clock, nullable=False),
    sa.Column("touched", Clock, nullable=False),
    sa.Column("arrived", Clock),
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
    sa.Column("cancelled_by", sa.String(MAX_LABEL)),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("overrides", sa.JSON),
    sa.Column("archived", Clock),
    sa.UniqueConstraint("owner", "key"),
    sa.Index("ix_workflow_state_id", "state", "id"),
    sa.Index("ix_workflow_owner_name_id", "owner", "name", "id"),
    sa.Index("ix_workflow_owner_name_started", "owner", "name", "started"),
)

# Workflows whose deadline may still pass: the sweeper's list. The state, always the same, is in it because SQLite would
# else take the index of states, and go through all that runs.
_TIMELY = sa.and_(workflow.c.state == "running", workflow.c.late.is_(False))
sa.Index("ix_workflow_deadline", workflow.c.state, workflow.c.deadline, sqlite_where=_TIMELY, postgresql_where=_TIMELY)

# Those whose deadline passed.
_LATE = sa.and_(workflow.c.state == "running", workflow.c.late.is_(True))
sa.Index("ix_workflow_late", workflow.c.state, workflow.c.deadline, sqlite_where=_LATE, postgresql_where=_LATE)

# Those that have ended, the longest ago first: what a purge goes through.
_ENDED = workflow.c.ended.is_not(None)
sa.Index("ix_workflow_ended", workflow.c.ended, sqlite_where=_ENDED, postgresql_where=_ENDED)

#: What jobs ask of a pilot, once per distinct wish; rows never change. Matching looks at these, not at jobs.
requirement = make_table(
    "requirement",
    make_id(),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("jobtype", sa.String(MAX_LABEL), nullable=False),
    sa.Column("site", sa.String(MAX_LABEL), nullable=False),
    sa.Column("cpus", sa.Integer, nullable=False),
    sa.Column("memory", sa.BigInteger, nullable=False),
    sa.Column("timelimit", sa.Double, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
)

#: Nodes of work. `missing` counts predecessors not yet done, `paused` holds a release back, `attempt` is the number
#: of the newest attempt. Whoever holds a job (`hold`) counts as one more predecessor that is not done.
job = make_table(
    "job",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    make_ref("workflow_id", "workflow"),
    make_ref("requirement_id", "requirement"),
    sa.Column("name", sa.String(300), nullable=False),
    sa.Column("family", sa.String(MAX_NAME), nullable=False),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("jobtype", sa.String(MAX_LABEL), nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("reason", State),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("timelimit", sa.Double, nullable=False),
    sa.Column("missing", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("hold", sa.Boolean, nullable=False, server_default=sa.false()),
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
    job.c.state,
    job.c.not_before,
    sqlite_where=sa.and_(job.c.state == "waiting", job.c.missing == 0, job.c.paused.is_(False)),
    postgresql_where=sa.and_(job.c.state == "waiting", job.c.missing == 0, job.c.paused.is_(False)),
)

# Jobs held back by a pause, or by a retry or resume that is not done yet.
sa.Index(
    "ix_job_paused", job.c.workflow_id, sqlite_where=job.c.paused.is_(True), postgresql_where=job.c.paused.is_(True)
)

# Jobs that were not started yet: what a start goes through.
_HELD = job.c.state == "held"
sa.Index("ix_job_held", job.c.workflow_id, job.c.id, sqlite_where=_HELD, postgresql_where=_HELD)

#: The wide and cold half of a job: what a pilot needs to run it.
job_spec = make_table(
    "job_spec",
    make_ref("job_id", "job", primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
)

#: Units of data. External ones have no workflow and are one per site and path, or one per URL, which has no site; and
#: one per version: new content is a new version. Those that another DAG makes are rows of whoever reads them, without
#: a producer, and follow the dataset that `origin` names. `message` says who or what ended one.
dataset = make_table(
    "dataset",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    make_ref("workflow_id", "workflow", nullable=True),
    make_ref("producer_id", "job", nullable=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("name", sa.String(MAX_NAME), nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("place", sa.Text),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("site", sa.String(MAX_LABEL), nullable=False, server_default=""),
    sa.Column("size", sa.BigInteger),
    sa.Column("checksum", sa.String(MAX_LABEL), nullable=False, server_default=""),
    sa.Column("datatype", sa.String(MAX_LABEL), nullable=False, server_default=""),
    sa.Column("comment", sa.Text, nullable=False, server_default=""),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("result", sa.Boolean, nullable=False),
    sa.Column("digest", sa.String(64), sa.ForeignKey("blob.digest")),
    sa.Column("created", Clock, nullable=False),
    sa.UniqueConstraint("workflow_id", "key"),
    sa.Index("ix_dataset_producer_id", "producer_id"),
    sa.Index("ix_dataset_state_id", "state", "id"),
)
# A hash: places may be longer than what a page of an ordinary index holds.
sa.Index("ix_dataset_place", dataset.c.place, postgresql_using="hash")
sa.Index(
    "uq_dataset_external",
    dataset.c.site,
    dataset.c.place,
    dataset.c.version,
    unique=True,
    sqlite_where=dataset.c.workflow_id.is_(None),
    postgresql_where=dataset.c.workflow_id.is_(None),
)

# Who has a content.
_KEPT = dataset.c.digest.is_not(None)
sa.Index("ix_dataset_digest", dataset.c.digest, sqlite_where=_KEPT, postgresql_where=_KEPT)

# What `results` names, newest last.
sa.Index(
    "ix_dataset_result",
    dataset.c.id,
    sqlite_where=dataset.c.result.is_(True),
    postgresql_where=dataset.c.result.is_(True),
)

#: Where a workflow's external dataset comes from that another DAG makes: which one, what must match, and, once it is
#: bound, the dataset behind it. `workflow` says whose that was and outlives it. `waiting`: its reader was started, and
#: no workflow that matches has been yet.
origin = make_table(
    "origin",
    make_ref("dataset_id", "dataset", primary_key=True),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("dag", sa.String(MAX_NAME), nullable=False),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("match", sa.JSON, nullable=False),
    sa.Column("waiting", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("source_id", BigId, sa.ForeignKey("dataset.id", ondelete="SET NULL")),
    sa.Column("workflow", Ident),
    sa.Column("bound", Clock),
    sa.Index("ix_origin_source_id", "source_id"),
)
_UNBOUND = origin.c.waiting.is_(True)
sa.Index(
    "ix_origin_waiting",
    origin.c.owner,
    origin.c.dag,
    origin.c.dataset_id,
    sqlite_where=_UNBOUND,
    postgresql_where=_UNBOUND,
)

#: Edges from a dataset to a job. `partial`: final is enough, however it ended.
job_input = make_table(
    "job_input",
    make_id(),
    make_ref("job_id", "job"),
    make_ref("dataset_id", "dataset"),
    sa.Column("name", sa.String(MAX_NAME), nullable=False),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("partial", sa.Boolean, nullable=False),
    sa.Index("ix_job_input_dataset_id_id", "dataset_id", "id"),
    sa.Index("ix_job_input_job_id", "job_id"),
)

#: Control edges from a parent to a job. `done`: final is enough, however it ended.
job_need = make_table(
    "job_need",
    make_id(),
    make_ref("job_id", "job"),
    make_ref("parent_id", "job"),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Index("ix_job_need_parent_id_id", "parent_id", "id"),
    sa.Index("ix_job_need_job_id", "job_id"),
)

#: What ended and whose successors are not all told yet; `after` is the last edge crossed.
ripple = make_table(
    "ripple",
    make_id(),
    sa.Column("noun", State, nullable=False),
    sa.Column("source_id", BigId, nullable=False),
    sa.Column("after", BigId, nullable=False),
)
