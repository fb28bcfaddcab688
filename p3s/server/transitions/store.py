"""Who writes a new workflow: its jobs, datasets and edges, in batches; `p3s.server.transitions.starts` lets it go.

Jobs are written in topological order, so that an edge's parent is always there. Those of a DAG are born ``held``;
nothing of a workflow that is still ``loading`` can be claimed. A standalone job is whole within one transaction, so
it is born in the state in which that transaction leaves it.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import narrow
from p3s.engine.places import is_url
from p3s.engine.states import DatasetState, JobState, Reason, Signal
from p3s.errors import Conflict
from p3s.server.bulk import BulkInsert, Ids, encode_json
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import dataset, job, job_input, job_need, job_spec, workflow
from p3s.server.transitions.wishes import digest_wish, find_requirements, look_for_requirements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from p3s.engine.plan import DatasetPlan, JobPlan, Resources, Retry
    from p3s.server.pipeline import Later
    from p3s.server.transitions.ledger import Ledger

__all__ = [
    "KnownIds",
    "NewJob",
    "describe_job",
    "insert_workflows",
    "store_jobs",
]

#: What a job asks of a pilot: owner, jobtype, resources, time limit, and where its data is.
_Wish = tuple[str, str, "Resources", float, tuple[str, ...]]

_WORKFLOW_NAMES = [
    "id",
    "uuid",
    "owner",
    "name",
    "dag_id",
    "bundle_id",
    "key",
    "state",
    "params",
    "site",
    "created",
    "touched",
    "arrived",
    "started",
    "allowance",
    "on_deadline",
    "deadline",
    "critical_path",
    "jobs",
    "remaining",
    "failures",
    "overrides",
]
_WORKFLOWS = BulkInsert(workflow, _WORKFLOW_NAMES)
_JOBS = BulkInsert(
    job,
    [
        "id",
        "uuid",
        "workflow_id",
        "requirement_id",
        "name",
        "family",
        "owner",
        "jobtype",
        "state",
        "reason",
        "priority",
        "timelimit",
        "missing",
        "due",
        "rank",
        "tolerated",
        "noop",
        "created",
        "released",
    ],
)
_SPECS = BulkInsert(job_spec, ("job_id", "body"))
_OUTPUTS = BulkInsert(
    dataset,
    ["id", "uuid", "workflow_id", "producer_id", "key", "name", "state", "datatype", "comment", "result", "created"],
)
_INPUTS = BulkInsert(job_input, ("job_id", "dataset_id", "name", "key", "partial"))
_NEEDS = BulkInsert(job_need, ("job_id", "parent_id", "done"))


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be written.

    Attributes
    ----------
    workflow_id : int
        Where it belongs to.
    owner : str
        Whose it is.
    plan : JobPlan
        What it is.
    uuid : str
        Its id.
    due : float or None
        When a standalone job is due that may be claimed at once; None for a job that is born ``held``.
    """

    workflow_id: int
    owner: str
    plan: JobPlan
    uuid: str
    due: float | None = None


def insert_workflows(ledger: Ledger, rows: Sequence[dict[str, Any]], numbers: Ids | None = None) -> dict[str, int]:
    """Insert workflows and return their ids by uuid.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    rows : sequence of dict
        Columns; those that are the same for all new workflows are added. ``signal`` says what brings a workflow into
        its state.
    numbers : Ids, optional
        Their ids, if they were asked for before.
    """
    ids = (numbers or Ids(ledger.connection, workflow, len(rows))).take(len(rows))
    now = ledger.now
    values = []
    for ident, row in zip(ids, rows, strict=True):
        whole = row | {"id": ident, "created": now, "touched": now, "failures": 0, "remaining": row["jobs"]}
        whole["state"] = row["state"].value
        whole["params"] = encode_json(row["params"])
        whole["overrides"] = encode_json(row["overrides"])
        values.append(tuple(whole[name] for name in _WORKFLOW_NAMES))
        ledger.note("workflow", row["uuid"], row["signal"], after=row["state"])
    _WORKFLOWS.run(ledger.connection, values)
    return {row["uuid"]: ident for ident, row in zip(ids, rows, strict=True)}


