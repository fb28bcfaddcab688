"""Purging: finished work moves into the archive and can still be looked at; what is needed stays."""

from __future__ import annotations

import importlib
from hashlib import sha256

import pytest
import sqlalchemy as sa

from p3s.engine.purging import PurgeKind
from p3s.engine.spec import StandaloneSpec
from p3s.errors import Archived, BadInput, NotFound
from p3s.server.models import (
    archive,
    archive_item,
    archive_part,
    attempt,
    blob,
    dataset,
    event,
    job,
    metadata,
    pilot,
    workflow,
)
from p3s.server.queries.archive import (
    explain_archived,
    list_archived_jobs,
    read_archived_log,
    show_archived,
    show_archived_dataset,
    show_archived_graph,
    show_archived_job,
)
from p3s.server.queries.datasets import show_dataset
from p3s.server.queries.events import explain_gone
from p3s.server.queries.find import find_anything, find_row
from p3s.server.queries.jobs import show_job
from p3s.server.queries.why import explain
from p3s.server.queries.workflows import list_edges, view_workflow
from p3s.server.transitions import archive as moving
from p3s.server.usecases.acts import cancel_workflow, store_blob
from p3s.server.usecases.datasets import register_dataset
from p3s.server.usecases.holds import retry_job
from p3s.server.usecases.purge import purge
from p3s.server.usecases.standalone import create_jobs
from p3s.server.usecases.sweep import add_events
from p3s.settings.server import read_policy
from p3s.wire import CreateJobsBody, ExternalMember, PurgeBody, RegisterDatasetBody, StandaloneJob
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, make_job, read_workflow_state

HERE = {"raw": [ExternalMember(place="/data/raw.csv", available=True)]}
WORK = ("workflows", "jobs")


def run_purge(core, *what, older=0.0, owner=None, dry_run=False, **fields):
    """Purge to the end and return the counts by kind, and what was left."""
    # The sweeper of a server does this each five seconds.
    add_events(core)
    body = PurgeBody(what=list(what or WORK), older=older, dry_run=dry_run, **fields)
    reply = purge(core, body, "root", owner=owner)
    assert not reply.more
    return {item.what: item.number for item in reply.items}, reply.left


def finish(core, text=DIAMOND, **fields):
    """Load a workflow, run it to its end and return its uuid."""
    loaded = load_text(core, text, externals=HERE if "raw" in text else {}, **fields)
    one = ScriptedPilot(core, slots=4)
    while orders := one.claim(4):
        for order in orders:
            one.succeed(order)
    assert read_workflow_state(core, loaded.uuid) == "finished"
    return loaded.uuid


def count(core, table):
    with core.db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table))


def find_it(core, noun, ident):
    """Return what says that a thing is in the archive."""
    with core.db.read() as connection, pytest.raises(Archived) as caught:
        find_row(connection, noun, ident)
    return caught.value


def test_archived_work_shows_what_it_showed_before(core):
    """The views of an archived workflow, its jobs and its graph are those of before, and it says where it is."""
    uuid = finish(core)
    with core.db.read() as connection:
        row = find_row(connection, "workflow", uuid)
        whole, edges = view_workflow(connection, row.id), list_edges(connection, row.id)
        before = show_job(connection, find_row(connection, "job", f"{uuid}/join").id, 0.0)
    assert run_purge(core, dry_run=True)[0] == {"workflows": 1, "jobs": 0}
    assert count(core, workflow) == 1
    assert run_purge(core)[0] == {"workflows": 1, "jobs": 0}
    assert {count(core, table) for table in (workflow, job, attempt)} == {0}
    it = find_it(core, "workflow", uuid[:8])
    with core.db.read() as connection:
        shown = show_archived(connection, it)
        assert shown.archived is not None
        assert shown.model_copy(update={"archived": None}) == whole
        page = list_archived_jobs(connection, it, filters={}, limit=3, cursor=None)
        rest = list_archived_jobs(connection, it, filters={}, limit=3, cursor=page.next)
        assert [entry.name for entry in (*page.items, *rest.items)] == ["join", "right", "left", "reduce"]
        assert rest.next is None
        graph = show_archived_graph(connection, it)
        assert sorted(str(edge.model_dump()) for edge in graph.edges) == sorted(map(str, edges))
        after = show_archived_job(connection, find_it(core, "job", f"{uuid[:8]}/join"))
        assert after.model_copy(update={"why": before.why}) == before
        assert after.why.startswith(f"{before.why} It is in the archive since ")
        assert explain_archived(connection, it)[1].startswith("It is finished: 4 finished. It is in the archive since")
        with pytest.raises(Archived):
            find_anything(connection, uuid)
        with pytest.raises(NotFound, match="nothing"):
            find_row(connection, "job", f"{uuid}/nothing")


