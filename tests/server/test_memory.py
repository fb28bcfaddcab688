"""What a server remembers of its pilots saves it a look, and never changes what comes of a call."""

from __future__ import annotations

from copy import copy

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.engine.states import PilotStatus
from p3s.errors import NoToken
from p3s.server.db import Database, Overtaken
from p3s.server.models import attempt, event, job, pilot, workflow
from p3s.server.usecases import memory
from p3s.server.usecases.acts import ban_host, cancel_job, cancel_workflow, end_pilot
from p3s.server.usecases.core import Core
from p3s.server.usecases.memory import Memory
from p3s.server.usecases.sweep import sweep
from p3s.settings import Home, ServerSettings
from p3s.wire import Claim
from tests.support.databases import copy_sqlite
from tests.support.invariants import check_invariants
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import find, load_text, make_job, read_states

CHAIN = "name: chain\njobs:\n  j0: {run: 'true'}\n" + "".join(
    f"  j{number}: {{needs: [j{number - 1}], run: 'true'}}\n" for number in range(1, 8)
)


@pytest.fixture
def other(core):
    """Another process of the same database."""
    return Core(core.db, core.settings)


@pytest.fixture
def blank(core, request, tmp_path, sqlite_template):
    """A server with a database of its own, of the same kind."""
    (tmp_path / "blank").mkdir()
    lite = core.db.is_sqlite
    address = copy_sqlite(sqlite_template, tmp_path / "blank") if lite else request.getfixturevalue("postgres").copy()
    db = Database(address)
    yield Core(db, core.settings)
    check_invariants(db)
    db.close()


@pytest.fixture
def watched(monkeypatch):
    """Calls that acted on what was remembered: whether it was so."""
    found = []
    check = Memory.check

    def look(*args):
        try:
            check(*args)
        except Overtaken:
            found.append(False)
            raise
        found.append(True)

    monkeypatch.setattr(Memory, "check", look)
    return found


def step(pilot_, order, kind="succeeded", **fields):
    """Report the end of a job and ask for the next one in one call, as pilots do."""
    pilot_.number += 1
    wish = Claim(number=pilot_.number, want=1, cpus=8)
    report = pilot_.make_report(order, kind, **fields)
    reply = pilot_.call(reports=[report], claim=wish, ack=pilot_.acked)
    pilot_.acked = pilot_.number
    return reply


def sigh(*_):
    """Do nothing."""


def end(how):
    """Have a pilot told to go."""
    return lambda core, pilot_, _order: end_pilot(core, find(core, "pilot", pilot_.uuid), how, "ann")


def ban(core, *_):
    """Ban the pilot's host."""
    ban_host(core, "testhost", "burns", "ann")


def cancel_its_job(core, _pilot, order):
    """Cancel what is reported on."""
    cancel_job(core, find(core, "job", order.job), "ann")


def cancel_all(core, _pilot, order):
    """Cancel the workflow."""
    cancel_workflow(core, find(core, "workflow", order.workflow), "ann")


def lose(core, pilot_, _order):
    """End the pilot's lease."""
    silent = sa.update(pilot).where(pilot.c.uuid == pilot_.uuid).values(seen=read_clock() - 3600)
    core.db.write(lambda connection: connection.execute(silent))
    sweep(core, leases=True)


def lose_and_give(core, pilot_, order):
    """End the pilot's lease, and give its job to another one."""
    lose(core, pilot_, order)
    soon = sa.update(job).where(job.c.uuid == order.job).values(not_before=0.0)
    core.db.write(lambda connection: connection.execute(soon))
    sweep(core, leases=False)
    assert ScriptedPilot(core).claim()[0].job == order.job


def give_in_between(core, pilot_, _order):
    """Have another process give the pilot something."""
    make_job(core, priority=9)
    there = copy(pilot_)
    there.core = core
    assert len(there.claim()) == 1
    pilot_.number = pilot_.acked = there.number


BETWEEN = {
    "nothing": sigh,
    "drain": end(PilotStatus.DRAIN),
    "kill": end(PilotStatus.KILL),
    "ban": ban,
    "cancelled job": cancel_its_job,
    "cancelled workflow": cancel_all,
    "lost": lose,
    "lost and given to another": lose_and_give,
    "another process": give_in_between,
}


def play(core, other, between, kind):
    """Run some steps of a chain, something happening to the second one, and return all that can be seen of it."""
    ident = load_text(core, CHAIN).uuid
    pilot_ = ScriptedPilot(core)
    first = step(pilot_, pilot_.claim()[0])
    between(other, pilot_, first.jobs[0])
    fields = {"exit_code": 0} if kind == "succeeded" else {"reason": "exit-code", "exit_code": 1}
    second = step(pilot_, first.jobs[0], kind, **fields)
    third = step(pilot_, second.jobs[0]) if second.jobs else None
    with core.db.read() as connection:
        events = connection.execute(sa.select(event).order_by(event.c.id)).all()
        attempts = connection.execute(
            sa.select(attempt.c.number, attempt.c.state, job.c.name)
            .join(job, job.c.id == attempt.c.job_id)
            .order_by(attempt.c.id)
        ).all()
        left = connection.execute(sa.select(workflow.c.state, workflow.c.remaining)).all()
        row = connection.execute(sa.select(pilot).where(pilot.c.uuid == pilot_.uuid)).one()
    replies = [
        (
            reply.status,
            reply.message,
            [one.verdict for one in reply.verdicts],
            [order.job_name for order in reply.jobs],
            len(reply.stop),
        )
        for reply in (second, third)
        if reply is not None
    ]
    told = sorted((one.noun, one.signal, one.before, one.after) for one in events)
    return (
        replies,
        read_states(core, ident),
        told,
        [tuple(one) for one in attempts],
        sorted(map(tuple, left)),
        (row.state, row.claim, row.done, row.failed),
    )