def look_for_wishes(ledger: Ledger, owner: str, plans: Iterable[JobPlan]) -> Later:
    """Send for what jobs without data ask of pilots, ahead of `store_jobs`."""
    keys = {_wish(owner, plan, {}) for plan in plans}
    return look_for_requirements(ledger.connection, {digest_wish(_describe_wish(key)) for key in keys})


def store_jobs(
    ledger: Ledger, jobs: Sequence[NewJob], known: KnownIds, numbers: Ids | None = None, looked: Later | None = None
) -> None:
    """Insert a batch of jobs with what they make and the edges that lead to them.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    jobs : sequence of NewJob
        After their parents; at most some hundreds.
    known : KnownIds
        Ids of what was stored before; this batch's are added.
    numbers : Ids, optional
        Their own, if they were asked for before.
    looked : Later, optional
        What `look_for_wishes` gave for them.
    """
    numbers = numbers or Ids(ledger.connection, job, len(jobs))
    done = _read_done(ledger.connection, jobs, known)
    wishes = _find_wishes(ledger.connection, jobs, known, looked)
    ids = numbers.take(len(jobs))
    rows = [_job_row(ledger, new, ident, wish, known, done) for ident, new, wish in zip(ids, jobs, wishes, strict=True)]
    _JOBS.run(ledger.connection, rows)
    for ident, new in zip(ids, jobs, strict=True):
        known.jobs[new.workflow_id, new.plan.name] = ident
    _SPECS.run(ledger.connection, _spec_rows(ids, jobs))
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

    def find_external(self, key: str) -> int | None:
        """Return the id of an external dataset; None if a job makes it."""
        plan = self.datasets[key]
        return self.externals[plan.place] if plan.producer is None and plan.place is not None else None

    def find_dataset(self, workflow_id: int, key: str) -> int:
        """Return the id of a dataset that is stored already."""
        # Most datasets are made by jobs.
        found = self.made.get((workflow_id, key))
        return self.externals[self.datasets[key].place or ""] if found is None else found


def _read_done(connection: sa.Connection, jobs: Sequence[NewJob], known: KnownIds) -> set[int]:
    """Return the external datasets that these jobs read and that are available now.

    Their rows stay locked to the commit, so that a registration comes before this look or after the edges.
    """
    if not known.externals:
        return set()
    keys = (key for new in jobs for entry in new.plan.inputs for key in entry.keys)
    wanted = {found for key in keys if (found := known.find_external(key)) is not None}
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


def _job_row(ledger: Ledger, new: NewJob, ident: int, wish: int, known: KnownIds, done: set[int]) -> tuple[Any, ...]:
    plan = new.plan
    missing = len(plan.needs)
    for entry in plan.inputs:
        missing += len(entry.keys)
        if done:
            missing -= sum(known.find_external(key) in done for key in entry.keys)
    state, released = JobState.HELD, None
    if new.due is not None:
        # Nothing that it waits for can be missing: a standalone job has no predecessors.
        state, released = JobState.DEFINED, ledger.now
        ledger.note("job", new.uuid, Signal.RELEASE, after=state)
        ledger.released[wish] += 1
    # In the order of `_JOBS`.
    return (
        ident,
        new.uuid,
        new.workflow_id,
        wish,
        plan.name,
        plan.family,
        new.owner,
        plan.jobtype,
        state.value,
        Reason.IF.value if plan.skipped else None,
        plan.priority,
        plan.timelimit,
        missing,
        new.due or 0.0,
        plan.rank,
        plan.tolerated,
        plan.noop,
        ledger.now,
        released,
    )


def _spec_rows(ids: Sequence[int], jobs: Sequence[NewJob]) -> Iterator[tuple[int, str]]:
    """Yield the cold halves; replicas share one plan, which is written out once."""
    last, text = None, ""
    for ident, new in zip(ids, jobs, strict=True):
        if new.plan is not last:
            last, text = new.plan, encode_json(describe_job(new.plan))
        yield ident, text


