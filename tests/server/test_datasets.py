"""External data: versions, who waits for it, what becomes of it when it is deleted, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput, Conflict
from p3s.server.models import dataset, workflow
from p3s.server.queries.datasets import show_dataset
from p3s.server.queries.find import find_row
from p3s.server.queries.why import explain
from p3s.server.transitions.pauses import resume_some
from p3s.server.usecases import acts, datasets, holds
from p3s.wire import AdjustDatasetBody, RegisterDatasetBody
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, make_job, read_states, read_workflow_state

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

RAW = "/data/raw.csv"
EXPECTED = {"raw": [{"place": RAW}]}
TOLERANT = """\
name: tolerant
datasets: {raw: {path: /data/raw.csv}}
jobs:
  first: {run: 'true'}
  any: {inputs: {raw: partial}, needs: [first], run: 'true'}
  strict: {inputs: [raw], needs: [first], run: 'true'}
"""
ONE, TWO = "adler32:00000001", "adler32:00000002"


def register(core: Core, place: str = RAW, **fields) -> int:
    return datasets.register_dataset(core, RegisterDatasetBody(place=place, **fields), "ann")


def find(core: Core, noun: str, ident):
    with core.db.read() as connection:
        if isinstance(ident, int):
            return connection.execute(sa.select(dataset).where(dataset.c.id == ident)).one()
        return find_row(connection, noun, ident)


def delete(core: Core, ident: int, *, force: bool = False, by: str = "ann"):
    return datasets.delete(core, find(core, "dataset", ident), by, force=force, admin=False)


def list_versions(core: Core) -> list[tuple[int, str, str]]:
    statement = sa.select(dataset.c.version, dataset.c.state, dataset.c.checksum).where(dataset.c.place == RAW)
    with core.db.read() as connection:
        return [tuple(row) for row in connection.execute(statement.order_by(dataset.c.version))]


def test_new_content_is_a_new_version_and_running_workflows_keep_theirs(core):
    """Equal content is the same dataset, however its place is written; other content is a version for new workflows."""
    first = register(core, checksum=ONE, size=5)
    assert register(core, "/data/../data//raw.csv", checksum=ONE, comment="again") == first
    assert register(core, "file:///data/raw.csv") == first
    running = load_text(core, DIAMOND, externals=EXPECTED).uuid
    second = register(core, checksum=TWO)
    assert second != first
    later = load_text(core, DIAMOND, externals=EXPECTED).uuid
    assert list_versions(core)[:2] == [(1, "available", ONE), (2, "available", TWO)]
    orders = {order.workflow: order.inputs[0] for order in ScriptedPilot(core, slots=2).claim()}
    assert (orders[running].checksum, orders[running].size) == (ONE, 5)
    assert orders[later].checksum == TWO


def test_a_load_that_sees_another_size_makes_a_new_version(core):
    """What the client saw at loading registers it: who waited is released, and new content is a new version."""
    waiting = load_text(core, DIAMOND, externals=EXPECTED).uuid
    assert read_states(core, waiting)["reduce"] == "waiting"
    load_text(core, DIAMOND, externals={"raw": [{"place": RAW, "available": True, "size": 5}]})
    assert read_states(core, waiting)["reduce"] == "defined"
    load_text(core, DIAMOND, externals={"raw": [{"place": RAW, "available": True, "size": 6}]})
    assert [row[:2] for row in list_versions(core)] == [(1, "available"), (2, "available")]


def test_registering_at_the_same_moment_makes_each_version_once(core):
    """Several at once with two contents: two versions, each of one content."""
    register(core, checksum="adler32:0000000f")
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: register(core, checksum=(ONE, TWO)[number % 2]), range(16)))
    versions = list_versions(core)
    assert [number for number, _, _ in versions] == list(range(1, len(versions) + 1))
    assert {find(core, "dataset", ident).checksum for ident in ids} == {ONE, TWO}


def test_what_jobs_need_is_not_deleted(core):
    """Deleting is refused while jobs need the data, and names one; then it goes, and registering brings it back."""
    ident = register(core, checksum=ONE)
    work = load_text(core, DIAMOND, externals=EXPECTED).uuid
    with pytest.raises(Conflict, match=r"job reduce of workflow .* needs it; `--force`"):
        delete(core, ident)
    pilot = ScriptedPilot(core, slots=4)
    (order,) = pilot.claim()
    for force in (False, True):
        with pytest.raises(Conflict, match="reads it; cancel that job first"):
            delete(core, ident, force=force)
    pilot.succeed(order)
    assert delete(core, ident).state == "deleted"
    assert read_states(core, work)["left"] == "defined"
    with core.db.read() as connection:
        assert "was deleted by ann" in explain(connection, "dataset", find(core, "dataset", ident), 0.0)
    assert register(core, checksum=ONE) == ident
    assert delete(core, ident).state == "deleted"
    assert register(core, checksum=TWO) != ident
    assert list_versions(core) == [(1, "deleted", ONE), (2, "available", TWO)]


@pytest.mark.parametrize("there", [True, False])
def test_by_force_it_fails_and_its_consumers_are_skipped(core, there):
    """By force it has failed: what needs it is skipped, the workflow failed; registering and a retry mend it."""
    externals = {"raw": [{"place": RAW, "available": there}]}
    work = load_text(core, DIAMOND, externals=externals).uuid
    (ident,) = [row.id for row in list_rows(core) if row.place == RAW]
    with pytest.raises(Conflict, match="only ann or an admin may skip that"):
        delete(core, ident, force=True, by="bob")
    reply = delete(core, ident, force=True)
    assert (reply.state, reply.skipped) == ("failed", 1)
    assert set(read_states(core, work).values()) == {"skipped"}
    assert read_workflow_state(core, work) == "failed"
    with core.db.read() as connection:
        job = find_row(connection, "job", f"{work}/reduce")
        assert (job.reason, explain(connection, "job", job, 0.0)) == (
            "missing-input",
            "It was skipped: dataset raw was deleted by ann.",
        )
    holds.retry_workflow(core, find(core, "workflow", work), "ann")
    assert read_workflow_state(core, work) == "failed"
    assert register(core) == ident
    holds.retry_workflow(core, find(core, "workflow", work), "ann")
    pilot = ScriptedPilot(core, slots=4)
    while orders := pilot.claim():
        for order in orders:
            pilot.succeed(order)
    assert read_workflow_state(core, work) == "finished"


def test_who_bears_with_gaps_goes_on(core):
    """A job that takes partial input counts data that failed as done, once, also if it is expected anew."""
    work = load_text(core, TOLERANT, externals=EXPECTED).uuid
    (ident,) = [row.id for row in list_rows(core)]
    pilot = ScriptedPilot(core, slots=4)
    (first,) = pilot.claim()
    assert delete(core, ident, force=True).skipped == 1
    load_text(core, DIAMOND, externals=EXPECTED)
    while core.change("sweep", lambda ledger: resume_some(ledger, [find(core, "workflow", work).id])):
        pass
    register(core)
    pilot.succeed(first)
    assert read_states(core, work) == {"first": "finished", "any": "defined", "strict": "skipped"}


def test_what_is_said_of_data_can_be_changed(core):
    """Comment and type change at any time, size and checksum where they are not known; nonsense is told at once."""
    ident = register(core, size=5)
    row = find(core, "dataset", ident)
    datasets.adjust_dataset(core, row, AdjustDatasetBody(comment="beam off", datatype="CSV", checksum=ONE), "ann")
    with core.db.read() as connection:
        shown = show_dataset(connection, ident)
    assert (shown.comment, shown.datatype, shown.checksum, shown.size) == ("beam off", "CSV", ONE, 5)
    for wrong in ({"size": 6}, {"checksum": TWO}):
        with pytest.raises(Conflict, match="as a new version"):
            datasets.adjust_dataset(core, row, AdjustDatasetBody(**wrong), "ann")
    with pytest.raises(BadInput) as caught:
        register(core, "data.csv", datatype="a b", checksum="md5:1")
    assert {problem.where for problem in caught.value.problems} == {"place", "datatype", "checksum"}


def test_what_a_job_made_can_be_deleted(core):
    """Accepted data that nobody needs goes; what is not made yet, and what others' jobs need, stays."""
    load_text(core, DIAMOND, externals={"raw": [{"place": RAW, "available": True}]})
    pilot = ScriptedPilot(core, slots=4)
    (order,) = pilot.claim()
    hits = next(row.id for row in list_rows(core) if row.key == "hits")
    whole = next(row.id for row in list_rows(core) if row.key == "whole")
    with pytest.raises(Conflict, match="not made yet"):
        delete(core, whole)
    pilot.succeed(order)
    with pytest.raises(Conflict, match="and 1 more needs it"):
        delete(core, hits)
    while orders := pilot.claim():
        for order in orders:
            pilot.succeed(order)
    assert delete(core, hits).state == "deleted"
    assert delete(core, hits).state == "deleted"


