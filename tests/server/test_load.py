"""Loading: once for each uuid and key, all or nothing, versions of DAGs, bundles and held workflows."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from p3s.engine.spec import StandaloneSpec
from p3s.errors import BadInput, Conflict, NotFound
from p3s.server.models import bundle_file, dag, event, job, runtime, workflow
from p3s.server.queries.find import find_row
from p3s.server.queries.runtimes import SAMPLES, read_expected
from p3s.server.queries.workflows import view_workflow
from p3s.server.transitions.starts import find_unstarted, start_some
from p3s.server.usecases import load
from p3s.server.usecases.acts import delete_dag, delete_workflow
from p3s.server.usecases.load import load_workflow, start_workflow
from p3s.server.usecases.standalone import create_jobs
from p3s.wire import BundleFile, CreateJobsBody, ExternalMember, LoadBody, StandaloneJob
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, read_states, read_workflow_state

SMALL = 'name: small\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n'


def count(core, table):
    """Return the number of rows of a table."""
    with core.db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table))


def test_repeated_request_starts_one_workflow(core):
    """The same uuid sent twice answers the same workflow."""
    ident = str(uuid.uuid4())
    first, again = load_text(core, SMALL, uuid=ident), load_text(core, SMALL, uuid=ident)
    assert (first.created, again.created) == (True, False)
    assert first.uuid == again.uuid == ident
    assert (count(core, workflow), count(core, job)) == (1, 2)


def test_uuid_of_another_owner_is_refused(core):
    """Nobody gets at a workflow by sending its uuid."""
    ident = str(uuid.uuid4())
    load_text(core, SMALL, uuid=ident)
    with pytest.raises(Conflict, match="belongs to ann"):
        load_text(core, SMALL, owner="bob", uuid=ident)


def test_key_makes_it_once_only(core):
    """A key starts one workflow per owner for ever; another owner's key is another."""
    first = load_text(core, SMALL, key="run-17")
    again = load_text(core, SMALL, key="run-17")
    assert (again.uuid, again.created) == (first.uuid, False)
    assert load_text(core, SMALL, owner="bob", key="run-17").uuid != first.uuid


def test_bad_input_changes_nothing(core):
    """A text with errors stores neither DAG nor workflow, and all its problems come at once."""
    text = "name: bad\njobs:\n  a: {needs: [nobody], run: x, colour: red}\n  b: {inputs: [nothing], run: x}\n"
    with pytest.raises(BadInput) as caught:
        load_text(core, text)
    assert len(caught.value.problems) >= 3
    assert all(problem.line for problem in caught.value.problems)
    assert (count(core, workflow), count(core, dag), count(core, job)) == (0, 0, 0)


def test_text_or_dag_not_both(core):
    """A request names a text or a stored DAG, not both and not neither."""
    for fields in ({}, {"text": SMALL, "dag": "small"}):
        with pytest.raises(BadInput, match="either a text or the name"):
            load_workflow(core, LoadBody(uuid=str(uuid.uuid4()), **fields), "ann")


def test_changed_text_makes_a_new_version(core):
    """The same text is the same version; changed text or files make the next."""
    assert load_text(core, SMALL).version == 1
    assert load_text(core, SMALL).version == 1
    assert load_text(core, SMALL + "  c: {run: x}\n").version == 2
    files = "files: [x.py]\n" + SMALL
    assert load_text(core, files, bundle=[BundleFile(path="x.py", data=b"1")]).version == 3
    assert load_text(core, files, bundle=[BundleFile(path="x.py", data=b"2")]).version == 4


def test_stored_dag_runs_again(core):
    """A stored DAG makes another workflow, of the newest or of a named version, with its bundle."""
    text = "name: tool\nfiles: [x.py]\nparams: {n: {default: 1}}\njobs:\n  a: {run: python3 x.py}\n"
    load_text(core, text, bundle=[BundleFile(path="x.py", data=b"print()")])
    load_text(core, text + "  b: {run: x}\n", bundle=[BundleFile(path="x.py", data=b"print()")])
    newest = load_workflow(core, LoadBody(uuid=str(uuid.uuid4()), dag="tool", params={"n": "5"}), "ann")
    older = load_workflow(core, LoadBody(uuid=str(uuid.uuid4()), dag="tool", version=1), "ann")
    assert (newest.version, newest.jobs, older.version, older.jobs) == (2, 2, 1, 1)
    order = ScriptedPilot(core, slots=9).claim()[-1]
    assert [entry.path for entry in order.bundle] == ["x.py"]
    with pytest.raises(NotFound):
        load_workflow(core, LoadBody(uuid=str(uuid.uuid4()), dag="nothing"), "ann")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a\0b"])