def describe_job(plan: JobPlan) -> dict[str, Any]:
    """Return the cold half of a job; defaults are left out, most jobs have most of them."""
    body: dict[str, Any] = {
        "run": plan.run,
        "payload": plan.payload,
        "shell": plan.shell,
        "args": plan.args,
        "env": plan.env,
        "axes": plan.axes,
        "retry": _describe_retry(plan.retry),
        "cpus": plan.resources.cpus,
        "memory": plan.resources.memory,
        "labels": plan.resources.labels,
        "inputs": [
            {"name": entry.name, "collection": entry.collection, "partial": entry.partial} for entry in plan.inputs
        ],
        "outputs": [{"name": output.name, "key": output.key, "path": output.path} for output in plan.outputs],
        "publish": plan.publish,
        "exclusive": plan.exclusive,
        "verify": plan.verify,
    }
    return {name: value for name, value in body.items() if value}


@lru_cache(100)
def _describe_retry(retry: Retry) -> dict[str, Any]:
    return asdict(retry)


def _find_wishes(connection: sa.Connection, jobs: Sequence[NewJob], known: KnownIds, looked: Later | None) -> list[int]:
    """Return for each job the id of what it asks of a pilot; what nobody asked for before is inserted."""
    keys = [_wish(new.owner, new.plan, known.sites) for new in jobs]
    # Most jobs of a batch ask for the same.
    wishes = {key: _describe_wish(key) for key in set(keys)}
    digests = {key: digest_wish(wish) for key, wish in wishes.items()}
    ids = find_requirements(connection, wishes.values(), looked)
    return [ids[digests[key]] for key in keys]


def _wish(owner: str, plan: JobPlan, sites: Mapping[str, str]) -> _Wish:
    """Return what a job asks of a pilot, as a key; what is known of its data now is part of that."""
    places = tuple(sites[key] for entry in plan.inputs for key in entry.keys if key in sites)
    urls = tuple(filter(is_url, plan.publish.values()))
    return owner, plan.jobtype, plan.resources, plan.timelimit, places + urls


def _describe_wish(key: _Wish) -> dict[str, Any]:
    owner, jobtype, resources, timelimit, places = key
    site, labels = narrow("", resources.labels, places)
    return {
        "owner": owner,
        "jobtype": jobtype,
        "site": site,
        "cpus": resources.cpus,
        "memory": resources.memory,
        "timelimit": timelimit,
        "labels": labels,
    }


def _insert_outputs(ledger: Ledger, jobs: Sequence[NewJob], ids: Sequence[int], known: KnownIds) -> None:
    made = [(ident, new, output.key) for ident, new in zip(ids, jobs, strict=True) for output in new.plan.outputs]
    if not made:
        return
    rows = []
    for number, (ident, new, key) in zip(Ids(ledger.connection, dataset, len(made)).take(len(made)), made, strict=True):
        plan = known.datasets[key]
        state = DatasetState.EXPECTED.value
        known.made[new.workflow_id, key] = number
        # In the order of `_OUTPUTS`.
        rows.append(
            (
                number,
                str(uuid.uuid4()),
                new.workflow_id,
                ident,
                key,
                plan.name,
                state,
                plan.datatype,
                plan.comment,
                plan.result,
                ledger.now,
            )
        )
    _OUTPUTS.run(ledger.connection, rows)


def _insert_edges(ledger: Ledger, jobs: Sequence[NewJob], ids: Sequence[int], known: KnownIds) -> None:
    pairs = list(zip(ids, jobs, strict=True))
    inputs = [
        (ident, known.find_dataset(new.workflow_id, key), entry.name, key, entry.partial)
        for ident, new in pairs
        for entry in new.plan.inputs
        for key in entry.keys
    ]
    needs = [
        (ident, known.jobs[new.workflow_id, parent], done) for ident, new in pairs for parent, done in new.plan.needs
    ]
    if inputs:
        _INPUTS.run(ledger.connection, inputs)
    if needs:
        _NEEDS.run(ledger.connection, needs)