def test_archived_data_and_attempts_are_known_by_their_ids(core):
    """A dataset and an attempt of archived work are found by id, and by WORKFLOW/NAME; it is told where they were."""
    uuid = finish(core)
    with core.db.read() as connection:
        known = {row.key: row for row in connection.execute(sa.select(dataset))}
        tries = connection.execute(sa.select(attempt)).all()
        before = show_dataset(connection, known["hits"].id)
        noun, live = find_anything(connection, tries[0].uuid)
        assert noun == "attempt"
        assert f"attempt 1 of job {uuid[:8]}/reduce, which is finished: it is succeeded" in explain(
            connection, noun, live, 0.0
        )
    run_purge(core)
    with core.db.read() as connection:
        for ident in (known["hits"].uuid, known["hits"].uuid[:8], f"{uuid}/hits"):
            it = find_it(core, "dataset", ident)
            assert (it.noun, it.uuid) == ("dataset", known["hits"].uuid)
        after = show_archived_dataset(connection, it)
        assert after.model_copy(update={"why": before.why}) == before
        state, said = explain_archived(connection, it)
        assert state == "available"
        assert said.startswith(f"It was available at {known['hits'].place}, made by job reduce of workflow")
        assert "It is in the archive since" in said
        for one in tries:
            state, said = explain_archived(connection, find_it(core, "attempt", one.uuid))
            assert (state, "It is attempt 1 of job" in said) == ("succeeded", True)
        with pytest.raises(NotFound, match="nothing"):
            find_row(connection, "dataset", f"{uuid}/nothing")
        # What comes from outside belongs to nobody, and stays.
        assert find_row(connection, "dataset", known["raw"].uuid).state == "available"
        assert explain_gone(connection, uuid) is None
    assert run_purge(core, "archive")[0] == {"archive": 1}
    with core.db.read() as connection:
        gone = explain_gone(connection, uuid[:13])
        assert gone is not None
        assert "It was purged from the archive on 20" in gone.sentence
        assert "(root), and was finished" in gone.sentence
        with pytest.raises(NotFound):
            find_anything(connection, known["hits"].uuid)


def test_an_older_archive_gets_its_ids(core):
    """What the migration writes down of the parts that are there is what a purge writes down."""
    finish(core)
    finish(core)
    run_purge(core)
    migration = importlib.import_module("p3s.server.migrations.versions.0022_archive_items")

    def renew(connection):
        connection.execute(sa.delete(archive_item))
        migration._fill(connection, archive_item)

    with core.db.read() as connection:
        before = sorted(map(tuple, connection.execute(sa.select(archive_item))))
    core.db.write(renew)
    with core.db.read() as connection:
        assert sorted(map(tuple, connection.execute(sa.select(archive_item)))) == before
    assert len(before) == 2 * (4 + 4)


def test_output_of_archived_attempts_can_be_read(core):
    """What a payload printed is kept with its attempt."""
    uuid = make_job(core)
    one = ScriptedPilot(core)
    (order,) = one.claim()
    one.report(order, "failed", reason="exit-code", exit_code=3, stdout=b"last words", stdout_size=10)
    assert run_purge(core, "jobs", state="failed")[0] == {"jobs": 1}
    it = find_it(core, "job", uuid)
    with core.db.read() as connection:
        assert read_archived_log(connection, it, number=None, stream="stdout", offset=5).text == "words"
        with pytest.raises(NotFound):
            read_archived_log(connection, it, number=2, stream="stdout", offset=0)
    assert find_it(core, "workflow", uuid).uuid == uuid


def test_archived_work_counts_as_submitted(core):
    """A repeated submission of an archived workflow or job, by uuid or by key, starts nothing anew."""
    uuid = finish(core, key="once")
    single = make_job(core)
    one = ScriptedPilot(core)
    one.succeed(*one.claim())
    assert run_purge(core)[0] == {"workflows": 1, "jobs": 1}
    for fields in ({"uuid": uuid}, {"key": "once"}):
        again = load_text(core, DIAMOND, externals=HERE, **fields)
        assert (again.uuid, again.created, again.state, again.datasets) == (uuid, False, "finished", 4)
    entry = StandaloneJob(uuid=single, spec=StandaloneSpec.model_validate({"run": "true"}))
    create_jobs(core, CreateJobsBody(jobs=[entry]), "ann")
    assert count(core, workflow) == 0


