"""The one rule in the database: released only when every predecessor is done, released in the end."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.server.models import event, job, workflow
from p3s.server.transitions.edges import AHEAD
from p3s.server.usecases.acts import cancel_workflow
from p3s.server.usecases.datasets import register_dataset
from p3s.wire import Claim, ExternalMember, RegisterDatasetBody
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, read_states, read_workflow_state

THERE = {"raw": [ExternalMember(place="/data/raw.csv", available=True, size=3)]}
AWAY = {"raw": [ExternalMember(place="/data/raw.csv", available=False)]}


def test_diamond_joins_after_both_parents(core):
    """A job with two parents is released by the last of them."""
    loaded = load_text(core, DIAMOND, externals=THERE)
    pilot = ScriptedPilot(core, slots=4)
    (reduce,) = pilot.claim()
    assert reduce.job_name == "reduce"
    pilot.succeed(reduce)
    first, second = pilot.claim()
    assert {first.job_name, second.job_name} == {"left", "right"}
    pilot.succeed(first)
    assert pilot.claim() == []
    assert read_states(core, loaded.uuid)["join"] == "waiting"
    pilot.succeed(second)
    (join,) = pilot.claim()
    assert {entry.key for entry in join.inputs} == {"a", "b"}
    assert all(entry.place.startswith("/data/") for entry in join.inputs)
    assert pilot.succeed(join).verdict == "accepted"
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_missing_file_is_waited_for_until_registered(core):
    """A consumer of an external that is not there waits until somebody registers it."""
    loaded = load_text(core, DIAMOND, externals=AWAY)
    pilot = ScriptedPilot(core)
    assert pilot.claim() == []
    register_dataset(core, RegisterDatasetBody(place="/data/raw.csv", size=7), "ann")
    (order,) = pilot.claim()
    assert (order.inputs[0].place, order.inputs[0].size) == ("/data/raw.csv", 7)
    assert read_states(core, loaded.uuid)["reduce"] == "dispatched"


def test_registering_twice_releases_once(core):
    """The same place registered again answers the same dataset and changes nothing."""
    load_text(core, DIAMOND, externals=AWAY)
    body = RegisterDatasetBody(place="/data/raw.csv")
    assert register_dataset(core, body, "ann") == register_dataset(core, body, "ann")
    assert len(ScriptedPilot(core, slots=4).claim()) == 1


def test_failure_skips_what_depends_and_nothing_else(core):
    """Below a failed job all are skipped with the reason; the rest of the workflow goes on."""
    loaded = load_text(core, DIAMOND, externals=THERE)
    pilot = ScriptedPilot(core, slots=4)
    pilot.succeed(pilot.claim()[0])
    orders = {order.job_name: order for order in pilot.claim()}
    pilot.fail(orders["left"])
    states = read_states(core, loaded.uuid)
    assert (states["left"], states["join"], states["right"]) == ("failed", "skipped", "dispatched")
    assert read_workflow_state(core, loaded.uuid) == "running"
    pilot.succeed(orders["right"])
    assert read_workflow_state(core, loaded.uuid) == "failed"


PARTIAL = """\
name: planes
jobs:
  track: {matrix: {plane: [u, v, w]}, outputs: {trk: "trk-${{ matrix.plane }}.csv"}, run: "true"}
  report: {inputs: {trk: partial}, outputs: {sheet: sheet.txt}, run: "true"}
  after: {needs: {track: done}, run: "true"}
"""


def test_partial_input_runs_with_what_came(core):
    """A consumer of partial input starts when all members are final and is told which are missing."""
    loaded = load_text(core, PARTIAL)
    pilot = ScriptedPilot(core, slots=9)
    orders = {order.job_name: order for order in pilot.claim()}
    pilot.succeed(orders["track-u"])
    pilot.fail(orders["track-v"])
    assert pilot.claim() == []
    pilot.succeed(orders["track-w"])
    later = {order.job_name: order for order in pilot.claim()}
    assert set(later) == {"report", "after"}
    assert [entry.key for entry in later["report"].inputs] == ["trk-u", "trk-w"]
    assert later["report"].missing == ["trk-v"]
    assert later["report"].collections == ["trk"]
    for order in later.values():
        pilot.succeed(order)
    assert read_workflow_state(core, loaded.uuid) == "finished"


WIDE = """\
name: wide
jobs:
  first: {run: "true"}
  many: {matrix: {n: [%s]}, needs: [first], run: "true"}
  gate: {needs: {many: done}}
  last: {needs: [gate], run: "true"}
