"""Caps of jobtypes: never exceeded, freed by every end of an attempt, and no hindrance for others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput
from p3s.server.models import attempt, job
from p3s.server.models import pilot as pilot_table
from p3s.server.queries.find import find_row
from p3s.server.queries.jobtypes import list_jobtypes
from p3s.server.queries.why import explain_job
from p3s.server.usecases.acts import cancel_job
from p3s.server.usecases.jobs import limit_jobtype
from p3s.server.usecases.sweep import sweep
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import make_job


def read_types(core):
    """Return (cap, running, ready) by jobtype."""
    with core.db.read() as connection:
        return {item.name: (item.cap, item.running, item.ready) for item in list_jobtypes(connection).items}


def explain(core, ident):
    """Return why a job is where it is."""
    with core.db.read() as connection:
        return explain_job(connection, find_row(connection, "job", ident), 0.0)


def test_claims_stop_at_the_cap(core):
    """Jobs above the cap stay, other types go on, and each end lets one more go."""
    limit_jobtype(core, "wide", 2, "ann")
    for _ in range(5):
        make_job(core, jobtype="wide", priority=5)
    make_job(core, jobtype="other")
    pilot = ScriptedPilot(core, slots=6)
    orders = pilot.claim()
    assert sorted(order.jobtype for order in orders) == ["other", "wide", "wide"]
    assert pilot.claim() == []
    assert read_types(core)["wide"] == (2, 2, 3)
    wide = [order for order in orders if order.jobtype == "wide"]
    pilot.succeed(wide[0])
    pilot.fail(wide[1])
    assert len(pilot.claim()) == 2


def test_many_pilots_at_once_keep_the_cap(core):
    """However many pilots ask together, no more than the cap are open, and in the end all have run."""
    limit_jobtype(core, "wide", 3, "ann")
    for _ in range(24):
        make_job(core, jobtype="wide")

    def work(_number):
        pilot = ScriptedPilot(core, slots=2)
        most = ran = 0
        for _ in range(30):
            orders = pilot.claim()
            with core.db.read() as connection:
                opened = attempt.c.state.in_(("dispatched", "running"))
                most = max(most, connection.scalar(sa.select(sa.func.count()).where(opened)) or 0)
            for order in orders:
                pilot.succeed(order)
                ran += 1
        return most, ran

    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(work, range(6)))
    assert max(most for most, _ in seen) <= 3
    assert sum(ran for _, ran in seen) == 24
    assert read_types(core)["wide"] == (3, 0, 0)


def test_zero_suspends_a_type(core):
    """A suspended type gets nothing until its cap is lifted, and `why` says so."""
    ident = make_job(core, jobtype="wide")
    limit_jobtype(core, "wide", 0, "ann")
    pilot = ScriptedPilot(core)
    assert pilot.claim() == []
    assert "suspended" in explain(core, ident)
    limit_jobtype(core, "wide", None, "ann")
    assert [order.job for order in pilot.claim()] == [ident]
    assert "wide" in read_types(core)


def test_a_new_cap_counts_what_is_open(core):
    """What ran when the cap came counts; a cap that is lifted meanwhile miscounts nothing."""
    for _ in range(4):
        make_job(core, jobtype="wide")
    pilot = ScriptedPilot(core, slots=4)
    first = pilot.claim(want=2)
    limit_jobtype(core, "wide", 2, "ann")
    assert pilot.claim(want=2) == []
    limit_jobtype(core, "wide", None, "ann")
    second = pilot.claim(want=1)
    limit_jobtype(core, "wide", 3, "ann")
    assert read_types(core)["wide"] == (3, 3, 1)
    for order in [*first, *second]:
        pilot.succeed(order)
    assert read_types(core)["wide"] == (3, 0, 1)


def test_a_cancelled_job_counts_until_its_payload_stopped(core):
    """A cancel frees the place only when the pilot confirms; a silent pilot's places come back with its lease."""
    limit_jobtype(core, "wide", 1, "ann")
    ident, later = make_job(core, jobtype="wide"), make_job(core, jobtype="wide")
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    with core.db.read() as connection:
        row = find_row(connection, "job", ident)
    cancel_job(core, row, "ann")
    assert pilot.claim() == []
    pilot.report(order, "stopped")
    assert [found.job for found in pilot.claim()] == [later]
    core.db.write(lambda connection: connection.execute(sa.update(pilot_table).values(seen=0.0)))
    sweep(core, leases=True)
    assert read_types(core)["wide"] == (1, 0, 0)


def test_freed_places_wake_waiting_pilots(core):
    """A pilot that waits is rung when a place becomes free, although nothing new was released."""
    limit_jobtype(core, "wide", 1, "ann")
    for _ in range(2):
        make_job(core, jobtype="wide")
    busy, idle = ScriptedPilot(core), ScriptedPilot(core)
    (order,) = busy.claim()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(idle.claim, wait=30.0)
        busy.succeed(order)
        assert len(waiting.result(timeout=20)) == 1


def test_a_bad_jobtype_changes_nothing(core):
    """What no job can be of is refused."""
    with pytest.raises(BadInput, match="is no label"):
        limit_jobtype(core, "a b", 1, "ann")
    assert read_types(core) == {}


def test_queue_of_a_full_type_is_not_looked_at(core):
    """Jobs of another type are found behind any number of jobs of a full one."""
    limit_jobtype(core, "wide", 0, "ann")
    for _ in range(60):
        make_job(core, jobtype="wide", priority=9)
    ident = make_job(core)
    assert [order.job for order in ScriptedPilot(core).claim()] == [ident]
    with core.db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(job.c.state == "defined")) == 60
