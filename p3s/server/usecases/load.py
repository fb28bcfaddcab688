"""Loading: a text, or a stored DAG, becomes a workflow; job descriptions become workflows of one node."""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.expand import expand_standalone
from p3s.engine.matching import ANYWHERE
from p3s.engine.places import name_site
from p3s.engine.states import Signal, WorkflowState
from p3s.engine.times import compute_due
from p3s.errors import BadInput, Conflict, Problem
from p3s.server.bulk import Ids
from p3s.server.db import insert_missing, lock_name, split_batches
from p3s.server.models import archive, archive_job, blob, bundle, bundle_file, dag, dataset, job, workflow
from p3s.server.prepared import Prepared, among
from p3s.server.queries.dags import find_dag, list_bundle
from p3s.server.queries.datatypes import read_extensions
from p3s.server.queries.origins import check_origins
from p3s.server.queries.runtimes import read_expected
from p3s.server.transitions.bindings import admit_origins, meet_workflows
from p3s.server.transitions.externals import Facts, admit_externals
from p3s.server.transitions.publications import take_names
from p3s.server.transitions.settle import settle_workflows
from p3s.server.transitions.store import (
    KnownIds,
    NewJob,
    delete_abandoned,
    drop_load,
    insert_workflows,
    look_for_wishes,
    start_some,
    store_jobs,
    touch_load,
)
from p3s.server.usecases.adoption import adopt_jobs, check_adoption
from p3s.server.usecases.expansion import Source, expand_text
from p3s.wire import BundleFile, CreateJobsReply, LoadReply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.engine.plan import WorkflowPlan
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import CreateJobsBody, LoadBody, StandaloneJob

__all__ = ["create_jobs", "load_workflow", "start_workflow"]

#: Jobs that one transaction writes; with their datasets and edges about a thousand rows.
STEP = 250
#: Standalone jobs that may be committed together with other changes.
FEW = 16
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
    # A repeat of a request whose load was interrupted loads anew.
    core.change(owner, lambda ledger: delete_abandoned(ledger, SILENCE, body.uuid))
    known = _find_loaded(core, body, owner)
    if known is not None:
        return known
    if (body.text is None) == (body.dag is None):
        raise BadInput([Problem("give either a text or the name of a stored DAG", where="text")])
    source = _read_source(core, body, owner)
    with core.db.read() as connection:
        expected = read_expected(connection, owner)
    plan, order = expand_text(source, body, expected, core.settings.max_jobs)
    with core.db.read() as connection:
        check_origins(connection, owner, plan, source.text, source.file)
    heritage = check_adoption(core, body.adopt, plan, owner) if body.adopt else None

    def store(ledger: Ledger) -> int | None:
        bundle_id = source.bundle_id or _store_bundle(ledger, body.bundle)
        dag_id = source.dag_id or _store_dag(ledger, owner, plan.name, source.text, body, bundle_id)
        return _insert_one(ledger, body, owner, plan, {"dag_id": dag_id, "bundle_id": bundle_id})

    ident = core.change(owner, store)
    if ident is None:
        # A repeat of this very request, or another with the same key, was quicker.
        quicker = _find_loaded(core, body, owner)
        assert quicker is not None
        return quicker
    adopted: list[str] = []
    again: dict[str, str] = {}
    try:
        _store_plan(core, ident, owner, plan, order, body.site)
        if body.adopt is not None and heritage is not None:
            adopted, again = adopt_jobs(core, ident, plan, heritage, body.adopt.below, owner)
        _finish_load(core, ident, owner, hold=body.hold)
    except Conflict:
        # What was refused on the way leaves nothing behind.
        core.change(owner, lambda ledger: drop_load(ledger, ident))
        raise
    loaded = _find_loaded(core, body, owner)
    assert loaded is not None
    return loaded.model_copy(update={"created": True, "adopted": adopted, "again": again})