"""


@pytest.mark.parametrize("good", [True, False])
def test_wide_fan_out_is_released_in_batches(core, good):
    """More successors than one transaction may touch are all released, or all skipped, in the end."""
    text = WIDE % ", ".join(str(number) for number in range(1200))
    loaded = load_text(core, text)
    pilot = ScriptedPilot(core, slots=2000, cpus=2000)
    (first,) = pilot.claim()
    if not good:
        pilot.fail(first)
        states = read_states(core, loaded.uuid)
        assert list(states.values()).count("skipped") == 1200
        assert (states["gate"], states["last"]) == ("finished", "defined")
        return
    pilot.succeed(first)
    orders = pilot.claim()
    assert len(orders) == 1200
    reports = [pilot.make_report(order, "succeeded") for order in orders]
    for start in range(0, len(reports), 400):
        pilot.call(reports=reports[start : start + 400])
    (last,) = pilot.claim()
    assert last.job_name == "last"


def test_if_skips_at_start_and_below(core):
    """A job whose `if` says no is skipped with the reason `if`, and its consumers with `upstream`."""
    text = """\
name: choice
params: {mode: {default: fast}}
jobs:
  slow: {if: "params.mode == 'slow'", outputs: {x: x.txt}, run: "true"}
  user: {inputs: [x], run: "true"}
  other: {run: "true"}
"""
    loaded = load_text(core, text)
    states = read_states(core, loaded.uuid)
    assert states == {"slow": "skipped", "user": "skipped", "other": "defined"}


def test_cancel_ends_everything(core):
    """Cancelling ends all open jobs at once; the running attempt is told to stop and then confirmed."""
    loaded = load_text(core, DIAMOND, externals=THERE)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    row = _find(core, loaded.uuid)
    done = cancel_workflow(core, row, "ann")
    assert (done.jobs, done.stopping, done.state) == (4, 1, "cancelled")
    assert [stop.attempt for stop in pilot.call().stop] == [order.attempt]
    late = pilot.report(order, "succeeded", exit_code=0)
    assert late.verdict == "superseded"
    assert pilot.call().stop == []
    assert set(read_states(core, loaded.uuid).values()) == {"cancelled"}


def _find(core, ident):
    from p3s.server.queries.find import find_row

    with core.db.read() as connection:
        return find_row(connection, "workflow", ident)


FAN = """\
name: fan
jobs:
  first: {run: "true"}
  each: {matrix: {i: [%s]}, needs: [first], run: "true"}
  sync: {needs: [first]}
  beyond: {needs: [sync], run: "true"}
"""


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_successors_are_told_once_however_many_there_are(core, more):
    """Edges are looked for before a report is taken; whether that finds all of them or not, each is crossed once."""
    number = AHEAD - 1 + more
    loaded = load_text(core, FAN % ", ".join(map(str, range(number))))
    pilot = ScriptedPilot(core, slots=200, cpus=200)
    (first,) = pilot.claim()
    reply = pilot.call(
        reports=[pilot.make_report(first, "succeeded", exit_code=0)],
        claim=Claim(number=pilot.number + 1, want=200, cpus=200),
        ack=pilot.acked,
    )
    assert len(reply.jobs) == number + 1
    states = read_states(core, loaded.uuid)
    assert states.pop("first") == states.pop("sync") == "finished"
    assert set(states.values()) == {"dispatched"}
    with core.db.read() as connection:
        found = connection.execute(sa.select(event.c.uuid).where(event.c.noun == "job", event.c.signal == "release"))
        told = [row.uuid for row in found]
    # The first one was released when the workflow started, and a sync point has no pilot to wait for.
    assert len(told) == len(set(told)) == number + 2


def test_paused_and_late_successors_are_not_released(core):
    """The last predecessor releases no job that is paused, or that has to wait for its time."""
    loaded = load_text(core, 'name: three\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n')
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    core.db.write(lambda connection: connection.execute(sa.update(job).where(job.c.name == "b").values(paused=True)))
    pilot.succeed(order)
    assert read_states(core, loaded.uuid)["b"] == "waiting"
    late = load_text(core, 'name: later\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n')
    (order,) = pilot.claim()
    mine = sa.select(workflow.c.id).where(workflow.c.uuid == late.uuid).scalar_subquery()
    later = sa.update(job).where(job.c.workflow_id == mine, job.c.name == "b").values(not_before=read_clock() + 60)
    core.db.write(lambda connection: connection.execute(later))
    pilot.succeed(order)
    assert read_states(core, late.uuid)["b"] == "waiting"
    assert pilot.claim() == []
