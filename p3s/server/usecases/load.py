"""Loading: a text, or a stored DAG, becomes a workflow, in one transaction or, a large one, in many."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import ANYWHERE
from p3s.engine.places import name_site
from p3s.engine.states import Signal, WorkflowState
from p3s.errors import BadInput, Conflict, Problem
from p3s.server.bulk import Ids
from p3s.server.db import split_batches
from p3s.server.models import archive, dag, dataset, workflow
from p3s.server.prepared import Prepared, param
from p3s.server.queries.origins import check_origins
from p3s.server.queries.runtimes import read_expected
from p3s.server.transitions.bindings import admit_origins, meet_workflows
from p3s.server.transitions.externals import Facts, admit_externals
from p3s.server.transitions.ledger import Preset
from p3s.server.transitions.publications import take_names
from p3s.server.transitions.settle import settle_workflows
from p3s.server.transitions.starts import delete_abandoned, drop_load, start_some, touch_load
from p3s.server.transitions.store import KnownIds, NewJob, insert_workflows, store_jobs
from p3s.server.usecases.adoption import adopt_jobs, check_adoption
from p3s.server.usecases.expansion import expand_text
from p3s.server.usecases.sources import read_source, store_bundle, store_dag
from p3s.wire import LoadReply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p3s.engine.plan import WorkflowPlan
    from p3s.server.queries.adoption import Heritage
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.server.usecases.expansion import Source
    from p3s.wire import LoadBody

__all__ = ["STEP", "list_published", "load_workflow", "make_row", "start_workflow"]

#: Jobs that one transaction writes; with their datasets and edges about a thousand rows.
STEP = 250
#: Jobs, or data, of the largest workflow that is stored and started in one transaction: pilots wait for its end.
TOGETHER = 64
#: A load that wrote nothing for so long was interrupted; its batches take a second or two.
SILENCE = 30.0


def load_workflow(core: Core, body: LoadBody, owner: str) -> LoadReply:
    """Validate, expand, rank, store and start a workflow.

    Raises
    ------
    BadInput
        With every problem of the text, the parameters or the bundle; nothing is stored then.
    Conflict
        If the same uuid is being loaded at this moment, a live workflow publishes the same name, or it and a live
        workflow would wait for each other.
    """
    with core.db.read() as connection:
        known = _find(connection, body, owner)
    if known is not None and (known.uuid, known.state) == (body.uuid, WorkflowState.LOADING):
        # A repeat of a request whose load was interrupted loads anew.
        core.change(owner, lambda ledger: delete_abandoned(ledger, SILENCE, body.uuid))
        with core.db.read() as connection:
            known = _find(connection, body, owner)
    if known is not None:
        return _answer(known, body, owner)
    if (body.text is None) == (body.dag is None):
        raise BadInput([Problem("give either a text or the name of a stored DAG", where="text")])
    with core.db.read() as connection:
        source = read_source(connection, body, owner, core.settings.max_bundle)
        expected = read_expected(connection, owner)
    plan, order = expand_text(source, body, expected, core.settings.max_jobs)
    with core.db.read() as connection:
        check_origins(connection, owner, plan, source.text, source.file)
    heritage = check_adoption(core, body.adopt, plan, owner) if body.adopt else None
    load = _Load(body, owner, source, plan, order)
    is_small = heritage is None and max(len(plan.jobs), len(plan.datasets)) <= min(TOGETHER, STEP)
    stored = _store_at_once(core, load) if is_small else _store_in_steps(core, load, heritage)
    if body.hold:
        # The start can then claim for a pilot that waits, in its own transaction.
        core.read_requirements()
    with core.db.read() as connection:
        made = _find(connection, body, owner)
    assert made is not None
    reply = _answer(made, body, owner)
    # Else a repeat of this very request, or another with the same key, was quicker.
    return reply if stored is None else reply.model_copy(update={"created": True, **stored})


_MOMENT = param("begun", sa.Double())
#: The time that data waited before its workflow was loaded counts, too.
_BEGUN = Preset(started=_MOMENT, deadline=sa.func.coalesce(workflow.c.arrived, _MOMENT) + workflow.c.allowance)


def start_workflow(core: Core, ident: int, by: str) -> None:
    """Let a held workflow go.

    Raises
    ------
    Conflict
        If it is not held, or it and a live workflow would wait for each other.
    """

    def action(ledger: Ledger) -> bool:
        if not ledger.move(
            "workflow", [ident], Signal.START, expected=WorkflowState.HELD, preset=_BEGUN, begun=ledger.now
        ):
            state = ledger.connection.scalar(sa.select(workflow.c.state).where(workflow.c.id == ident))
            raise Conflict(f"the workflow is {state}, and only a held one can be started")
        meet_workflows(ledger, ident)
        return start_some(ledger, ident)

    if core.change(by, action):
        _start_others(core, ident, by)


_LIVE = sa.select(
    workflow.c.uuid,
    workflow.c.owner,
    workflow.c.name,
    workflow.c.state,
    workflow.c.jobs,
    dag.c.name.label("dag"),
    dag.c.version,
    sa.select(sa.func.count()).where(dataset.c.workflow_id == workflow.c.id).scalar_subquery().label("datasets"),
).outerjoin(dag, dag.c.id == workflow.c.dag_id)
_ARCHIVED = sa.select(
    archive.c.uuid,
    archive.c.owner,
    archive.c.name,
    archive.c.state,
    archive.c.jobs,
    archive.c.dag,
    archive.c.version,
    archive.c.datasets,
)
_UUID, _OWNER, _KEY = (param(name, sa.Text()) for name in ("uuid", "owner", "key"))
#: What is archived counts as loaded for ever.
_BY_UUID = [Prepared(_LIVE.where(workflow.c.uuid == _UUID)), Prepared(_ARCHIVED.where(archive.c.uuid == _UUID))]
_BY_KEY = [
    Prepared(_LIVE.where(workflow.c.owner == _OWNER, workflow.c.key == _KEY)),
    Prepared(_ARCHIVED.where(archive.c.owner == _OWNER, archive.c.key == _KEY)),
]


def _find(connection: sa.Connection, body: LoadBody, owner: str) -> Any:
    """Return the row of the workflow with a request's uuid, else of that with its key; None if there is none."""
    sent = [find.send(connection, uuid=body.uuid) for find in _BY_UUID]
    if body.key is not None:
        keyed = [find.send(connection, owner=owner, key=body.key) for find in _BY_KEY]
        # What is not archived comes first.
        sent = [sent[0], keyed[0], sent[1], keyed[1]]
    return next((row for one in sent for row in one.rows()), None)


