"""Pause, resume and retry: nothing runs that is held back, nothing finished runs again, nothing is stuck."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.errors import Conflict
from p3s.server.models import job
from p3s.server.queries.find import find_row
from p3s.server.usecases import holds
from p3s.server.usecases.acts import cancel_job, cancel_workflow
from p3s.server.usecases.sweep import sweep
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import find, load_text, make_job, read_states, read_workflow_state

FORK = """\
name: fork
jobs:
  first: {outputs: {x: x.txt}, run: "true"}
  good: {inputs: [x], outputs: {g: g.txt}, run: "true"}
  bad: {inputs: [x], outputs: {b: b.txt}, run: "true"}
  join: {inputs: [g, b], run: "true"}
"""


def run_all(pilot, failing=()):
    """Run all that can be claimed; the named jobs fail. Return the names that ran."""
    ran = []
    while orders := pilot.claim():
        for order in orders:
            ran.append(order.job_name)
            (pilot.fail if order.job_name in failing else pilot.succeed)(order)
    return ran


def test_retry_reruns_only_what_did_not_finish(core):
    """A retried workflow keeps what finished and runs the rest to the end."""
    loaded = load_text(core, FORK)
    pilot = ScriptedPilot(core, slots=4)
    assert sorted(run_all(pilot, failing={"bad"})) == ["bad", "first", "good"]
    assert read_workflow_state(core, loaded.uuid) == "failed"
    reply = holds.retry_workflow(core, find(core, "workflow", loaded.uuid), "ann")
    assert (reply.jobs, reply.kept, reply.state) == (2, 2, "running")
    assert read_states(core, loaded.uuid) == {
        "first": "finished",
        "good": "finished",
        "bad": "defined",
        "join": "waiting",
    }
    assert run_all(pilot) == ["bad", "join"]
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_retry_gives_new_budgets(core):
    """After a retry a job may fail again as often as `retry` says."""
    ident = make_job(core, retry=1)
    pilot = ScriptedPilot(core)
    assert len(run_all(pilot, failing={"job"} | {find(core, "job", ident).name})) == 2
    holds.retry_job(core, find(core, "job", ident), "ann")
    assert len(run_all(pilot, failing={find(core, "job", ident).name})) == 2
    assert find(core, "job", ident).attempt == 4


def test_retry_of_a_cancelled_workflow_runs_it(core):
    """What was cancelled can be run again, once its payloads have stopped."""
    loaded = load_text(core, FORK)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    row = find(core, "workflow", loaded.uuid)
    cancel_workflow(core, row, "ann")
    assert holds.retry_workflow(core, row, "ann").jobs == 3
    # The stopping payload's job stays cancelled, so what depends on it is skipped again.
    assert read_states(core, loaded.uuid)["join"] == "skipped"
    pilot.report(order, "stopped")
    assert holds.retry_workflow(core, row, "ann").jobs == 4
    assert len(run_all(pilot)) == 4
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_job_retry_takes_along_what_was_skipped_below(core):
    """Retrying one job runs it and the skipped jobs that depend on it, nothing else."""
    loaded = load_text(core, FORK.replace("  join:", "  other: {run: 'true'}\n  join:"))
    pilot = ScriptedPilot(core, slots=9)
    run_all(pilot, failing={"bad", "other"})
    bad = find(core, "job", f"{loaded.uuid}/bad")
    assert holds.retry_job(core, bad, "ann").jobs == 2
    assert run_all(pilot) == ["bad", "join"]
    assert read_states(core, loaded.uuid)["other"] == "failed"
    assert read_workflow_state(core, loaded.uuid) == "failed"


def test_finished_jobs_are_not_retried(core):
    """There is nothing to retry in what finished."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    run_all(pilot)
    with pytest.raises(Conflict, match="only what failed"):
        holds.retry_job(core, find(core, "job", ident), "ann")
    assert holds.retry_workflow(core, find(core, "workflow", ident), "ann").jobs == 0


def test_what_an_if_refused_is_not_retried(core):
    """A retry does not override an `if`."""
    loaded = load_text(core, "name: i\njobs:\n  no: {if: 'false', run: x}\n  yes: {run: x}\n")
    run_all(ScriptedPilot(core), failing={"yes"})
    assert holds.retry_workflow(core, find(core, "workflow", loaded.uuid), "ann").jobs == 1
    assert read_states(core, loaded.uuid)["no"] == "skipped"


def test_paused_workflow_gives_out_nothing(core):
    """A pause holds back what is not dispatched, also successors and further tries; a resume lets all go."""
    loaded = load_text(core, FORK)
    pilot = ScriptedPilot(core, slots=4)
    (order,) = pilot.claim()
    row = find(core, "workflow", loaded.uuid)
    holds.pause_workflow(core, row, "ann")
    assert pilot.succeed(order).verdict == "accepted"
    assert pilot.claim() == []
    sweep(core, leases=False)
    assert pilot.claim() == []
    assert read_workflow_state(core, loaded.uuid) == "paused"
    with core.db.read() as connection:
        from p3s.server.queries.why import explain_job

        good = find_row(connection, "job", f"{loaded.uuid}/good")
        assert "paused by ann" in explain_job(connection, good, 0.0)
    holds.resume_workflow(core, find(core, "workflow", loaded.uuid), "ann")
    assert sorted(run_all(pilot)) == ["bad", "good", "join"]
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_pause_takes_back_what_nobody_claimed(core):
    """Claimable jobs of a paused workflow wait until it is resumed."""
    loaded = load_text(core, FORK)
    row = find(core, "workflow", loaded.uuid)
    holds.pause_workflow(core, row, "ann")
    holds.pause_workflow(core, find(core, "workflow", loaded.uuid), "ann")
    assert read_states(core, loaded.uuid)["first"] == "waiting"
    assert ScriptedPilot(core).claim() == []
    holds.resume_workflow(core, find(core, "workflow", loaded.uuid), "ann")
    assert len(ScriptedPilot(core).claim()) == 1