def create_jobs(core: Core, body: CreateJobsBody, owner: str) -> CreateJobsReply:
    """Make a workflow of one node for each job description; all or none, and once only for each uuid."""
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
            _check_bundle(entry.bundle, core.settings.max_bundle)
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
        core.change(owner, lambda ledger, batch=batch: _store_standalone(ledger, batch, owner), small=len(batch) <= FEW)  # type: ignore[misc]
    return CreateJobsReply(uuids=[entry.uuid for entry in body.jobs])


def start_workflow(core: Core, ident: int, by: str) -> None:
    """Let a held workflow go.

    Raises
    ------
    Conflict
        If it is not held, or it and a live workflow would wait for each other.
    """

    def action(ledger: Ledger) -> bool:
        if not ledger.move("workflow", [ident], Signal.START, expected=WorkflowState.HELD, **_begin(ledger)):
            state = ledger.connection.scalar(sa.select(workflow.c.state).where(workflow.c.id == ident))
            raise Conflict(f"the workflow is {state}, and only a held one can be started")
        meet_workflows(ledger, ident)
        return start_some(ledger, ident)

    if core.change(by, action):
        _start_others(core, ident, by)


def _begin(ledger: Ledger) -> dict[str, Any]:
    # The time that data waited before its workflow was loaded counts, too.
    return {
        "started": ledger.now,
        "deadline": sa.func.coalesce(workflow.c.arrived, ledger.now) + workflow.c.allowance,
    }


def _find_loaded(core: Core, body: LoadBody, owner: str) -> LoadReply | None:
    with core.db.read() as connection:
        mine = workflow.c.uuid == body.uuid
        if body.key is not None:
            mine = sa.or_(mine, sa.and_(workflow.c.owner == owner, workflow.c.key == body.key))
        row = connection.execute(
            sa.select(workflow, dag.c.name.label("dag"), dag.c.version)
            .outerjoin(dag, dag.c.id == workflow.c.dag_id)
            .where(mine)
            .order_by((workflow.c.uuid == body.uuid).desc())
            .limit(1)
        ).one_or_none()
        if row is None:
            row = _find_archived(connection, body, owner)
            if row is None:
                return None
        if row.owner != owner:
            raise Conflict(f"workflow {body.uuid} belongs to {row.owner}; make a new uuid")
        if row.state == WorkflowState.LOADING:
            raise Conflict(f"workflow {row.uuid} is being loaded at this moment; ask for it in a few seconds")
        made = sa.select(sa.func.count()).select_from(dataset).where(dataset.c.workflow_id == row.id)
        datasets = row.datasets if "datasets" in row._fields else connection.scalar(made)
        return LoadReply(
            uuid=row.uuid,
            name=row.name,
            dag=row.dag,
            version=row.version,
            state=row.state,
            jobs=row.jobs,
            datasets=datasets or 0,
            created=False,
        )


def _find_archived(connection: sa.Connection, body: LoadBody, owner: str) -> Any:
    """Return the row in the archive of a workflow with this uuid or key: it counts as loaded for ever."""
    mine = archive.c.uuid == body.uuid
    if body.key is not None:
        mine = sa.or_(mine, sa.and_(archive.c.owner == owner, archive.c.key == body.key))
    return connection.execute(
        sa.select(archive).where(mine).order_by((archive.c.uuid == body.uuid).desc()).limit(1)
    ).one_or_none()


def _read_source(core: Core, body: LoadBody, owner: str) -> Source:
    if body.dag is None:
        _check_bundle(body.bundle, core.settings.max_bundle)
        files = tuple(entry.path for entry in body.bundle)
        with core.db.read() as connection:
            return Source(body.text or "", body.file, files, read_extensions(connection))
    with core.db.read() as connection:
        row = find_dag(connection, body.dag, version=body.version, owner=owner)
        files = tuple(list_bundle(connection, row.bundle_id))
        return Source(row.text, row.file, files, read_extensions(connection), row.id, row.bundle_id)