def test_what_has_not_come_to_rest_stays(core):
    """Running workflows, stopping payloads, and what nobody has added up yet are left, with a reason."""
    load_text(core, DIAMOND, externals=HERE)
    one = ScriptedPilot(core)
    (order,) = one.claim()
    one.report(order, "started")
    uuid = order.workflow
    assert run_purge(core) == ({"workflows": 0, "jobs": 0}, [])
    with core.db.read() as connection:
        row = find_row(connection, "workflow", uuid)
    cancel_workflow(core, row, "ann")
    assert run_purge(core) == (
        {"workflows": 0, "jobs": 0},
        ["1 workflows left: a payload of it has not yet stopped"],
    )
    one.report(order, "stopped")
    make_job(core)
    one.succeed(*one.claim())
    reply = purge(core, PurgeBody(what=["jobs"], older=0, dry_run=False), "root", owner=None)
    assert reply.left == ["1 jobs left: its last events have not been added up yet"]
    assert run_purge(core, older=3600.0)[0]["workflows"] == 0
    assert run_purge(core) == ({"workflows": 1, "jobs": 1}, [])


def test_interrupted_move_goes_on_and_changes_nothing_meanwhile(core, monkeypatch):
    """A workflow of which a part has moved answers from the archive, refuses changes, and moves on later."""
    monkeypatch.setattr(moving, "STEP", 2)
    text = "name: many\njobs:\n  each: {matrix: {i: [1, 2, 3, 4, 5]}, retry: 0, run: x}\n"
    loaded = load_text(core, text)
    one = ScriptedPilot(core)
    while orders := one.claim(5):
        for order in orders:
            one.fail(order)
    add_events(core)
    with core.db.read() as connection:
        row = find_row(connection, "workflow", loaded.uuid)
        last = connection.execute(sa.select(job).order_by(job.c.id)).first()
    assert core.change("test", lambda ledger: moving.move_some(ledger, row.id)) == (2, False)
    it = find_it(core, "workflow", loaded.uuid)
    with core.db.read() as connection:
        assert "2 of 5 jobs are there" in explain_archived(connection, it)[1]
    with pytest.raises(Exception, match="moved into the archive"):
        retry_job(core, last, "ann")
    assert run_purge(core)[0]["workflows"] == 1
    with core.db.read() as connection:
        names = [entry.name for entry in list_archived_jobs(connection, it, filters={}, limit=9, cursor=None).items]
        assert names == ["each-5", "each-4", "each-3", "each-2", "each-1"]
        assert connection.scalar(sa.select(sa.func.count()).select_from(archive_part)) == 3
    assert {count(core, table) for table in (workflow, job, dataset)} == {0}


def test_newest_source_of_other_dags_stays(core):
    """What the next reader of a DAG's data would be bound to is not archived as long as there is a reader."""
    text = "name: one\njobs:\n  a: {outputs: {page: page.txt}, run: x}\n"
    old, new = finish(core, text), finish(core, text)
    reads = "name: read\ndatasets: {page: {from: one/page}}\njobs:\n  b: {inputs: [page], run: x}\n"
    load_text(core, reads, hold=True)
    assert run_purge(core)[0]["workflows"] == 1
    assert read_workflow_state(core, new) == "finished"
    find_it(core, "workflow", old)


def age(core, table, column, seconds=10 * 86400.0):
    core.db.write(lambda connection: connection.execute(sa.update(table).values({column: table.c[column] - seconds})))