def test_bundle_paths_stay_inside(core, path):
    """A bundle file cannot be unpacked outside the sandbox."""
    with pytest.raises(BadInput, match="relative path"):
        load_text(core, SMALL, bundle=[BundleFile(path=path, data=b"")])


def test_bundle_has_a_limit(core):
    """A bundle above the limit is refused with the advice to use datasets."""
    from dataclasses import replace

    core.settings = replace(core.settings, max_bundle=10)
    with pytest.raises(BadInput, match="name large files as datasets"):
        load_text(core, SMALL, bundle=[BundleFile(path="x", data=b"x" * 11)])


def test_held_workflow_waits_for_its_start(core):
    """`hold` leaves everything `held` until somebody starts it; a second start is refused."""
    loaded = load_text(core, SMALL, hold=True)
    assert set(read_states(core, loaded.uuid).values()) == {"held"}
    assert ScriptedPilot(core).claim() == []
    with core.db.read() as connection:
        row = find_row(connection, "workflow", loaded.uuid)
    start_workflow(core, row.id, "ann")
    assert read_states(core, loaded.uuid) == {"a": "defined", "b": "waiting"}
    with pytest.raises(Conflict, match="only a held one"):
        start_workflow(core, row.id, "ann")


@pytest.fixture
def transactions(core, monkeypatch):
    """Return a list that grows with each transaction that writes."""
    made = []
    write = core.db.write

    def note(*args, **kwargs):
        made.append(1)
        return write(*args, **kwargs)

    monkeypatch.setattr(core.db, "write", note)
    return made


@pytest.mark.parametrize("hold", [False, True])
def test_a_small_workflow_is_one_transaction(core, transactions, monkeypatch, hold):
    """It is stored and started at once, and is then what a larger one is that takes several."""
    raw = {"raw": [ExternalMember(place="/data/raw.csv", available=True)]}
    first = load_text(core, DIAMOND, externals=raw, hold=hold)
    assert len(transactions) == 1
    transactions.clear()
    monkeypatch.setattr(load, "TOGETHER", 1)
    second = load_text(core, DIAMOND, externals=raw, hold=hold)
    assert len(transactions) > 3
    same = {"uuid": "", "version": 0}
    assert first.model_copy(update=same) == second.model_copy(update=same)
    assert read_states(core, first.uuid) == read_states(core, second.uuid)
    assert describe(core, first.uuid) == describe(core, second.uuid)


def describe(core, ident):
    """Return what a workflow's rows say, without ids and times, and its events."""
    skipped = {"id", "uuid", "created", "touched", "released", "started", "due"}
    with core.db.read() as connection:
        row = find_row(connection, "workflow", ident)
        jobs = connection.execute(sa.select(job).where(job.c.workflow_id == row.id).order_by(job.c.id)).all()
        uuids = {ident: "workflow"} | {one.uuid: one.name for one in jobs}
        events = connection.execute(sa.select(event).where(event.c.uuid.in_(uuids)).order_by(event.c.id)).all()
        told = [(uuids[one.uuid], one.signal, one.before, one.after, one.cause) for one in events]
        plain = [{name: value for name, value in one._asdict().items() if name not in skipped} for one in (row, *jobs)]
    for one in plain:
        one.pop("workflow_id", None)
    return plain, sorted(told, key=str)


def test_a_small_workflow_that_is_refused_leaves_nothing(core):
    """Two live workflows cannot publish one name; of the second one nothing is stored, not even its DAG."""
    text = "name: {}\njobs:\n  show: {{outputs: [page], publish: {{page: /pages/page}}, run: x}}\n"
    load_text(core, text.format("first"))
    before = [count(core, table) for table in (workflow, job, dag, event)]
    with pytest.raises(Conflict, match="/pages/page"):
        load_text(core, text.format("second"))
    assert [count(core, table) for table in (workflow, job, dag, event)] == before


