"""Leases: silent pilots end by a guard on their own row, and the rest of what time alone brings about."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.errors import Conflict
from p3s.server.db import _PLANNED
from p3s.server.models import attempt, job, pilot, workflow
from p3s.server.usecases import sweep as sweeping
from p3s.server.usecases.acts import cancel_job
from p3s.server.usecases.holds import retry_job
from p3s.server.usecases.sweep import Sweeper, sweep
from tests.support.pilots import ScriptedPilot
from tests.support.servers import wait_until
from tests.support.workflows import DIAMOND, load_text, make_job, read_workflow_state


def age_pilot(core, uuid, seconds):
    """Make it look as if a pilot was last heard some seconds ago."""
    statement = sa.update(pilot).where(pilot.c.uuid == uuid).values(seen=read_clock() - seconds)
    core.db.write(lambda connection: connection.execute(statement))


def read_pilot(core, uuid):
    """Return a pilot's row."""
    with core.db.read() as connection:
        return connection.execute(sa.select(pilot).where(pilot.c.uuid == uuid)).one()


def test_silent_pilot_times_out_and_its_job_comes_back(core):
    """Past the lease the pilot is `timeout`, its attempt `lost`, and the job is given out again after a pause."""
    ident = make_job(core)
    silent = ScriptedPilot(core)
    silent.report(silent.claim()[0], "started")
    age_pilot(core, silent.uuid, 59)
    sweep(core, leases=True)
    assert read_pilot(core, silent.uuid).state == "running"
    age_pilot(core, silent.uuid, 61)
    sweep(core, leases=True)
    assert read_pilot(core, silent.uuid).state == "timeout"
    with core.db.read() as connection:
        row = connection.execute(sa.select(job).where(job.c.uuid == ident)).one()
    assert (row.state, row.reason, row.losses, row.failures) == ("waiting", "pilot-lost", 1, 0)


def test_no_lease_ends_while_the_server_itself_was_away(core):
    """Within one lease length of the server's own start no pilot is timed out."""
    quiet = ScriptedPilot(core)
    age_pilot(core, quiet.uuid, 3600)
    sweep(core, leases=False)
    assert read_pilot(core, quiet.uuid).state == "active"


def test_pilot_that_was_cut_off_goes_on(core):
    """A pilot that timed out and calls again is live again and gets jobs."""
    pilot_ = ScriptedPilot(core)
    age_pilot(core, pilot_.uuid, 3600)
    sweep(core, leases=True)
    make_job(core)
    assert len(pilot_.claim()) == 1
    assert read_pilot(core, pilot_.uuid).state == "running"


def test_interrupted_start_is_taken_up(core):
    """Jobs left `held` when the server died in the middle of a start are let go by the sweeper."""
    loaded = load_text(
        core, DIAMOND.replace("datasets:\n  raw: {path: /data/raw.csv}\n", "").replace("inputs: [raw], ", "")
    )
    statement = sa.update(job).where(job.c.name == "reduce").values(state="held", released=None)
    core.db.write(lambda connection: connection.execute(statement))
    assert ScriptedPilot(core).claim() == []
    sweep(core, leases=False)
    assert [order.workflow for order in ScriptedPilot(core).claim()] == [loaded.uuid]


def test_interrupted_cancel_is_taken_up(core):
    """A cancel that was cut short goes on at the next sweep."""
    loaded = load_text(core, 'name: c\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n')
    core.db.write(lambda connection: connection.execute(sa.update(workflow).values(cancelled_by="ann")))
    sweep(core, leases=False)
    assert read_workflow_state(core, loaded.uuid) == "cancelled"


@pytest.mark.parametrize("repeated", [False, True])
def test_abandoned_load_is_forgotten_or_done_anew(core, repeated):
    """A workflow whose load was cut short goes, and the repeated request loads it anew under the same uuid."""
    text = 'name: c\njobs:\n  a: {run: "true"}\n'
    loaded = load_text(core, text)
    values = {"state": "loading", "touched": read_clock() - 3600}
    core.db.write(lambda connection: connection.execute(sa.update(workflow).values(values)))
    if repeated:
        again = load_text(core, text, uuid=loaded.uuid)
        assert (again.uuid, again.created) == (loaded.uuid, True)
        assert len(ScriptedPilot(core, slots=3).claim()) == 1
    else:
        sweep(core, leases=False)
        with core.db.read() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(job)) == 0


def test_a_load_in_progress_is_left_alone(core):
    """Nobody cancels or retries a job while its workflow is being loaded, and a repeat is told to wait."""
    loaded = load_text(core, 'name: c\njobs:\n  a: {run: "true"}\n', hold=True)
    core.db.write(
        lambda connection: connection.execute(sa.update(workflow).values(state="loading", touched=read_clock()))
    )
    with core.db.read() as connection:
        row = connection.execute(sa.select(job)).one()
    for act in (cancel_job, retry_job):
        with pytest.raises(Conflict, match="being loaded"):
            act(core, row, "ann")
    with pytest.raises(Conflict, match="being loaded"):
        load_text(core, 'name: c\njobs:\n  a: {run: "true"}\n', uuid=loaded.uuid)


