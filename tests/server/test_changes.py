"""Changes that are committed together, and held calls that are answered within the change that makes them work."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from p3s.errors import NoToken
from p3s.server.db import Database
from p3s.server.models import pilot as pilot_table
from p3s.server.usecases.core import Core
from p3s.settings import Home, ServerSettings
from p3s.wire import Claim
from tests.support.databases import copy_sqlite
from tests.support.invariants import check_invariants
from tests.support.pilots import ScriptedPilot
from tests.support.servers import wait_until
from tests.support.workflows import load_text, make_job


@contextmanager
def count_commits(core):
    """Count the transactions that are committed in the block; each is an item of the list."""
    commits = []

    def note(_connection):
        commits.append(threading.get_ident())

    sa.event.listen(core.db.engine, "commit", note)
    try:
        yield commits
    finally:
        sa.event.remove(core.db.engine, "commit", note)


@contextmanager
def hold_call(core, pilot):
    """Hold a claiming call of a pilot; the block gets what will be its answer."""
    pilot.number += 1
    wish = Claim(number=pilot.number, want=1, cpus=1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(pilot.call, claim=wish, wait=30.0)
        wait_until(lambda: any(waiter.resting for waiter in core.hub._waiters.values()), 20, "the held call")
        yield answer


def queue_calls(core, pool, calls):
    """Let calls arrive while another writes, and return their futures once they can go on together."""
    with core.db._writer:
        futures = [pool.submit(call) for call in calls]
        # One of them gathers the others when it may write.
        wait_until(lambda: len(core._changes._queue) == len(calls), 20, "the queue")
    return futures


@pytest.fixture
def sqlite_core(sqlite_template, tmp_path):
    """The use cases on SQLite, where one transaction writes at a time."""
    address = copy_sqlite(sqlite_template, tmp_path)
    db = Database(address)
    yield Core(db, ServerSettings(database=address, home=Home(tmp_path / "home")))
    check_invariants(db)
    db.close()


def start_all(core, number):
    """Return so many pilots, each with the order of a job of its own."""
    pilots = [ScriptedPilot(core) for _ in range(number)]
    for _ in pilots:
        make_job(core)
    return [(pilot, pilot.claim()[0]) for pilot in pilots]


def test_reports_that_arrive_together_are_committed_together(sqlite_core):
    """What waits for the database while one writes is written by one transaction, and each gets its own answer."""
    running = start_all(sqlite_core, 8)
    calls = [lambda pilot=pilot, order=order: pilot.report(order, "succeeded") for pilot, order in running]
    with count_commits(sqlite_core) as commits, ThreadPoolExecutor(8) as pool:
        verdicts = [future.result() for future in queue_calls(sqlite_core, pool, calls)]
    assert [(verdict.attempt, verdict.verdict) for verdict in verdicts] == [
        (order.attempt, "accepted") for _, order in running
    ]
    assert len(commits) == 1


def test_a_call_that_is_refused_does_not_touch_those_that_arrive_with_it(sqlite_core):
    """What fails in company runs alone: the others are accepted, and the bad one hears its own error."""
    running = start_all(sqlite_core, 5)
    running[2][0].secret = "wrong"
    calls = [lambda pilot=pilot, order=order: pilot.report(order, "succeeded") for pilot, order in running]
    with ThreadPoolExecutor(5) as pool:
        futures = queue_calls(sqlite_core, pool, calls)
        with pytest.raises(NoToken):
            futures.pop(2).result()
        assert {future.result().verdict for future in futures} == {"accepted"}


def test_a_submission_answers_the_pilot_that_waits_for_it(core):
    """The job of a submission is claimed within the submission's own transaction."""
    # What the job asks of a pilot is known by then, as it is for all but the first of a kind.
    ScriptedPilot(core).succeed(_claim_one(core))
    waiting = ScriptedPilot(core)
    with hold_call(core, waiting) as answer, count_commits(core) as commits:
        ident = make_job(core)
        assert [order.job for order in answer.result(20).jobs] == [ident]
    assert len(commits) == 1


def test_the_end_of_a_parent_answers_the_pilot_that_waits_for_its_child(core):
    """A report, the release of the child and its claim by another call are one transaction."""
    load_text(core, 'name: two\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n')
    first, waiting = ScriptedPilot(core), ScriptedPilot(core)
    (order,) = first.claim()
    with hold_call(core, waiting) as answer, count_commits(core) as commits:
        assert first.report(order, "succeeded").verdict == "accepted"
        assert [order.job_name for order in answer.result(20).jobs] == ["b"]
    assert len(commits) == 1


def test_a_held_call_that_cannot_be_answered_disturbs_nobody(core):
    """A submission stands also when the pilot that waits for it lost its secret meanwhile."""
    ScriptedPilot(core).succeed(_claim_one(core))
    waiting, other = ScriptedPilot(core), ScriptedPilot(core)
    with hold_call(core, waiting) as answer:
        cut = sa.update(pilot_table).where(pilot_table.c.uuid == waiting.uuid).values(hash="")
        core.db.write(lambda connection: connection.execute(cut))
        ident = make_job(core)
        with pytest.raises(NoToken):
            answer.result(20)
    assert [order.job for order in other.claim()] == [ident]


def _claim_one(core):
    make_job(core)
    pilot = ScriptedPilot(core)
    return pilot.claim()[0]