def _answer(row: Any, body: LoadBody, owner: str) -> LoadReply:
    """Return what is said of a workflow that is there.

    Raises
    ------
    Conflict
        If it is another one's, or being loaded.
    """
    if row.owner != owner:
        raise Conflict(f"workflow {body.uuid} belongs to {row.owner}; make a new uuid")
    if row.state == WorkflowState.LOADING:
        raise Conflict(f"workflow {row.uuid} is being loaded at this moment; ask for it in a few seconds")
    return LoadReply(
        uuid=row.uuid,
        name=row.name,
        dag=row.dag,
        version=row.version,
        state=row.state,
        jobs=row.jobs,
        datasets=row.datasets,
        created=False,
    )


@dataclass(frozen=True, slots=True)
class _Load:
    """A request, and the plan that was made of it."""

    body: LoadBody
    owner: str
    source: Source
    plan: WorkflowPlan
    order: Sequence[str]

    def insert(self, ledger: Ledger) -> int | None:
        """Insert the workflow alone and return its id; None if it is there."""
        bundle_id = self.source.bundle_id or store_bundle(ledger, self.body.bundle)
        name, text = self.plan.name, self.source.text
        dag_id = self.source.dag_id or store_dag(ledger, self.owner, name, text, self.body, bundle_id)
        numbers = Ids(ledger.connection, workflow, 1)
        if _find(ledger.connection, self.body, self.owner) is not None:
            return None
        row = make_row(self.plan, self.body.uuid, self.owner, self.body.site) | {
            "dag_id": dag_id,
            "bundle_id": bundle_id,
            "key": self.body.key,
            "overrides": self.body.overrides or None,
            "arrived": None if self.body.age is None else ledger.now - self.body.age,
        }
        return insert_workflows(ledger, [row], numbers)[self.body.uuid]


def _store_at_once(core: Core, load: _Load) -> dict[str, Any] | None:
    """Store and start a small workflow in one transaction; return what is new in the answer, None if it is there."""

    def action(ledger: Ledger) -> tuple[int, bool] | None:
        ident = load.insert(ledger)
        if ident is None:
            return None
        _store_plan(lambda step: step(ledger), ident, load)
        return ident, _finish(ledger, ident, hold=load.body.hold)

    found = core.change(load.owner, action)
    if found is None:
        return None
    ident, left = found
    if left:
        _start_others(core, ident, load.owner)
    return {}


