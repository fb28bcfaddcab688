"""Taking over what an earlier workflow finished: its datasets are the new workflow's, its jobs do not run again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.adopt import find_adoptable
from p3s.engine.states import DatasetState, Signal
from p3s.errors import BadInput, Conflict, Problem
from p3s.server.db import lock_rows, split_batches
from p3s.server.models import bundle, dataset, job, workflow
from p3s.server.queries.adoption import describe, read_heritage, read_places
from p3s.server.queries.find import find_row
from p3s.server.transitions.bindings import inherit_bindings
from p3s.server.transitions.spread import end_jobs
from p3s.server.transitions.store import describe_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.engine.plan import WorkflowPlan
    from p3s.server.queries.adoption import Heritage
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import Adopt

__all__ = ["adopt_jobs", "check_adoption"]

STEP = 200


def check_adoption(core: Core, adopt: Adopt, plan: WorkflowPlan, owner: str) -> Heritage:
    """Return what the earlier workflow has to give.

    Raises
    ------
    NotFound, Ambiguous
        If there is no such workflow.
    BadInput
        If the job named is none of the plan.
    """
    with core.db.read() as connection:
        row = find_row(connection, "workflow", adopt.workflow, owner=owner)
        heritage = read_heritage(connection, row)
    if adopt.below is not None and adopt.below not in plan.jobs:
        names = ", ".join(sorted(plan.jobs)[:10])
        raise BadInput([Problem(f"no job '{adopt.below}' in {plan.name}; its jobs are {names}", where="adopt.below")])
    return heritage


def adopt_jobs(
    core: Core, workflow_id: int, plan: WorkflowPlan, heritage: Heritage, below: str | None, by: str
) -> tuple[list[str], dict[str, str]]:
    """Finish the jobs of a workflow in ``loading`` that need not run; return their names, and why others run again."""
    core.change(by, lambda ledger: inherit_bindings(ledger, workflow_id, heritage.workflow_id))
    with core.db.read() as connection:
        files = connection.scalar(
            sa.select(bundle.c.digest)
            .join(workflow, workflow.c.bundle_id == bundle.c.id)
            .where(workflow.c.id == workflow_id)
        )
        places = read_places(connection, workflow_id)
    fate = find_adoptable(plan, _describe_plan(plan, places, files or ""), heritage.jobs, below=below)
    adopted = [name for name, reason in fate.items() if reason is None]
    for names in split_batches(adopted, STEP):
        core.change(by, lambda ledger, names=names: _adopt_some(ledger, workflow_id, names, heritage))  # type: ignore[misc]
    return adopted, {name: reason for name, reason in fate.items() if reason is not None}


def _describe_plan(plan: WorkflowPlan, places: Mapping[str, Mapping[str, str]], files: str) -> dict[str, str]:
    described = {}
    for name, entry in plan.jobs.items():
        # As the database gives it back: tuples are lists there.
        body = json.loads(json.dumps(describe_job(entry)))
        described[name] = describe(body, plan.params, places.get(name, {}), files)
    return described


def _adopt_some(ledger: Ledger, workflow_id: int, names: Sequence[str], heritage: Heritage) -> None:
    ids = list(
        ledger.connection.scalars(sa.select(job.c.id).where(job.c.workflow_id == workflow_id, job.c.name.in_(names)))
    )
    moved = ledger.move(
        "job",
        ids,
        Signal.SUCCEED,
        ended=ledger.now,
        message=f"taken over from workflow {heritage.uuid}",
        cause=f"taken over from workflow {heritage.uuid}",
    )
    made = ledger.connection.execute(
        sa.select(dataset.c.id, dataset.c.key).where(dataset.c.producer_id.in_(moved)).order_by(dataset.c.id)
    ).all()
    # Held to the commit: a file that is deleted at this moment is not taken over, and one that is taken over stays.
    sources = sa.select(dataset.c.id, dataset.c.state).where(
        dataset.c.id.in_([heritage.made[row.key].id for row in made])
    )
    states = {row.id: row.state for row in ledger.connection.execute(lock_rows(sources, share=True))}
    for target in made:
        known = heritage.made[target.key]
        if states.get(known.id) != DatasetState.AVAILABLE:
            raise Conflict(f"dataset {target.key} of workflow {heritage.uuid[:8]} was deleted a moment ago; load again")
        ledger.move(
            "dataset",
            [target.id],
            Signal.REGISTER,
            place=known.place,
            site=known.site,
            size=known.size,
            checksum=known.checksum,
            digest=known.digest,
        )
    end_jobs(ledger, moved)