def test_each_kind_keeps_what_is_in_use(core):
    """Events of what lives, the newest event, pilots with attempts and contents that somebody has stay."""
    kept = make_job(core, hold=True)
    make_job(core)
    one = ScriptedPilot(core)
    one.succeed(*one.claim())
    core.db.write(lambda connection: connection.execute(sa.update(pilot).values(state="stopped")))
    data = b"left over"
    store_blob(core, sha256(data).hexdigest(), data, one.uuid)
    everything = ("pilots", "events", "blobs", "arrivals")
    core.change("test", lambda ledger: ledger.note("report", "run-control", "report"))
    core.change("test", lambda ledger: ledger.note("report", "run-control", "report"))
    assert run_purge(core, *everything)[0] == {"pilots": 0, "events": 2, "blobs": 0, "arrivals": 0}
    with core.db.read() as connection:
        newest = connection.scalar(sa.select(sa.func.max(event.c.id)))
        assert connection.scalar(sa.select(event.c.noun).where(event.c.id == newest)) == "report"
    age(core, blob, "created")
    assert run_purge(core, "jobs")[0] == {"jobs": 1}
    assert run_purge(core, "pilots", "blobs")[0] == {"pilots": 1, "blobs": 1}
    with core.db.read() as connection:
        assert connection.scalars(sa.select(event.c.signal).where(event.c.uuid == kept)).all() == ["loaded"]


def test_data_that_nobody_reads_is_forgotten_with_all_its_versions(core):
    """Data from outside goes when no job reads any version of it, and no workflow is being loaded; the rest stays."""

    def register(place, **fields):
        return register_dataset(core, RegisterDatasetBody(place=place, **fields), "ann")

    def left():
        with core.db.read() as connection:
            outside = sa.select(dataset.c.place).where(dataset.c.workflow_id.is_(None))
            return sorted(connection.scalars(outside))

    for size in (1, 2):
        register("/data/alone", size=size)
    loaded = load_text(core, DIAMOND, externals=HERE)
    register("/data/raw.csv", size=7)
    register("/data/raw.csv", size=8)
    read = left()
    assert run_purge(core, "datasets", older=3600.0)[0] == {"datasets": 0}
    assert run_purge(core, "datasets", state="deleted")[0] == {"datasets": 0}
    assert run_purge(core, "datasets", dry_run=True)[0] == {"datasets": 2}
    with core.db.read() as connection:
        row = find_row(connection, "workflow", loaded.uuid)
    state = sa.update(workflow).where(workflow.c.id == row.id)
    core.db.write(lambda connection: connection.execute(state.values(state="loading")))
    assert run_purge(core, "datasets")[0] == {"datasets": 0}
    core.db.write(lambda connection: connection.execute(state.values(state=row.state)))
    assert run_purge(core, "datasets")[0] == {"datasets": 2}
    assert left() == [place for place in read if place != "/data/alone"]
    cancel_workflow(core, row, "ann")
    assert run_purge(core, "datasets")[0] == {"datasets": 0}
    assert run_purge(core, "workflows", "datasets")[0] == {"workflows": 1, "datasets": 2}
    assert left() == []
    # It may come back, as if it had never been there.
    assert find_version(core, register("/data/alone")) == 1


def find_version(core, ident):
    with core.db.read() as connection:
        return connection.scalar(sa.select(dataset.c.version).where(dataset.c.id == ident))


def test_archive_is_purged_for_good_with_its_contents(core):
    """Results of archived work are kept as long as the archive has it; then nothing is left."""
    text = "name: one\nresults: [page]\njobs:\n  a: {outputs: {page: page.txt}, run: x}\n"
    load_text(core, text)
    one = ScriptedPilot(core)
    (order,) = one.claim()
    data = b"a page"
    digest = sha256(data).hexdigest()
    store_blob(core, digest, data, order.workflow)
    place = f"/data/{order.workflow}/a/{order.attempt}/page.txt"
    one.report(order, "succeeded", outputs=[{"name": "page", "path": place, "size": len(data), "digest": digest}])
    age(core, blob, "created")
    assert run_purge(core)[0]["workflows"] == 1
    assert run_purge(core, "blobs")[0] == {"blobs": 0}
    assert run_purge(core, "archive", owner="bob")[0] == {"archive": 0}
    assert run_purge(core, "archive")[0] == {"archive": 1}
    assert run_purge(core, "blobs")[0] == {"blobs": 1}
    left = {table.name for table in metadata.sorted_tables if table.name.startswith("archive") and count(core, table)}
    assert left == set()
    assert count(core, archive) == 0


def test_policy_names_every_problem():
    """A policy of the environment that cannot be one is refused with all that is wrong."""
    assert read_policy({"P3S_PURGE": "workflows=30d,jobs=1h"}) == {PurgeKind.WORKFLOWS: 2592000, PurgeKind.JOBS: 3600}
    assert read_policy({}) == {}
    with pytest.raises(BadInput) as caught:
        read_policy({"P3S_PURGE": "jobs=soon cats=3d jobs"})
    assert len(caught.value.problems) == 3
