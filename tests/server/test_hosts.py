"""Hosts that burn jobs are banned with the reason shown, jobs that burn everywhere ban nobody."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.errors import NotFound
from p3s.server.models import job, pilot
from p3s.server.queries.find import find_anything
from p3s.server.queries.pilots import list_hosts
from p3s.server.queries.why import explain
from p3s.server.usecases.acts import ban_host
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import make_job


def start_pilot(core, host):
    """Return a pilot on a named host."""
    made = ScriptedPilot(core)
    core.db.write(
        lambda connection: connection.execute(sa.update(pilot).where(pilot.c.uuid == made.uuid).values(host=host))
    )
    return made


def burn(core, made, times):
    """Have a pilot fail to start that many different jobs."""
    for _ in range(times):
        ident = make_job(core, priority=9)
        (order,) = made.claim()
        assert order.job == ident
        made.report(order, "failed", reason="nonstarter", message="no such file")
        core.db.write(
            lambda connection: connection.execute(
                sa.update(job).where(job.c.state == "waiting").values(not_before=1e12)
            )
        )


def read_hosts(core):
    """Return the hosts by name."""
    with core.db.read() as connection:
        return {view.name: view for view in list_hosts(connection).items}


def ask_why(core, thing):
    """Return the sentence about a thing."""
    with core.db.read() as connection:
        noun, row = find_anything(connection, thing)
        return explain(connection, noun, row, read_clock())


def test_black_hole_is_banned_while_others_run(core):
    """A host where job after job cannot be run, while another host runs them, gets no more."""
    bad, good = start_pilot(core, "bad.example"), start_pilot(core, "good.example")
    burn(core, bad, 2)
    make_job(core)
    good.succeed(good.claim()[0])
    burn(core, bad, 3)
    assert read_hosts(core)["bad.example"].banned
    waiting = make_job(core)
    assert bad.claim() == []
    assert "banned" in ask_why(core, "bad.example")
    assert [order.job for order in good.claim()] == [waiting]
    ban_host(core, "bad.example", None, "ann")
    assert not read_hosts(core)["bad.example"].banned
    make_job(core)
    assert len(bad.claim()) == 1


def test_broken_jobs_ban_nobody(core):
    """Where jobs burn on the only host, the jobs are to blame as likely as the host."""
    only = start_pilot(core, "only.example")
    burn(core, only, 7)
    assert not read_hosts(core)["only.example"].banned
    assert "7 different job(s)" in ask_why(core, "only.example")


def test_a_success_ends_the_row(core):
    """The row of failures begins anew after a success."""
    bad, good = start_pilot(core, "bad.example"), start_pilot(core, "good.example")
    make_job(core)
    burn(core, bad, 4)
    good.succeed(good.claim()[0])
    make_job(core)
    bad.succeed(bad.claim()[0])
    burn(core, bad, 1)
    assert not read_hosts(core)["bad.example"].banned


def test_one_job_counts_once(core):
    """A job that fails again and again on a host counts as one."""
    bad, good = start_pilot(core, "bad.example"), start_pilot(core, "good.example")
    make_job(core)
    good.succeed(good.claim()[0])
    make_job(core)
    for _ in range(5):
        core.db.write(lambda connection: connection.execute(sa.update(job).values(not_before=0)))
        from p3s.server.usecases.sweep import sweep

        sweep(core, leases=False)
        bad.report(bad.claim()[0], "failed", reason="staging")
    assert read_hosts(core)["bad.example"].burnt == 1


def test_banned_by_hand(core):
    """An admin bans a host with a reason; a claim is answered with it, and `why` tells it for a job."""
    made = start_pilot(core, "h.example")
    ban_host(core, "h.example", "disk is being replaced", "ann")
    ident = make_job(core)
    from p3s.wire import Claim

    reply = made.call(claim=Claim(number=1, want=1, cpus=1))
    assert "disk is being replaced" in reply.message
    assert "banned" in ask_why(core, ident)


def test_unknown_host_is_not_found(core):
    """A name that is no host, file or id is not found."""
    with pytest.raises(NotFound):
        ask_why(core, "nowhere.example")