def test_what_comes_back_during_a_pause_is_held_back(core):
    """A job handed back while its workflow is paused is not given out before the resume."""
    loaded = load_text(core, FORK)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    holds.pause_workflow(core, find(core, "workflow", loaded.uuid), "ann")
    pilot.report(order, "handed-back", reason="handed-back")
    assert pilot.claim() == []
    holds.resume_workflow(core, find(core, "workflow", loaded.uuid), "ann")
    assert [again.number for again in pilot.claim()] == [2]


def test_only_running_workflows_are_paused(core):
    """A final or held workflow is neither paused nor resumed."""
    loaded = load_text(core, FORK, hold=True)
    for act in (holds.pause_workflow, holds.resume_workflow, holds.retry_workflow):
        with pytest.raises(Conflict, match="held"):
            act(core, find(core, "workflow", loaded.uuid), "ann")


def test_interrupted_resume_is_taken_up(core):
    """Jobs left paused in a running workflow, as a dying server leaves them, are let go by the sweeper."""
    load_text(core, FORK)
    values = {"paused": True, "state": "waiting", "released": None}
    core.db.write(lambda connection: connection.execute(sa.update(job).where(job.c.name == "first").values(values)))
    pilot = ScriptedPilot(core)
    assert pilot.claim() == []
    sweep(core, leases=False)
    assert len(pilot.claim()) == 1


def test_a_parent_borne_with_may_be_retried(core):
    """A child that ran without a failed parent is not held up when that parent is retried."""
    text = "name: b\njobs:\n  p: {outputs: {x: x.txt}, run: x}\n  c: {inputs: {x: partial}, retry: 3, run: x}\n"
    loaded = load_text(core, text)
    pilot = ScriptedPilot(core)
    pilot.fail(pilot.claim()[0])
    (child,) = pilot.claim()
    holds.retry_job(core, find(core, "job", f"{loaded.uuid}/p"), "ann")
    pilot.fail(child)
    assert sorted(run_all(pilot)) == ["c", "p"]
    assert read_workflow_state(core, loaded.uuid) == "finished"


def test_a_retried_parent_is_waited_for_again(core):
    """A child that bears with any end, and that nobody runs yet, waits again for a parent that is retried."""
    text = """\
name: again
jobs:
  report: {run: x}
  slow: {run: x}
  cleanup: {needs: {report: done, slow: done}, run: x}
  alone: {needs: {report: done}, run: x}
"""
    loaded = load_text(core, text)
    pilot = ScriptedPilot(core, slots=2)
    orders = {order.job_name: order for order in pilot.claim()}
    pilot.fail(orders["report"])
    assert read_states(core, loaded.uuid)["alone"] == "defined"
    holds.retry_job(core, find(core, "job", f"{loaded.uuid}/report"), "ann")
    assert read_states(core, loaded.uuid)["alone"] == "waiting"
    (again,) = pilot.claim()
    assert again.job_name == "report"
    pilot.succeed(again)
    assert [order.job_name for order in pilot.claim()] == ["alone"]
    pilot.succeed(orders["slow"])
    assert [order.job_name for order in pilot.claim()] == ["cleanup"]


@pytest.mark.parametrize("hold", [True, False])
def test_a_workflow_all_of_whose_jobs_were_cancelled_is_cancelled(core, hold):
    """Cancelling the last open job of a workflow ends it as `cancelled`, started or not."""
    ident = make_job(core, hold=hold)
    cancel_job(core, find(core, "job", ident), "ann")
    assert read_workflow_state(core, ident) == "cancelled"


def test_large_retry_goes_in_batches(core):
    """More jobs than one transaction may touch are all retried."""
    members = ", ".join(str(number) for number in range(1300))
    loaded = load_text(
        core, f"name: l\njobs:\n  first: {{run: x}}\n  many: {{matrix: {{n: [{members}]}}, needs: [first], run: x}}\n"
    )
    pilot = ScriptedPilot(core)
    pilot.fail(pilot.claim()[0])
    assert holds.retry_workflow(core, find(core, "workflow", loaded.uuid), "ann").jobs == 1301
    pilot.succeed(pilot.claim()[0])
    assert list(read_states(core, loaded.uuid).values()).count("defined") == 1300


def test_paused_server_gives_out_nothing(core):
    """A paused server answers claims with nothing, and says so; resumed, it gives out what waits."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    holds.pause_server(core, "ann")
    assert pilot.claim() == []
    with core.db.read() as connection:
        from p3s.server.queries.why import explain_job

        assert "paused by ann" in explain_job(connection, find_row(connection, "job", ident), 0.0)
    holds.resume_server(core, "ann")
    assert len(pilot.claim()) == 1


def test_cancelled_job_is_retried(core):
    """A single cancelled job runs again when asked."""
    ident = make_job(core)
    cancel_job(core, find(core, "job", ident), "ann")
    assert holds.retry_job(core, find(core, "job", ident), "ann").jobs == 1
    assert len(run_all(ScriptedPilot(core))) == 1
