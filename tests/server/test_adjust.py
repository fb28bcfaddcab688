"""Adjusting and deleting jobs: only what may change changes, holds go through the one rule."""

from __future__ import annotations

import uuid

import pytest

from p3s.server.queries.find import find_row
from p3s.server.queries.why import explain_job
from p3s.server.usecases import holds
from p3s.server.usecases.acts import cancel_workflow
from p3s.server.usecases.jobs import adjust_jobs, cancel_jobs, delete_jobs, retry_jobs
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


@pytest.mark.parametrize("act", [cancel_jobs, retry_jobs, delete_jobs, adjust_jobs])
def test_others_jobs_and_unknown_ones_stay_with_the_reason(core, act):
    """One that is gone or somebody else's keeps none of the others from it; an admin may change them all."""
    mine, theirs = make_job(core, hold=True), make_job(core, owner="bob", hold=True)
    if act is retry_jobs:
        cancel_jobs(core, [mine, theirs], "root", admin=True)
    unknown = str(uuid.uuid4())
    given = [theirs, unknown, mine]
    body = AdjustBody(jobs=given, priority=5) if act is adjust_jobs else given
    reply = act(core, body, "ann", admin=False)
    assert reply.done == [mine]
    assert list(reply.left) == [theirs, unknown]
    assert "belongs to bob" in reply.left[theirs]
    assert "there is no job" in reply.left[unknown]
    body = AdjustBody(jobs=[theirs], priority=5) if act is adjust_jobs else [theirs]
    assert act(core, body, "root", admin=True).done == [theirs]


def test_cancel_of_many_ends_what_is_open(core):
    """What waits is cancelled, what runs is told to stop, what has ended stays; a repeat says the same."""
    done, runs, *waiting = (make_job(core) for _ in range(6))
    pilot = ScriptedPilot(core)
    pilot.succeed(pilot.claim()[0])
    pilot.claim()
    for _ in range(2):
        reply = cancel_jobs(core, [done, runs, *waiting], "ann", admin=False)
        assert reply.done == [runs, *waiting]
        assert reply.left == {done: "it is finished already; there is nothing to cancel"}
    assert reply.stopping == 0
    assert {find(core, ident).state for ident in reply.done} == {"cancelled"}
    again = retry_jobs(core, [runs, waiting[0]], "ann", admin=False)
    assert again.done == [waiting[0]]
    assert "has not yet stopped" in again.left[runs]


def test_retry_of_many_takes_the_skipped_ones_along(core):
    """Jobs of many workflows run again in one request, each with what was skipped below it; the rest says why not."""
    loaded = [load_text(core, CHAIN).uuid for _ in range(3)]
    firsts = [find(core, f"{one}/first").uuid for one in loaded]
    refused = load_text(core, 'name: refused\njobs: {a: {if: "false", run: "true"}, b: {run: "true"}}\n').uuid
    by_if, ready = (find(core, f"{refused}/{name}").uuid for name in "ab")
    alone = [make_job(core) for _ in range(60)]
    assert cancel_jobs(core, [*firsts, *alone], "ann", admin=False).left == {}
    assert read_states(core, loaded[0]) == {"first": "cancelled", "second": "skipped"}
    reply = retry_jobs(core, [*firsts, *alone, by_if, ready], "ann", admin=False)
    assert reply.done == [*firsts, *alone]
    assert reply.jobs == len(reply.done) + 3
    assert "its own `if`" in reply.left[by_if]
    assert "it is defined; only what failed" in reply.left[ready]
    for one in loaded:
        assert read_states(core, one) == {"first": "defined", "second": "waiting"}
        assert read_workflow_state(core, one) == "running"
    assert {find(core, ident).state for ident in alone} == {"defined"}


def test_one_that_may_not_keeps_no_other_from_its_retry(core):
    """Of two jobs that publish one name, one runs again; the other says who has the name, and others go on."""
    text = 'name: {}\njobs: {{a: {{outputs: {{x: x}}, publish: {{x: /data/one}}, run: "true"}}}}\n'
    jobs = []
    for name in ("one", "two"):
        loaded = load_text(core, text.format(name)).uuid
        jobs.append(find(core, f"{loaded}/a").uuid)
        cancel_jobs(core, jobs[-1:], "ann", admin=False)
    other = make_job(core)
    cancel_jobs(core, [other], "ann", admin=False)
    reply = retry_jobs(core, [*jobs, other], "ann", admin=False)
    assert reply.done == [jobs[0], other]
    assert "/data/one is published by workflow" in reply.left[jobs[1]]
    assert [find(core, ident).state for ident in (*jobs, other)] == ["defined", "cancelled", "defined"]


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
    assert "there is no job" in delete_jobs(core, [ended], "ann", admin=False).left[ended]