def _check_bundle(bundle: Sequence[BundleFile], limit: int) -> None:
    problems = []
    seen: set[str] = set()
    for entry in bundle:
        path = entry.path
        if path.startswith(("/", "..")) or posixpath.normpath(path) != path or "\0" in path:
            problems.append(Problem(f"bundle path '{path}' is not a plain relative path", where="bundle"))
        if path in seen:
            problems.append(Problem(f"bundle path '{path}' is given twice", where="bundle"))
        seen.add(path)
    total = sum(len(entry.data) for entry in bundle)
    if total > limit:
        problems.append(
            Problem(
                f"the bundle has {total} bytes, the limit is {limit}: name large files as datasets",
                where="bundle",
            )
        )
    if problems:
        raise BadInput(problems)


def _store_bundle(ledger: Ledger, files: Sequence[BundleFile]) -> int | None:
    """Find or make the bundle with these files; None for no file."""
    if not files:
        return None
    digests = {entry.path: hashlib.sha256(entry.data).hexdigest() for entry in files}
    whole = hashlib.sha256()
    for entry in sorted(files, key=lambda item: item.path):
        whole.update(f"{entry.path}\0{digests[entry.path]}\0{entry.executable}\0".encode())
    find = sa.select(bundle.c.id).where(bundle.c.digest == whole.hexdigest())
    found = ledger.connection.scalar(find)
    if found is not None:
        return int(found)
    contents = {digests[entry.path]: entry.data for entry in files}
    rows = [
        {"digest": digest, "size": len(data), "data": data, "created": ledger.now}
        for digest, data in sorted(contents.items())
    ]
    insert_missing(ledger.connection, blob, rows)
    insert_missing(ledger.connection, bundle, [{"digest": whole.hexdigest()}])
    ident = int(ledger.connection.scalar(find) or 0)
    insert_missing(
        ledger.connection,
        bundle_file,
        [
            {
                "bundle_id": ident,
                "path": entry.path,
                "digest": digests[entry.path],
                "executable": entry.executable,
            }
            for entry in files
        ],
    )
    return ident


def _store_dag(ledger: Ledger, owner: str, name: str, text: str, body: LoadBody, bundle_id: int | None) -> int:
    """Find or make the version of a DAG with this text and these files."""
    files = ledger.connection.scalar(sa.select(bundle.c.digest).where(bundle.c.id == bundle_id))
    digest = hashlib.sha256(f"{text}\0{files or ''}".encode()).hexdigest()
    # Its name is held, so that two loads make neither one version number nor one version twice.
    lock_name(ledger.connection, f"dag {owner}/{name}")
    mine = sa.and_(dag.c.owner == owner, dag.c.name == name)
    newest = ledger.connection.scalar(sa.select(sa.func.max(dag.c.version)).where(mine))
    found = ledger.connection.scalar(sa.select(dag.c.id).where(mine, dag.c.digest == digest))
    if found is None:
        values = {
            "owner": owner,
            "name": name,
            "version": (newest or 0) + 1,
            "digest": digest,
            "text": text,
            "file": body.file,
            "base": body.base,
            "bundle_id": bundle_id,
            "created": ledger.now,
        }
        found = ledger.connection.scalar(sa.insert(dag).values(values).returning(dag.c.id))
    return int(found or 0)


def _insert_one(
    ledger: Ledger, body: LoadBody, owner: str, plan: WorkflowPlan, source: dict[str, int | None]
) -> int | None:
    taken = sa.select(workflow.c.id).where(
        sa.or_(
            workflow.c.uuid == body.uuid,
            sa.and_(workflow.c.owner == owner, workflow.c.key == body.key, workflow.c.key.is_not(None)),
        )
    )
    if ledger.connection.scalar(taken) is not None or _find_archived(ledger.connection, body, owner) is not None:
        return None
    arrived = None if body.age is None else ledger.now - body.age
    row = (
        _workflow_row(plan, body.uuid, owner, body.site)
        | source
        | {"key": body.key, "overrides": body.overrides or None, "arrived": arrived}
    )
    return insert_workflows(ledger, [row])[body.uuid]


def _workflow_row(plan: WorkflowPlan, ident: str, owner: str, site: str) -> dict[str, Any]:
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