def _store_in_steps(core: Core, load: _Load, heritage: Heritage | None) -> dict[str, Any] | None:
    """Store and start a workflow in many transactions; return as `_store_at_once` does."""
    owner, adopt = load.owner, load.body.adopt
    ident = core.change(owner, load.insert)
    if ident is None:
        return None

    def run(step: Callable[[Ledger], Any]) -> Any:
        def action(ledger: Ledger) -> Any:
            touch_load(ledger, ident)
            return step(ledger)

        return core.change(owner, action)

    stored: dict[str, Any] = {}
    try:
        _store_plan(run, ident, load)
        if adopt is not None and heritage is not None:
            stored["adopted"], stored["again"] = adopt_jobs(core, ident, load.plan, heritage, adopt.below, owner)
        left = run(partial(_finish, ident=ident, hold=load.body.hold))
    except Conflict:
        # What was refused on the way leaves nothing behind.
        core.change(owner, lambda ledger: drop_load(ledger, ident))
        raise
    if left:
        _start_others(core, ident, owner)
    return stored


def make_row(plan: WorkflowPlan, ident: str, owner: str, site: str) -> dict[str, Any]:
    """Return the columns of a workflow that is being loaded."""
    return {
        "uuid": ident,
        "owner": owner,
        "name": plan.name,
        "dag_id": None,
        "bundle_id": None,
        "key": None,
        "overrides": None,
        "state": WorkflowState.LOADING,
        "signal": "load",
        "arrived": None,
        "started": None,
        "deadline": None,
        "params": plan.params,
        "site": site,
        "allowance": plan.deadline,
        "on_deadline": plan.on_deadline,
        "critical_path": plan.critical_path,
        "jobs": len(plan.jobs),
    }


def _store_plan(run: Callable[[Callable[[Ledger], Any]], Any], ident: int, load: _Load) -> None:
    """Store all of a workflow but its own row.

    Parameters
    ----------
    run : callable
        Runs a step, which acts on the database only, and returns what it gives.
    ident : int
        The workflow's row.
    load : _Load
        The plan.
    """
    plan, owner, site = load.plan, load.owner, load.body.site
    for names in split_batches(list_published(plan), STEP):
        run(partial(take_names, workflow_id=ident, site=site, places=names))
    externals: dict[str, int] = {}
    for places in split_batches(sorted(_list_externals(plan).items()), STEP):
        externals |= run(partial(admit_externals, site=site, wanted=dict(places)))
    elsewhere = [entry for entry in plan.datasets.values() if entry.origin is not None]
    read = run(partial(admit_origins, workflow_id=ident, owner=owner, plans=elsewhere)) if elsewhere else {}
    known = KnownIds(plan.datasets, externals, {}, read, _find_sites(plan, site))
    for names in split_batches(load.order, STEP):
        jobs = [NewJob(ident, owner, plan.jobs[name], str(uuid.uuid4())) for name in names]
        run(partial(store_jobs, jobs=jobs, known=known))


def _find_sites(plan: WorkflowPlan, site: str) -> dict[str, str]:
    """Return what binds the consumers of external data: URLs, and the site of paths unless it binds nobody."""
    places = {entry.key: entry.place for entry in plan.datasets.values() if entry.place is not None}
    found = {key: name_site(place, site) or place for key, place in places.items()}
    return {key: where for key, where in found.items() if where not in ANYWHERE}


def list_published(plan: WorkflowPlan) -> list[str]:
    """Return the places that jobs of a plan publish at."""
    return sorted({place for entry in plan.jobs.values() if not entry.skipped for place in entry.publish.values()})


def _list_externals(plan: WorkflowPlan) -> dict[str, Facts]:
    return {
        entry.place: Facts(
            entry.key, entry.name, entry.available, entry.size, entry.checksum, entry.datatype, entry.comment
        )
        for entry in plan.datasets.values()
        if entry.place is not None
    }


def _finish(ledger: Ledger, ident: int, *, hold: bool) -> bool:
    """Let a workflow that is stored go, unless it is held; return whether jobs are left to start."""
    if hold:
        ledger.move("workflow", [ident], Signal.LOADED)
        return False
    begun = {ident: {"begun": ledger.now}}
    ledger.send_each("workflow", Signal.START, begun, expected=WorkflowState.LOADING, preset=_BEGUN)
    meet_workflows(ledger, ident)
    # Nothing is left to run where all was taken over.
    settle_workflows(ledger, [ident])
    return start_some(ledger, ident)


def _start_others(core: Core, ident: int, by: str) -> None:
    while core.change(by, lambda ledger: start_some(ledger, ident)):
        pass
