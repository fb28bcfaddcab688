"""Who writes a new workflow: its jobs, datasets and edges, in batches, then its start.

Jobs are written in topological order, so that an edge's parent is always there. They are born ``held``; nothing
of a workflow that is still ``loading`` can be claimed.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import narrow
from p3s.engine.places import is_url
from p3s.engine.states import DatasetState, JobState, Reason, Signal, WorkflowState
from p3s.engine.times import compute_due
from p3s.errors import Conflict
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import dataset, job, job_input, job_need, job_spec, workflow
from p3s.server.transitions.spread import end_jobs, release_jobs
from p3s.server.transitions.wishes import digest_wish, find_requirements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.engine.plan import DatasetPlan, JobPlan
    from p3s.server.transitions.ledger import Ledger

__all__ = [
    "KnownIds",
    "NewJob",
    "delete_abandoned",
    "describe_job",
    "drop_load",
    "insert_workflows",
    "start_some",
    "store_jobs",
    "touch_load",
]

#: Jobs that one transaction starts.
STEP = 500


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be written, and the workflow it belongs to."""

    workflow_id: int
    owner: str
    plan: JobPlan
    uuid: str


def insert_workflows(ledger: Ledger, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Insert workflows in state ``loading`` and return their ids by uuid."""
    values = [
        row
        | {
            "state": WorkflowState.LOADING,
            "created": ledger.now,
            "touched": ledger.now,
            "failures": 0,
            "remaining": row["jobs"],
        }
        for row in rows
    ]
    found = ledger.connection.execute(sa.insert(workflow).returning(workflow.c.uuid, workflow.c.id), values).all()
    for row in values:
        ledger.note("workflow", row["uuid"], "load", after=WorkflowState.LOADING)
    return {row.uuid: row.id for row in found}


def touch_load(ledger: Ledger, workflow_id: int) -> None:
    """Say that a load goes on.

    Raises
    ------
    Conflict
        If it was silent for so long that it was taken for abandoned and deleted.
    """
    touched = ledger.connection.execute(
        sa.update(workflow)
        .where(workflow.c.id == workflow_id, workflow.c.state == WorkflowState.LOADING)
        .values(touched=ledger.now)
    )
    if touched.rowcount == 0:
        raise Conflict("the load stood still for so long that it was given up; load again")


def delete_abandoned(ledger: Ledger, silence: float, uuid: str | None = None) -> bool:
    """Delete workflows whose load has written nothing for `silence` seconds, or this one of them.

    Nothing of them could run, and the same request may load them anew.
    """
    gone = sa.and_(workflow.c.state == WorkflowState.LOADING, workflow.c.touched <= ledger.now - silence)
    if uuid is not None:
        gone = sa.and_(gone, workflow.c.uuid == uuid)
    rows = ledger.connection.execute(sa.delete(workflow).where(gone).returning(workflow.c.uuid)).all()
    for row in rows:
        ledger.note("workflow", row.uuid, "abandoned", before=WorkflowState.LOADING, cause="its load was interrupted")
    return False


def drop_load(ledger: Ledger, workflow_id: int) -> None:
    """Delete a workflow whose load was refused on the way."""
    mine = sa.and_(workflow.c.id == workflow_id, workflow.c.state == WorkflowState.LOADING)
    for row in ledger.connection.execute(sa.delete(workflow).where(mine).returning(workflow.c.uuid)).all():
        ledger.note("workflow", row.uuid, "abandoned", before=WorkflowState.LOADING, cause="its load was refused")


def store_jobs(ledger: Ledger, jobs: Sequence[NewJob], known: KnownIds) -> None:
    """Insert a batch of jobs with what they make and the edges that lead to them.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    jobs : sequence of NewJob
        After their parents; at most some hundreds.
    known : KnownIds
        Ids of what was stored before; this batch's are added.
    """
    done = _read_done(ledger.connection, jobs, known)
    wishes = [_wish(new, known) for new in jobs]
    wanted = find_requirements(ledger.connection, wishes)
    inserted = ledger.connection.execute(
        sa.insert(job).returning(job.c.id, job.c.uuid),
        [_job_row(ledger, new, wanted[digest_wish(wish)], known, done) for new, wish in zip(jobs, wishes, strict=True)],
    ).all()
    ids = {row.uuid: row.id for row in inserted}
    for new in jobs:
        known.jobs[new.workflow_id, new.plan.name] = ids[new.uuid]
    ledger.connection.execute(
        sa.insert(job_spec), [{"job_id": ids[new.uuid], "body": describe_job(new.plan)} for new in jobs]
    )
    _insert_outputs(ledger, jobs, ids, known)
    _insert_edges(ledger, jobs, ids, known)


@dataclass(slots=True)
class KnownIds:
    """Row ids of a load in progress.

    Attributes
    ----------
    datasets : mapping
        Every dataset plan by key, for one workflow.
    externals : mapping of str to int
        Ids by place.
    jobs, made : dict
        Ids of jobs by (workflow, name) and of produced datasets by (workflow, key).
    """

    datasets: Mapping[str, DatasetPlan]
    externals: Mapping[str, int]
    jobs: dict[tuple[int, str], int]
    made: dict[tuple[int, str], int]
    #: By key of an external dataset: its URL, or the site whose pilots can read it.
    sites: Mapping[str, str] = field(default_factory=dict)

    def find_dataset(self, workflow_id: int, key: str) -> int:
        """Return the id of a dataset that is stored already."""
        plan = self.datasets.get(key)
        if plan is not None and plan.place is not None and plan.producer is None:
            return self.externals[plan.place]
        return self.made[workflow_id, key]


def _read_done(connection: sa.Connection, jobs: Sequence[NewJob], known: KnownIds) -> set[int]:
    """Return the external datasets that these jobs read and that are available now.

    Their rows stay locked to the commit, so that a registration comes before this look or after the edges.
    """
    wanted: set[int] = set()
    for new in jobs:
        for entry in new.plan.inputs:
            for key in entry.keys:
                plan = known.datasets.get(key)
                if plan is not None and plan.producer is None and plan.place is not None:
                    wanted.add(known.externals[plan.place])
    done: set[int] = set()
    for batch in split_batches(sorted(wanted)):
        rows = connection.execute(
            lock_rows(
                sa.select(dataset.c.id, dataset.c.key, dataset.c.state)
                .where(dataset.c.id.in_(batch))
                .order_by(dataset.c.id),
                share=True,
            )
        ).all()
        if gone := [row for row in rows if row.state in (DatasetState.FAILED, DatasetState.DELETED)]:
            raise Conflict(f"dataset {gone[0].key} is {gone[0].state} since a moment ago; load again")
        done |= {row.id for row in rows if row.state == DatasetState.AVAILABLE}
    return done


def _job_row(ledger: Ledger, new: NewJob, wish: int, known: KnownIds, done: set[int]) -> dict[str, Any]:
    plan = new.plan
    edges = [known_key for entry in plan.inputs for known_key in entry.keys]
    arrived = 0
    for key in edges:
        source = known.datasets.get(key)
        if source is not None and source.producer is None and source.place is not None:
            arrived += known.externals[source.place] in done
    return {
        "uuid": new.uuid,
        "workflow_id": new.workflow_id,
        "requirement_id": wish,
        "name": plan.name,
        "family": plan.family,
        "owner": new.owner,
        "jobtype": plan.jobtype,
        "state": JobState.HELD,
        "reason": Reason.IF if plan.skipped else None,
        "priority": plan.priority,
        "timelimit": plan.timelimit,
        "missing": len(plan.needs) + len(edges) - arrived,
        "due": 0.0,
        "rank": plan.rank,
        "tolerated": plan.tolerated,
        "noop": plan.noop,
        "created": ledger.now,
    }


def describe_job(plan: JobPlan) -> dict[str, Any]:
    """Return the cold half of a job; defaults are left out, most jobs have most of them."""
    body = {
        "run": plan.run,
        "payload": plan.payload,
        "shell": plan.shell,
        "args": plan.args,
        "env": plan.env,
        "axes": plan.axes,
        "retry": asdict(plan.retry),
        "cpus": plan.resources.cpus,
        "memory": plan.resources.memory,
        "labels": plan.resources.labels,
        "inputs": [
            {"name": entry.name, "collection": entry.collection, "partial": entry.partial} for entry in plan.inputs
        ],
        "outputs": [asdict(output) for output in plan.outputs],
        "publish": plan.publish,
        "exclusive": plan.exclusive,
        "verify": plan.verify,
    }
    return {name: value for name, value in body.items() if value}


def _wish(new: NewJob, known: KnownIds) -> dict[str, Any]:
    """Return what a job asks of a pilot; what is known of its data now is part of that."""
    plan = new.plan
    places = [known.sites[key] for entry in plan.inputs for key in entry.keys if key in known.sites]
    site, labels = narrow("", plan.resources.labels, [*places, *filter(is_url, plan.publish.values())])
    return {
        "owner": new.owner,
        "jobtype": plan.jobtype,
        "site": site,
        "cpus": plan.resources.cpus,
        "memory": plan.resources.memory,
        "timelimit": plan.timelimit,
        "labels": labels,
    }


def _insert_outputs(ledger: Ledger, jobs: Sequence[NewJob], ids: Mapping[str, int], known: KnownIds) -> None:
    rows = [
        {
            "uuid": str(uuid.uuid4()),
            "workflow_id": new.workflow_id,
            "producer_id": ids[new.uuid],
            "key": output.key,
            "name": output.name,
            "state": DatasetState.EXPECTED,
            "datatype": known.datasets[output.key].datatype,
            "comment": known.datasets[output.key].comment,
            "result": known.datasets[output.key].result,
            "created": ledger.now,
        }
        for new in jobs
        for output in new.plan.outputs
    ]
    if rows:
        statement = sa.insert(dataset).returning(dataset.c.id, dataset.c.workflow_id, dataset.c.key)
        for row in ledger.connection.execute(statement, rows):
            known.made[row.workflow_id, row.key] = row.id


def _insert_edges(ledger: Ledger, jobs: Sequence[NewJob], ids: Mapping[str, int], known: KnownIds) -> None:
    inputs = [
        {
            "job_id": ids[new.uuid],
            "dataset_id": known.find_dataset(new.workflow_id, key),
            "name": entry.name,
            "key": key,
            "partial": entry.partial,
        }
        for new in jobs
        for entry in new.plan.inputs
        for key in entry.keys
    ]
    needs = [
        {"job_id": ids[new.uuid], "parent_id": known.jobs[new.workflow_id, parent], "done": done}
        for new in jobs
        for parent, done in new.plan.needs
    ]
    if inputs:
        ledger.connection.execute(sa.insert(job_input), inputs)
    if needs:
        ledger.connection.execute(sa.insert(job_need), needs)


def start_some(ledger: Ledger, workflow_ids: Sequence[int] | None = None) -> bool:
    """Let go up to `STEP` held jobs of running workflows, and return whether some may be left.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    workflow_ids : sequence of int, optional
        Only of these; of all that were interrupted otherwise.
    """
    statement = (
        sa.select(job.c.id, job.c.reason, workflow.c.started, workflow.c.critical_path, workflow.c.deadline)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(
            job.c.state == JobState.HELD,
            workflow.c.state == WorkflowState.RUNNING,
            workflow.c.cancelled_by.is_(None),
        )
        .order_by(job.c.id)
        .limit(STEP)
    )
    if workflow_ids is not None:
        statement = statement.where(job.c.workflow_id.in_(workflow_ids))
    rows = ledger.connection.execute(statement).all()
    refused = [row.id for row in rows if row.reason == Reason.IF]
    going = [row for row in rows if row.reason != Reason.IF]
    dues: dict[float, list[int]] = {}
    for row in going:
        allowance = None if row.deadline is None else row.deadline - row.started
        dues.setdefault(compute_due(row.started, row.critical_path, allowance), []).append(row.id)
    for due, ids in dues.items():
        moved = ledger.move("job", ids, Signal.START, due=due)
        release_jobs(ledger, moved)
    if refused:
        end_jobs(ledger, ledger.move("job", refused, Signal.SKIP, ended=ledger.now, cause="its `if` said no"))
    return len(rows) == STEP