def _store_plan(core: Core, ident: int, owner: str, plan: WorkflowPlan, order: Sequence[str], site: str) -> None:
    for names in split_batches(_list_published(plan), STEP):

        def take(ledger: Ledger, names: Sequence[str] = names) -> None:
            touch_load(ledger, ident)
            take_names(ledger, ident, site, names)

        core.change(owner, take)
    externals: dict[str, int] = {}
    for places in split_batches(sorted(_list_externals(plan).items()), STEP):

        def admit(ledger: Ledger, places: Sequence[tuple[str, Facts]] = places) -> dict[str, int]:
            touch_load(ledger, ident)
            return admit_externals(ledger, site, dict(places))

        externals |= core.change(owner, admit)
    elsewhere = [entry for entry in plan.datasets.values() if entry.origin is not None]
    read = core.change(owner, lambda ledger: admit_origins(ledger, ident, owner, elsewhere)) if elsewhere else {}
    known = KnownIds(plan.datasets, externals, {}, read, _find_sites(plan, site))
    for names in split_batches(order, STEP):
        jobs = [NewJob(ident, owner, plan.jobs[name], str(uuid.uuid4())) for name in names]

        def store(ledger: Ledger, jobs: list[NewJob] = jobs) -> None:
            touch_load(ledger, ident)
            store_jobs(ledger, jobs, known)

        core.change(owner, store)


def _find_sites(plan: WorkflowPlan, site: str) -> dict[str, str]:
    """Return what binds the consumers of external data: URLs, and the site of paths unless it binds nobody."""
    places = {entry.key: entry.place for entry in plan.datasets.values() if entry.place is not None}
    found = {key: name_site(place, site) or place for key, place in places.items()}
    return {key: where for key, where in found.items() if where not in ANYWHERE}


def _list_published(plan: WorkflowPlan) -> list[str]:
    return sorted({place for entry in plan.jobs.values() if not entry.skipped for place in entry.publish.values()})


def _list_externals(plan: WorkflowPlan) -> dict[str, Facts]:
    return {
        entry.place: Facts(
            entry.key, entry.name, entry.available, entry.size, entry.checksum, entry.datatype, entry.comment
        )
        for entry in plan.datasets.values()
        if entry.place is not None
    }


#: Those of the uuids that are known, also of what was archived.
_FIND_JOBS = [Prepared(sa.select(table.c.uuid).where(among(table.c.uuid, "uuids"))) for table in (job, archive_job)]


def _store_standalone(ledger: Ledger, batch: Sequence[tuple[StandaloneJob, WorkflowPlan]], owner: str) -> None:
    uuids = [entry.uuid for entry, _ in batch]
    sent = [find.send(ledger.connection, uuids=uuids) for find in _FIND_JOBS]
    # On the same trip to the database; those of jobs that are there already are nobody's.
    numbers = Ids(ledger.connection, workflow, len(batch))
    job_numbers = Ids(ledger.connection, job, sum(len(plan.jobs) for _, plan in batch))
    looked = look_for_wishes(
        ledger, owner, (only for _, plan in batch if not plan.datasets for only in plan.jobs.values())
    )
    known = {row.uuid for one in sent for row in one.rows()}
    fresh = [(entry, plan) for entry, plan in batch if entry.uuid not in known]
    if not fresh:
        return
    rows = []
    dues: dict[str, float | None] = {}
    for entry, plan in fresh:
        row = _workflow_row(plan, entry.uuid, owner, "default") | {"bundle_id": _store_bundle(ledger, entry.bundle)}
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
        if published := _list_published(plan):
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


def _finish_load(core: Core, ident: int, by: str, *, hold: bool) -> None:
    def action(ledger: Ledger) -> bool:
        if hold:
            ledger.move("workflow", [ident], Signal.LOADED)
            return False
        ledger.move("workflow", [ident], Signal.START, expected=WorkflowState.LOADING, **_begin(ledger))
        meet_workflows(ledger, ident)
        # Nothing is left to run where all was taken over.
        settle_workflows(ledger, [ident])
        return start_some(ledger, ident)

    if core.change(by, action):
        _start_others(core, ident, by)


def _start_others(core: Core, ident: int, by: str) -> None:
    while core.change(by, lambda ledger: start_some(ledger, ident)):
        pass