def test_the_thread_sweeps_and_stops(core):
    """The sweeper releases what is due by itself and ends when told to."""
    make_job(core, retry={"max": "1", "backoff": "1"})
    pilot_ = ScriptedPilot(core)
    pilot_.fail(pilot_.claim()[0])
    sweeper = Sweeper(core)
    sweeper.start()
    try:
        assert wait_until(pilot_.claim, 20, "the second try")
    finally:
        sweeper.stop()
        sweeper.join(10)
    assert not sweeper.is_alive()


def test_mute_pilot_does_not_keep_a_job_past_its_time_limit(core):
    """An attempt whose time limit is long over ends although its pilot is alive and says nothing of it."""
    ident = make_job(core, timelimit="10s")
    mute = ScriptedPilot(core)
    (order,) = mute.claim()
    mute.report(order, "started")
    sweep(core, leases=True)
    assert mute.call(running=[order.attempt], ack=mute.acked).stop == []
    core.db.write(lambda connection: connection.execute(sa.update(attempt).values(started=read_clock() - 71)))
    sweep(core, leases=True)
    with core.db.read() as connection:
        row = connection.execute(sa.select(job).where(job.c.uuid == ident)).one()
    assert (row.state, row.reason) == ("failed", "timelimit")
    assert mute.report(order, "succeeded").verdict == "superseded"


def test_overdue_workflow_goes_last(core):
    """When its deadline passes, a workflow's jobs go behind all others of their priority."""
    text = 'name: %s\ndeadline: 5s\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n'
    load_text(core, text % "overdue")
    core.db.write(lambda connection: connection.execute(sa.update(workflow).values(deadline=read_clock() - 1)))
    sweep(core, leases=False)
    load_text(core, text.replace("deadline: 5s\n", "") % "young")
    pilot_ = ScriptedPilot(core, slots=2)
    orders = pilot_.claim()
    assert [order.workflow_name for order in orders] == ["young", "overdue"]


def test_dropped_at_its_deadline(core):
    """With `on-deadline: drop` a workflow is cancelled when its deadline passes, with the cause."""
    loaded = load_text(core, 'name: d\ndeadline: 5s\non-deadline: drop\njobs:\n  a: {run: "true"}\n')
    sweep(core, leases=False)
    assert read_workflow_state(core, loaded.uuid) == "running"
    core.db.write(lambda connection: connection.execute(sa.update(workflow).values(deadline=read_clock() - 1)))
    sweep(core, leases=False)
    assert read_workflow_state(core, loaded.uuid) == "cancelled"
    with core.db.read() as connection:
        assert connection.scalar(sa.select(job.c.message)) == "cancelled by its deadline"


def test_nothing_due_is_one_transaction(core, monkeypatch):
    """An idle second costs one look; what is due is done, and what that brought about is looked for once more."""
    quiet = ScriptedPilot(core)
    quiet.claim()
    changes, change = [], core.change

    def count(cause, action):
        changes.append(cause)
        return change(cause, action)

    monkeypatch.setattr(core, "change", count)
    sweep(core, leases=True)
    assert changes == ["sweeper"]
    age_pilot(core, quiet.uuid, 3600)
    sweep(core, leases=False)
    assert changes == ["sweeper"] * 2
    sweep(core, leases=True)
    assert changes == ["sweeper"] * 5
    assert read_pilot(core, quiet.uuid).state == "timeout"


def test_what_is_due_is_found_by_indexes(core):
    """However many jobs wait and workflows run, a look goes through neither."""
    moments = dict.fromkeys(("now", "silent", "unacknowledged", "abandoned"), 0.0)
    with core.db.engine.connect() as connection:
        form = sweeping._DUE._find_form(connection)
        driver = connection.connection.dbapi_connection
        if core.db.is_sqlite:
            plan = [row[3] for row in driver.execute("EXPLAIN QUERY PLAN " + form.text, form.arrange(moments))]
            assert not [line for line in plan if line in {"SCAN job", "SCAN attempt", "SCAN workflow", "SCAN pilot"}]
            assert "SEARCH job USING INDEX ix_job_ready (state=? AND not_before<?)" in plan
            assert "SEARCH workflow USING INDEX ix_workflow_deadline (state=? AND deadline<?)" in plan
            assert "SEARCH workflow USING INDEX ix_workflow_late (state=?)" in plan
        else:
            driver.execute(_PLANNED)
            plan = [row[0].strip() for row in driver.execute("EXPLAIN (COSTS OFF) " + form.text, form.arrange(moments))]
            names = ("ix_job_ready", "ix_workflow_deadline", "ix_workflow_late", "ix_attempt_open", "ix_job_held")
            assert [name for name in names if not any(name in line for line in plan)] == []
            assert not [line for line in plan if line.endswith(("Seq Scan on job", "Seq Scan on workflow"))]
