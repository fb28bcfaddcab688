"""Claims: the order of work, what a pilot may run, numbers that can be replayed, and races."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from p3s.engine.states import PilotStatus
from p3s.errors import NoToken
from p3s.server.db import Database
from p3s.server.models import job
from p3s.server.usecases.core import Core
from p3s.server.usecases.jobs import limit_jobtype
from p3s.server.usecases.sweep import sweep
from p3s.settings import Home, ServerSettings
from p3s.wire import Accepts, Claim, ExchangeReply
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import load_text, make_job


def test_priority_comes_first_then_age(core):
    """Higher priority goes first; among equals the older one."""
    low = make_job(core, priority=0)
    high = make_job(core, priority=5)
    later = make_job(core, priority=5, jobtype="other")
    assert [order.job for order in ScriptedPilot(core, slots=3).claim()] == [high, later, low]


def test_rank_orders_within_a_workflow(core):
    """Of the jobs of one workflow the one with the longest way to the end goes first."""
    text = """\
name: ranks
jobs:
  short: {run: "true"}
  long: {run: "true"}
  middle: {needs: [long], run: "true"}
  end: {needs: [middle], run: "true"}
"""
    load_text(core, text)
    assert [order.job_name for order in ScriptedPilot(core, slots=2).claim()] == ["long", "short"]


def test_earlier_due_workflow_goes_first(core):
    """A deadline makes a younger workflow go before an older one."""
    job = 'jobs:\n  only: {run: "true"}\n'
    load_text(core, "name: easy\n" + job)
    load_text(core, "name: urgent\ndeadline: 5s\n" + job)
    assert [order.workflow_name for order in ScriptedPilot(core, slots=2).claim()] == ["urgent", "easy"]


@pytest.mark.parametrize(
    ("wish", "pilot"),
    [
        ({"resources": {"labels": ["gpu"]}}, {"labels": ["gpu", "fast"]}),
        ({"resources": {"cpus": "16"}}, {"cpus": 16}),
        ({"resources": {"memory": "4GB"}}, {"memory": 8 * 10**9}),
        ({"jobtype": "special"}, {"accepts": Accepts(jobtypes=["special"])}),
        ({}, {"accepts": Accepts(users=["ann"])}),
    ],
)
def test_only_a_pilot_that_fits_gets_the_job(core, wish, pilot):
    """Labels, cpus, memory, jobtypes and users are matched."""
    ident = make_job(core, **wish)
    misfits = ScriptedPilot(core, cpus=2, memory=10**9, accepts=Accepts(users=["bob"], jobtypes=["none"]))
    assert misfits.claim() == []
    assert [order.job for order in ScriptedPilot(core, **pilot).claim()] == [ident]


def test_time_limit_must_fit_the_lifetime(core):
    """A pilot about to end gets no job that may take longer."""
    make_job(core, timelimit="10m")
    pilot = ScriptedPilot(core)
    assert pilot.claim(lifetime=60.0) == []
    assert len(pilot.claim(lifetime=3600.0)) == 1


def test_cpus_and_memory_bound_sums(core):
    """Jobs claimed together fit together; a small one goes where a large one has no room."""
    big = make_job(core, priority=2, resources={"cpus": "3"})
    make_job(core, priority=1, resources={"cpus": "3"})
    small = make_job(core, priority=0, resources={"cpus": "1"})
    pilot = ScriptedPilot(core, slots=4, cpus=4)
    assert [order.job for order in pilot.claim()] == [big, small]


def test_jobs_claimed_ahead_fit_by_themselves(core):
    """What comes ahead need not fit beside the others, but into the pilot; it counts in the cap of its jobtype."""
    limit_jobtype(core, "few", 2, "ann")
    wide = [make_job(core, priority=4, resources={"cpus": "3"}) for _ in range(2)]
    large = make_job(core, priority=3, resources={"cpus": "8"})
    few = [make_job(core, priority=2, jobtype="few") for _ in range(3)]
    last = make_job(core, priority=1, resources={"memory": "2GB"})
    pilot = ScriptedPilot(core, slots=2, cpus=4, memory=10**9)
    reply = pilot.call(claim=Claim(number=1, want=6, cpus=4, memory=10**9, ahead=4))
    claimed = [order.job for order in reply.jobs]
    assert claimed == [*wide, *few[:2]]
    assert not {large, few[2], last} & {*claimed}


def test_repeated_claim_answers_the_same(core):
    """The same claim number answers the same attempts with the same tokens, and takes no further jobs."""
    make_job(core)
    make_job(core)
    pilot = ScriptedPilot(core)
    (first,) = pilot.claim(ack=False)
    (again,) = pilot.repeat_claim()
    assert (again.attempt, again.token) == (first.attempt, first.token)
    assert len(ScriptedPilot(core, slots=5).claim()) == 1


def test_claim_of_nothing_brings_what_its_number_brought(core):
    """A pilot without room asks what a lost answer held: the same attempts, or nothing and nothing anew."""
    job, _ = make_job(core), make_job(core)
    pilot = ScriptedPilot(core)
    nothing = pilot.call(claim=Claim(number=1, want=0, cpus=1))
    assert (nothing.number, nothing.jobs) == (1, [])
    (first,) = pilot.claim(ack=False)
    assert first.job == job
    (again,) = pilot.call(claim=Claim(number=1, want=0, cpus=0)).jobs
    assert (again.attempt, again.token) == (first.attempt, first.token)
    reply = pilot.call(claim=Claim(number=2, want=0, cpus=8), ack=1, running=[first.attempt])
    assert (reply.number, reply.jobs) == (2, [])


def test_claim_numbers_do_not_go_back(core):
    """An older claim number is answered FAIL: two pilots share a uuid, or one lost its memory."""
    make_job(core)
    make_job(core)
    pilot = ScriptedPilot(core)
    pilot.number = 6
    pilot.claim()
    reply = pilot.call(claim=Claim(number=3, want=1, cpus=1))
    assert (reply.status, reply.jobs) == (PilotStatus.FAIL, [])


def test_unacknowledged_claim_comes_back(core):
    """A claim whose answer never arrived is claimable again without cost; acknowledged ones stay."""
    make_job(core)
    make_job(core)
    deaf, alive = ScriptedPilot(core), ScriptedPilot(core)
    (lost,) = deaf.claim(ack=False)
    (kept,) = alive.claim()
    core.settings = _with(core.settings, ack=-1.0)
    sweep(core, leases=False)
    assert alive.claim() == []
    sweep(core, leases=True)
    (again,) = alive.claim()
    assert (again.job, again.number) == (lost.job, 2)
    assert again.job != kept.job
    assert deaf.report(lost, "succeeded").verdict == "superseded"


def test_attempts_that_the_pilot_does_not_know_come_back(core):
    """A heartbeat that leaves out an attempt gives it back without cost."""
    make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.call(ack=pilot.acked, running=[order.attempt])
    assert pilot.claim() == []
    pilot.call(ack=pilot.acked, running=[])
    (again,) = pilot.claim()
    assert again.number == 2


def test_leaving_hands_all_back(core):
    """A pilot's last call puts back what it had, also an unacknowledged claim, and no budget is touched."""
    make_job(core)
    pilot = ScriptedPilot(core)
    pilot.claim(ack=False)
    pilot.call(state="leaving", reason="done")
    (again,) = ScriptedPilot(core).claim()
    assert again.number == 2