def list_rows(core: Core):
    with core.db.read() as connection:
        return connection.execute(sa.select(dataset).order_by(dataset.c.id)).all()


def test_a_workflow_goes_with_its_finished_data(core):
    """A workflow that has ended can be deleted with its external data staying."""
    ident = register(core)
    work = load_text(core, DIAMOND, externals=EXPECTED).uuid
    acts.cancel_workflow(core, find(core, "workflow", work), "ann")
    acts.delete_workflow(core, find(core, "workflow", work), "ann")
    assert find(core, "dataset", ident).state == "available"
    assert delete(core, ident).state == "deleted"


JOB: dict[str, Any] = {"outputs": ["y"], "publish": {"y": "/pub/y.txt"}}
PUBLISHER = "name: %s\njobs: {a: {outputs: [y], run: x, publish: {y: /pub/y.txt}}}\n"


def test_two_live_workflows_do_not_publish_one_name(core):
    """The second is refused, named the first, and leaves nothing behind; what has ended gives its names up."""
    first = load_text(core, PUBLISHER % "first").uuid
    for attempt in (lambda: load_text(core, PUBLISHER % "second"), lambda: make_job(core, **JOB)):
        with pytest.raises(Conflict, match=rf"published by workflow {first[:8]} \(first\), which is running"):
            attempt()
    with core.db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(workflow)) == 1
    acts.cancel_workflow(core, find(core, "workflow", first), "ann")
    second = load_text(core, PUBLISHER % "second").uuid
    with pytest.raises(Conflict, match=rf"published by workflow {second[:8]}"):
        holds.retry_workflow(core, find(core, "workflow", first), "ann")
    assert read_workflow_state(core, first) == "cancelled"
    acts.cancel_workflow(core, find(core, "workflow", second), "ann")
    holds.retry_workflow(core, find(core, "workflow", first), "ann")
    assert read_workflow_state(core, first) == "running"