def test_a_load_that_was_interrupted_is_taken_up_by_its_repeat(core, monkeypatch):
    """While it may go on, a repeat is told so; later a repeat loads anew."""
    ident = str(uuid.uuid4())

    def fail(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(load, "TOGETHER", 1)
        patch.setattr(load, "store_jobs", fail)
        with pytest.raises(KeyboardInterrupt):
            load_text(core, SMALL, uuid=ident)
    assert read_workflow_state(core, ident) == "loading"
    with pytest.raises(Conflict, match="being loaded at this moment"):
        load_text(core, SMALL, uuid=ident)
    monkeypatch.setattr(load, "SILENCE", 0.0)
    assert load_text(core, SMALL, uuid=ident).created
    assert read_workflow_state(core, ident) == "running"
    assert count(core, workflow) == 1


def test_one_external_for_all_workflows(core):
    """Two workflows that read one place share one dataset row."""
    from p3s.server.models import dataset

    for _ in range(2):
        load_text(core, DIAMOND, externals={"raw": [ExternalMember(place="/data/raw.csv")]})
    with core.db.read() as connection:
        places = connection.scalars(sa.select(dataset.c.place).where(dataset.c.workflow_id.is_(None))).all()
    assert places == ["/data/raw.csv"]


def test_large_text_is_expanded_in_a_process_of_its_own(core):
    """A large DAG gives the same workflow, and its problems reach the caller whole."""
    members = ", ".join(f"m{number:05}" for number in range(3000))
    text = f"name: large\njobs:\n  a: {{matrix: {{n: [{members}]}}, run: x}}\n# {'x' * 250_000}\n"
    assert load_text(core, text).jobs == 3000
    with pytest.raises(BadInput) as caught:
        load_text(core, text + "oops: 1\n")
    assert caught.value.problems[0].line


def test_empty_sync_points_finish_by_themselves(core):
    """A workflow of sync points only is finished when it is loaded."""
    loaded = load_text(core, "name: n\njobs:\n  a: {}\n  b: {needs: [a]}\n")
    assert loaded.state == "finished"
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_standalone_jobs_are_created_once(core):
    """A repeated request makes no second job; several jobs come in the order of the request."""
    entries = [
        StandaloneJob.model_validate({"uuid": str(uuid.uuid4()), "spec": {"run": "true", "priority": str(number)}})
        for number in range(3)
    ]
    for _ in range(2):
        reply = create_jobs(core, CreateJobsBody(jobs=entries), "ann")
    assert reply.uuids == [entry.uuid for entry in entries]
    assert (count(core, job), count(core, workflow)) == (3, 3)


def test_standalone_jobs_are_all_or_none(core):
    """One bad description refuses the request and names its position."""
    good = StandaloneJob.model_validate({"uuid": str(uuid.uuid4()), "spec": {"run": "true"}})
    bad = StandaloneJob.model_validate({"uuid": str(uuid.uuid4()), "spec": {"payload": "./missing.sh"}})
    with pytest.raises(BadInput) as caught:
        create_jobs(core, CreateJobsBody(jobs=[good, bad]), "ann")
    assert caught.value.problems[0].where.startswith("jobs[1]")
    assert count(core, job) == 0


def test_standalone_payload_travels_along(core):
    """The files of a standalone job are unpacked into its sandbox as a workflow's are."""
    entry = StandaloneJob.model_validate(
        {
            "uuid": str(uuid.uuid4()),
            "spec": {"payload": "./go.sh"},
            "bundle": [BundleFile(path="go.sh", data=b"#!/bin/sh", executable=True)],
        }
    )
    create_jobs(core, CreateJobsBody(jobs=[entry]), "ann")
    (order,) = ScriptedPilot(core).claim()
    assert [(item.path, item.executable) for item in order.bundle] == [("go.sh", True)]
    assert count(core, bundle_file) == 1


def test_only_final_workflows_are_deleted(core):
    """A running workflow is not deleted; a held one is, with its jobs."""
    running, held = load_text(core, SMALL), load_text(core, SMALL, hold=True)
    with core.db.read() as connection:
        rows = {ident: find_row(connection, "workflow", ident) for ident in (running.uuid, held.uuid)}
    with pytest.raises(Conflict, match="cancel it first"):
        delete_workflow(core, rows[running.uuid], "ann")
    delete_workflow(core, rows[held.uuid], "ann")
    assert (count(core, workflow), count(core, job)) == (1, 2)


def test_deleting_a_dag_keeps_its_workflows(core):
    """A deleted template leaves the workflows made of it."""
    load_text(core, SMALL)
    with core.db.read() as connection:
        row = connection.execute(sa.select(dag)).one()
    delete_dag(core, row, "ann", whole=True)
    assert (count(core, dag), count(core, workflow)) == (0, 1)


def test_run_times_are_remembered(core):
    """When a workflow ends, how long its jobs took is kept for the next one's ranks."""
    pilot = ScriptedPilot(core)
    for number in (1, 2):
        load_text(core, SMALL)
        for _ in range(2):
            pilot.succeed(pilot.claim()[0])
        with core.db.read() as connection:
            assert set(read_expected(connection, "ann")["small"]) == {"a", "b"}
            samples = connection.execute(sa.select(runtime.c.family, runtime.c.samples)).all()
        assert {row.family: len(row.samples) for row in samples} == {"a": number, "b": number}


def test_of_many_run_times_the_last_are_kept(core):
    """A family of many jobs, and many endings of one DAG, leave the newest samples."""
    wide = f'name: wide\njobs: {{a: {{run: "true", matrix: {{n: {list(range(40))}}}}}}}\n'
    old = {"owner": "ann", "dag": "wide", "family": "a", "samples": [7.0] * SAMPLES}
    core.db.write(lambda connection: connection.execute(sa.insert(runtime).values(old)))
    load_text(core, wide)
    pilot = ScriptedPilot(core, slots=40, cpus=40)
    for order in pilot.claim():
        pilot.succeed(order)
    with core.db.read() as connection:
        (samples,) = connection.scalars(sa.select(runtime.c.samples)).all()
    assert len(samples) == SAMPLES
    assert 7.0 not in samples


def test_replicas_and_others_mixed(core):
    """Jobs in one request, equal or not, each with its own description, are claimable at once with one event each."""
    specs = [{"run": "true"}, {"run": "true"}, {"run": "false", "env": {"X": "1"}}, {"run": "true", "name": "other"}]
    entries = [StandaloneJob(uuid=str(uuid.uuid4()), spec=StandaloneSpec.model_validate(spec)) for spec in specs]
    create_jobs(core, CreateJobsBody(jobs=entries), "ann")
    orders = {order.job: order for order in ScriptedPilot(core, slots=4).claim(4)}
    assert [orders[entry.uuid].run for entry in entries] == ["true", "true", "false", "true"]
    assert [orders[entry.uuid].env for entry in entries] == [{}, {}, {"X": "1"}, {}]
    with core.db.read() as connection:
        born = connection.execute(
            sa.select(event.c.noun, event.c.signal, event.c.after)
            .where(event.c.uuid == entries[0].uuid, event.c.signal != "claim")
            .order_by(event.c.id)
        ).all()
    assert [tuple(row) for row in born] == [("workflow", "start", "running"), ("job", "release", "defined")]


def test_only_running_workflows_with_held_jobs_are_unstarted(core):
    """An interrupted start is found among held workflows and those that have started."""
    held = load_text(core, SMALL, hold=True)
    load_text(core, SMALL)
    broken = load_text(core, SMALL, hold=True)
    with core.db.read() as connection:
        assert not find_unstarted(connection)
    change = sa.update(workflow).where(workflow.c.uuid == broken.uuid).values(state="running", started=1.0)
    core.db.write(lambda connection: connection.execute(change))
    with core.db.read() as connection:
        found = find_unstarted(connection)
        assert list(found) == [find_row(connection, "workflow", broken.uuid).id]
    while core.change("test", lambda ledger: start_some(ledger, found[0])):
        pass
    assert read_states(core, broken.uuid) == {"a": "defined", "b": "waiting"}
    assert set(read_states(core, held.uuid).values()) == {"held"}


def test_a_workflow_that_is_deleted_while_it_is_looked_at_is_not_found(core):
    """It may go between the look for its id and the look at its row."""
    with core.db.read() as connection, pytest.raises(NotFound, match="deleted a moment ago"):
        view_workflow(connection, 1)
