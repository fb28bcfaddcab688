"""Job descriptions become workflows of one node."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.expand import expand_standalone
from p3s.engine.states import Signal, WorkflowState
from p3s.engine.times import compute_due
from p3s.errors import BadInput, Problem
from p3s.server.bulk import Ids
from p3s.server.db import split_batches
from p3s.server.models import archive_job, job, workflow
from p3s.server.prepared import Prepared, among
from p3s.server.queries.datatypes import read_extensions
from p3s.server.transitions.publications import take_names
from p3s.server.transitions.store import KnownIds, NewJob, insert_workflows, look_for_wishes, store_jobs
from p3s.server.usecases.load import STEP, list_published, make_row
from p3s.server.usecases.sources import check_bundle, store_bundle
from p3s.wire import CreateJobsReply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from p3s.engine.plan import WorkflowPlan
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import CreateJobsBody, StandaloneJob

    Confirm: TypeAlias = Callable[[sa.Connection], Callable[[], None]]

__all__ = ["create_jobs"]

#: Jobs that may be committed together with other changes.
FEW = 16


def create_jobs(core: Core, body: CreateJobsBody, owner: str, confirm: Confirm | None = None) -> CreateJobsReply:
    """Make a workflow of one node for each job description; all or none, and once only for each uuid.

    Parameters
    ----------
    core : Core
        The server.
    body : CreateJobsBody
        The descriptions.
    owner : str
        Whose they are.
    confirm : callable, optional
        Sends for what says that the owner may, where that was not looked up before; what it returns checks it.
    """
    plans: list[tuple[StandaloneJob, WorkflowPlan]] = []
    extensions: Mapping[str, str] = {}
    if any(entry.spec.outputs for entry in body.jobs):
        with core.db.read() as connection:
            extensions = read_extensions(connection)
    problems: list[Problem] = []
    last: StandaloneJob | None = None
    for position, entry in enumerate(body.jobs):
        if last is not None and entry.spec == last.spec and entry.bundle == last.bundle:
            # Replicas follow each other: they share one plan.
            plans.append((entry, plans[-1][1]))
            continue
        try:
            check_bundle(entry.bundle, core.settings.max_bundle)
            files = [item.path for item in entry.bundle]
            plans.append((entry, expand_standalone(entry.spec, files, extensions=extensions)))
            last = entry
        except BadInput as error:
            problems += [
                Problem(problem.message, where=f"jobs[{position}].{problem.where}".rstrip("."))
                for problem in error.problems
            ]
    if problems:
        raise BadInput(problems)
    for batch in split_batches(plans, STEP):
        action = partial(_store_standalone, batch=batch, owner=owner, confirm=confirm)
        core.change(owner, action, small=len(batch) <= FEW)
    return CreateJobsReply(uuids=[entry.uuid for entry in body.jobs])


#: Those of the uuids that are known, also of what was archived.
_FIND_JOBS = [Prepared(sa.select(table.c.uuid).where(among(table.c.uuid, "uuids"))) for table in (job, archive_job)]


def _store_standalone(
    ledger: Ledger, batch: Sequence[tuple[StandaloneJob, WorkflowPlan]], owner: str, confirm: Confirm | None
) -> None:
    check = confirm(ledger.connection) if confirm is not None else None
    uuids = [entry.uuid for entry, _ in batch]
    sent = [find.send(ledger.connection, uuids=uuids) for find in _FIND_JOBS]
    # On the same trip to the database; those of jobs that are there already are nobody's.
    numbers = Ids(ledger.connection, workflow, len(batch))
    job_numbers = Ids(ledger.connection, job, sum(len(plan.jobs) for _, plan in batch))
    looked = look_for_wishes(
        ledger, owner, (only for _, plan in batch if not plan.datasets for only in plan.jobs.values())
    )
    known = {row.uuid for one in sent for row in one.rows()}
    if check is not None:
        check()
    fresh = [(entry, plan) for entry, plan in batch if entry.uuid not in known]
    if not fresh:
        return
    rows = []
    dues: dict[str, float | None] = {}
    for entry, plan in fresh:
        row = make_row(plan, entry.uuid, owner, "default") | {"bundle_id": store_bundle(ledger, entry.bundle)}
        if entry.hold or entry.spec.hold:
            row |= {"state": WorkflowState.HELD, "signal": Signal.LOADED}
            dues[entry.uuid] = None
        else:
            deadline = None if plan.deadline is None else ledger.now + plan.deadline
            started = {"started": ledger.now, "deadline": deadline}
            row |= {"state": WorkflowState.RUNNING, "signal": Signal.START} | started
            dues[entry.uuid] = compute_due(ledger.now, plan.critical_path, plan.deadline)
        rows.append(row)
    ids = insert_workflows(ledger, rows, numbers)
    # Outputs of different jobs may have one name, so those that have outputs are written one by one.
    for entry, plan in fresh:
        if published := list_published(plan):
            take_names(ledger, ids[entry.uuid], "default", published)
        if plan.datasets:
            store_jobs(
                ledger, _list_new(entry, plan, ids, owner, dues), KnownIds(plan.datasets, {}, {}, {}), job_numbers
            )
    plain = [new for entry, plan in fresh if not plan.datasets for new in _list_new(entry, plan, ids, owner, dues)]
    if plain:
        store_jobs(ledger, plain, KnownIds({}, {}, {}, {}), job_numbers, looked)


def _list_new(
    entry: StandaloneJob, plan: WorkflowPlan, ids: dict[str, int], owner: str, dues: dict[str, float | None]
) -> list[NewJob]:
    return [NewJob(ids[entry.uuid], owner, only, entry.uuid, dues[entry.uuid]) for only in plan.jobs.values()]