def test_a_retry_in_batches_takes_all_names_or_none(core, monkeypatch):
    """Where a live workflow has the name of a job of a later batch, nothing is retried."""
    monkeypatch.setattr("p3s.server.transitions.pauses.STEP", 2)
    job = "  a%d: {outputs: [y%d], run: x, publish: {y%d: /pub/y%d.txt}}\n"
    text = "name: first\njobs:\n" + "".join(job % ((number,) * 4) for number in range(5))
    first = load_text(core, text).uuid
    acts.cancel_workflow(core, find(core, "workflow", first), "ann")
    second = load_text(core, "name: second\njobs:\n" + job % ((4,) * 4)).uuid
    with pytest.raises(Conflict, match=rf"published by workflow {second[:8]}"):
        holds.retry_workflow(core, find(core, "workflow", first), "ann")
    assert set(read_states(core, first).values()) == {"cancelled"}
    assert read_workflow_state(core, first) == "cancelled"
    acts.cancel_workflow(core, find(core, "workflow", second), "ann")
    holds.retry_workflow(core, find(core, "workflow", first), "ann")
    assert set(read_states(core, first).values()) == {"defined"}


def test_loaded_at_the_same_moment_one_publishes(core):
    """Of several loads and jobs at once that publish one name, exactly one is taken."""

    def attempt(number: int) -> bool:
        try:
            make_job(core, **JOB) if number % 2 else load_text(core, PUBLISHER % f"w{number}")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
