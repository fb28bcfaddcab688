"""Adjusting and deleting jobs: only what may change changes, holds go through the one rule."""

from __future__ import annotations

import uuid

import pytest

from p3s.errors import BadInput, NotAllowed
from p3s.server.queries.find import find_row
from p3s.server.queries.why import explain_job
from p3s.server.usecases import holds
from p3s.server.usecases.acts import cancel_workflow
from p3s.server.usecases.jobs import adjust_jobs, delete_jobs
from p3s.server.usecases.sweep import sweep
from p3s.wire import AdjustBody
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import load_text, make_job, read_states, read_workflow_state

CHAIN = """\
name: chain
jobs:
  first: {outputs: {x: x.txt}, run: "true"}
  second: {inputs: [x], run: "true"}
"""


def find(core, ident, noun="job"):
    """Return the row of an id."""
    with core.db.read() as connection:
        return find_row(connection, noun, ident)


def adjust(core, *idents, by="ann", admin=False, **change):
    """Adjust jobs given by any id."""
    body = AdjustBody(jobs=[find(core, ident).uuid for ident in idents], **change)
    return adjust_jobs(core, body, by, admin=admin)


def test_priority_orders_anew(core):
    """A job with a higher priority is given out first, also when it was made last."""
    first, last = make_job(core), make_job(core)
    assert adjust(core, last, priority=7).done == [last]
    pilot = ScriptedPilot(core)
    assert [order.job for order in pilot.claim()] == [last]
    assert [order.job for order in pilot.claim()] == [first]


def test_timelimit_reaches_the_order_and_the_matching(core):
    """The next attempt has the new limit; what runs keeps its own, and what has ended stays."""
    ident = make_job(core, timelimit=10)
    adjust(core, ident, timelimit=77.0)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    assert order.timelimit == 77.0
    assert "was given out with" in adjust(core, ident, timelimit=5.0).left[ident]
    pilot.succeed(order)
    assert "finished already" in adjust(core, ident, priority=1).left[ident]
    assert find(core, ident).priority == 0


def test_a_held_job_waits_and_goes_on(core):
    """A hold keeps a ready job back and says so; letting it go releases it; twice is as once."""
    ident = make_job(core)
    for _ in range(2):
        adjust(core, ident, hold=True)
    pilot = ScriptedPilot(core)
    assert pilot.claim() == []
    with core.db.read() as connection:
        assert "Somebody holds it" in explain_job(connection, find_row(connection, "job", ident), 0.0)
    sweep(core, leases=False)
    assert pilot.claim() == []
    for _ in range(2):
        adjust(core, ident, hold=False)
    assert [order.job for order in pilot.claim()] == [ident]


def test_a_hold_counts_beside_the_parents(core):
    """A held job is released neither by its parent alone nor by letting it go too early."""
    loaded = load_text(core, CHAIN)
    second = f"{loaded.uuid}/second"
    adjust(core, second, hold=True)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.succeed(order)
    assert read_states(core, loaded.uuid)["second"] == "waiting"
    adjust(core, second, hold=False)
    assert [order.job_name for order in pilot.claim()] == ["second"]
    other = load_text(core, CHAIN)
    adjust(core, f"{other.uuid}/second", hold=True)
    adjust(core, f"{other.uuid}/second", hold=False)
    assert read_states(core, other.uuid) == {"first": "defined", "second": "waiting"}


def test_a_hold_outlives_pause_and_retry(core):
    """Pausing, resuming and retrying the workflow count anew, and the hold with it."""
    loaded = load_text(core, CHAIN)
    row = find(core, loaded.uuid, "workflow")
    adjust(core, f"{loaded.uuid}/first", hold=True)
    holds.pause_workflow(core, row, "ann")
    holds.resume_workflow(core, find(core, loaded.uuid, "workflow"), "ann")
    assert read_states(core, loaded.uuid) == {"first": "waiting", "second": "waiting"}
    cancel_workflow(core, find(core, loaded.uuid, "workflow"), "ann")
    holds.retry_workflow(core, find(core, loaded.uuid, "workflow"), "ann")
    pilot = ScriptedPilot(core)
    assert pilot.claim() == []
    adjust(core, f"{loaded.uuid}/first", hold=False)
    for name in ("first", "second"):
        (order,) = pilot.claim()
        assert order.job_name == name
        pilot.succeed(order)
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_a_running_job_cannot_be_held(core):
    """What a pilot has is not taken back by a hold."""
    ident = make_job(core)
    ScriptedPilot(core).claim()
    assert "`p3s job cancel`" in adjust(core, ident, hold=True).left[ident]


def test_others_jobs_and_unknown_ones_change_nothing(core):
    """One wrong id refuses the whole request and names each problem."""
    mine, theirs = make_job(core), make_job(core, owner="bob")
    unknown = str(uuid.uuid4())
    with pytest.raises(BadInput) as caught:
        adjust_jobs(core, AdjustBody(jobs=[mine, theirs, unknown], priority=5), "ann", admin=False)
    assert [problem.where for problem in caught.value.problems] == ["jobs[1]", "jobs[2]"]
    assert find(core, mine).priority == 0
    # Where nothing else is wrong, it is no bad input but not allowed.
    for change in (
        lambda jobs: adjust(core, *jobs, priority=5),
        lambda jobs: delete_jobs(core, jobs, "ann", admin=False),
    ):
        with pytest.raises(NotAllowed, match="belongs to bob"):
            change([mine, theirs])
    assert find(core, mine).priority == 0
    assert adjust(core, theirs, admin=True, priority=5).done == [theirs]


def test_delete_takes_what_has_ended_or_never_started(core):
    """A finished and a held job go; one that waits, and one of a workflow, stay with the reason."""
    ended, held, ready = make_job(core), make_job(core, hold=True), make_job(core, priority=-1)
    loaded = load_text(core, CHAIN, hold=True)
    part = find(core, f"{loaded.uuid}/first").uuid
    pilot = ScriptedPilot(core)
    pilot.succeed(pilot.claim()[0])
    reply = delete_jobs(core, [ended, held, ready, part], "ann", admin=False)
    assert reply.done == [ended, held]
    assert "`p3s job cancel`" in reply.left[ready]
    assert "`p3s workflow delete" in reply.left[part]
    with pytest.raises(BadInput, match="there is no job"):
        delete_jobs(core, [ended], "ann", admin=False)