def test_foreign_secret_is_refused(core):
    """A pilot's calls need its own secret, and a new registration ends the old one."""
    pilot = ScriptedPilot(core)
    old = pilot.secret
    pilot.register()
    assert pilot.secret != old
    pilot.secret = old
    with pytest.raises(NoToken):
        pilot.call()


def test_racing_pilots_get_each_job_once(core):
    """Pilots that claim at the same moment share the jobs: none is given out twice, none is left."""
    jobs = {make_job(core) for _ in range(30)}
    pilots = [ScriptedPilot(core, slots=5) for _ in range(6)]
    got: list[str] = []

    def race(pilot):
        for _ in range(12):
            got.extend(order.job for order in pilot.claim(want=2))

    threads = [threading.Thread(target=race, args=(pilot,)) for pilot in pilots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == sorted(jobs)


@pytest.mark.postgres
def test_what_another_claim_has_locked_is_passed_over(postgres, tmp_path):
    """Whether one job is asked for or as many as there are: nobody waits, and nobody goes without."""
    address = postgres.copy()
    core = Core(Database(address), ServerSettings(database=address, home=Home(tmp_path)))
    first, second, third = make_job(core, priority=5), make_job(core), make_job(core)
    with core.db.engine.begin() as connection:
        connection.execute(sa.select(job.c.id).where(job.c.uuid == first).with_for_update())
        assert [order.job for order in ScriptedPilot(core, slots=1).claim()] == [second]
        assert [order.job for order in ScriptedPilot(core, slots=3).claim()] == [third]
        assert ScriptedPilot(core, slots=2).claim() == []
    assert [order.job for order in ScriptedPilot(core, slots=2).claim()] == [first]
    core.db.close()


def test_held_call_is_woken_by_a_new_job(core):
    """A call that waits is answered when a job that fits is created, and only then."""
    pilot = ScriptedPilot(core)
    answers: list[ExchangeReply] = []
    pilot.number += 1
    wish = Claim(number=pilot.number, want=1, cpus=4)
    held = threading.Thread(target=lambda: answers.append(pilot.call(claim=wish, wait=30.0)))
    held.start()
    make_job(core, resources={"labels": ["gpu"]})
    held.join(0.3)
    assert held.is_alive()
    ident = make_job(core)
    held.join(20)
    assert [order.job for order in answers[0].jobs] == [ident]


def test_stop_order_ends_a_held_call(core):
    """Kill and drain reach a pilot through the call that it holds; what it has heard does not end the next one."""
    from p3s.server.queries.find import find_row
    from p3s.server.usecases.acts import cancel_job

    # Rows of pilots and attempts are to have different numbers.
    other = ScriptedPilot(core)
    pilot = ScriptedPilot(core)
    ident = make_job(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    assert other.call().stop == []
    answers: list[ExchangeReply] = []
    held = threading.Thread(target=lambda: answers.append(pilot.call(wait=30.0)))
    held.start()
    with core.db.read() as connection:
        row = find_row(connection, "job", ident)
    cancel_job(core, row, "ann")
    held.join(20)
    assert [stop.attempt for stop in answers[0].stop] == [order.attempt]
    reply = pilot.call(wait=0.2, heard=[order.attempt])
    assert [stop.attempt for stop in reply.stop] == [order.attempt]
    assert pilot.report(order, "stopped").verdict == "accepted"


def _with(settings, **fields):
    from dataclasses import replace

    return replace(settings, **fields)