@pytest.mark.parametrize("kind", ["succeeded", "failed"])
@pytest.mark.parametrize("between", BETWEEN)
def test_memory_changes_nothing(core, other, blank, watched, monkeypatch, between, kind):
    """Whatever happens between two calls, the second is answered and taken as by a server that remembers nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "recall", lambda *_, **__: None)
        expected = play(blank, Core(blank.db, blank.settings), BETWEEN[between], kind)
    assert not watched
    assert play(core, other, BETWEEN[between], kind) == expected
    if core.db.is_sqlite:
        assert not watched
    else:
        assert watched[0]
        surely = between in {"nothing", "another process"}
        assert all(watched) if surely or kind == "failed" else not all(watched)


@pytest.fixture
def pg(postgres, tmp_path):
    """A server on PostgreSQL: on SQLite nothing is remembered."""
    db = Database(postgres.copy())
    yield Core(db, ServerSettings(database=db.address, home=Home(tmp_path / "home")))
    check_invariants(db)
    db.close()


def test_an_old_secret_is_refused_though_it_is_remembered(core, other):
    """A pilot that registered again elsewhere has another secret; what a call with the old one did is rolled back."""
    ident = load_text(core, CHAIN).uuid
    old = ScriptedPilot(core)
    order = step(old, old.claim()[0]).jobs[0]
    new = ScriptedPilot(other, uuid=old.uuid)
    assert new.secret != old.secret
    with pytest.raises(NoToken):
        step(old, order)
    assert read_states(core, ident)["j1"] == "dispatched"


def test_several_processes_are_called_in_turn(core, other, monkeypatch):
    """Each job is done once, however often what is remembered is out of date."""
    ident = load_text(core, CHAIN).uuid
    monkeypatch.setattr(memory, "DOUBT", 0.0)
    pilot_ = ScriptedPilot(core, slots=2)
    make_job(core, priority=9)
    other.read_requirements()
    mine, single = sorted(pilot_.claim(2), key=lambda order: order.job_name)
    orders = [mine]
    while orders:
        pilot_.core = core if pilot_.core is other else other
        orders = step(pilot_, orders[0]).jobs
    assert set(read_states(core, ident).values()) == {"finished"}
    pilot_.core = core
    end_pilot(other, find(core, "pilot", pilot_.uuid), PilotStatus.DRAIN, "ann")
    assert step(pilot_, single).verdicts[0].verdict == "accepted"
    with core.db.read() as connection:
        assert set(connection.scalars(sa.select(attempt.c.state))) == {"succeeded"}
        assert connection.scalar(sa.select(sa.func.count()).select_from(attempt)) == 9


@pytest.mark.postgres
def test_after_an_error_nothing_is_believed_for_a_while(pg, watched, monkeypatch):
    """It may be that the pilot calls several processes in turn."""
    load_text(pg, CHAIN)
    pilot_ = ScriptedPilot(pg)
    order = step(pilot_, pilot_.claim()[0]).jobs[0]
    lose(pg, pilot_, order)
    order = step(pilot_, order).jobs[0]
    assert watched == [True, False]
    order = step(pilot_, order).jobs[0]
    assert watched == [True, False]
    monkeypatch.setattr("p3s.server.usecases.memory.time.monotonic", lambda: float("inf"))
    order = step(pilot_, order).jobs[0]
    step(pilot_, order)
    assert watched == [True, False, True]


@pytest.mark.postgres
def test_a_pilot_that_is_told_something_is_looked_up(pg, watched):
    """Only the first call after a change acts on what was before it."""
    load_text(pg, CHAIN)
    pilot_ = ScriptedPilot(pg)
    (first,) = pilot_.claim()
    end_pilot(pg, find(pg, "pilot", pilot_.uuid), PilotStatus.DRAIN, "ann")
    assert step(pilot_, first).status is PilotStatus.DRAIN
    assert watched == [False]
    for _ in range(2):
        assert pilot_.call(ack=pilot_.acked).status is PilotStatus.DRAIN
    assert watched == [False]


@pytest.mark.postgres
def test_only_so_much_is_remembered(pg, watched, monkeypatch):
    """One more, and all is forgotten; calls are answered all the same."""
    monkeypatch.setattr(memory, "MOST", 1)
    load_text(pg, CHAIN)
    pilots = [ScriptedPilot(pg), ScriptedPilot(pg)]
    make_job(pg, priority=9)
    (single,) = pilots[0].claim()
    (order,) = pilots[1].claim()
    assert step(pilots[0], single).verdicts[0].verdict == "accepted"
    assert step(pilots[1], order).jobs[0].job_name == "j1"
    assert len(watched) < 2
