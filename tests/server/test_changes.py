"""Changes that are committed together, and held calls that are answered within the change that makes them work."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from p3s.errors import NoToken
from p3s.server.models import event, job, workflow
from p3s.server.models import pilot as pilot_table
from p3s.server.usecases.changes import WAY
from p3s.server.usecases.jobs import limit_jobtype
from p3s.server.usecases.load import start_workflow
from p3s.wire import Claim
from tests.support.pilots import ScriptedPilot
from tests.support.servers import wait_until
from tests.support.workflows import load_text, make_job, read_states


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


@contextmanager
def keep_busy(core, pool):
    """Have the one thread that writes the calls of pilots wait for the block's end."""
    if core.db.is_sqlite:
        with core.db._writer:
            yield
        return
    plug = ScriptedPilot(core)
    with core.db.engine.begin() as connection:
        row = sa.select(pilot_table.c.id).where(pilot_table.c.uuid == plug.uuid).with_for_update()
        connection.execute(row).one()
        pool.submit(plug.call)
        wait_until(lambda: core._changes._led and not core._changes._queue, 20, "the call that waits for its row")
        yield


def queue_calls(core, pool, calls):
    """Let calls arrive while another writes, and return their futures once they can go on together."""
    with keep_busy(core, pool):
        futures = []
        for number, call in enumerate(calls, 1):
            futures.append(pool.submit(call))
            wait_until(lambda number=number: len(core._changes._queue) == number, 20, "the queue")
    return futures


def start_all(core, number):
    """Return so many pilots, each with the order of a job of its own."""
    pilots = [ScriptedPilot(core) for _ in range(number)]
    for _ in pilots:
        make_job(core)
    return [(pilot, pilot.claim()[0]) for pilot in pilots]


def run_together(core, calls):
    """Return the answers of calls that arrive while another writes, and how many transactions they took."""
    with count_commits(core) as commits, ThreadPoolExecutor(len(calls) + 1) as pool:
        answers = [future.result() for future in queue_calls(core, pool, calls)]
    # On PostgreSQL three make what they waited for: the registration of a pilot, the lock of its row, and its call.
    return answers, len(commits) - (0 if core.db.is_sqlite else 3)


def test_reports_that_arrive_together_are_committed_together(core):
    """What waits for the database while one writes is written by one transaction, and each gets its own answer."""
    running = start_all(core, 8)
    calls = [lambda pilot=pilot, order=order: pilot.report(order, "succeeded") for pilot, order in running]
    verdicts, commits = run_together(core, calls)
    assert [(verdict.attempt, verdict.verdict) for verdict in verdicts] == [
        (order.attempt, "accepted") for _, order in running
    ]
    assert commits == 1


def test_starts_and_claims_of_several_pilots_are_one_transaction(core):
    """Starts are told together, and of six jobs four pilots with two slots each get the first six, none twice."""
    running = start_all(core, 3)
    jobs = [make_job(core) for _ in range(6)]
    hungry = [ScriptedPilot(core, slots=2) for _ in range(4)]
    calls = [lambda pilot=pilot, order=order: pilot.report(order, "started") for pilot, order in running]
    answers, commits = run_together(core, [*calls, *(lambda pilot=pilot: ask(pilot) for pilot in hungry)])
    assert [verdict.verdict for verdict in answers[:3]] == ["accepted"] * 3
    assert [order.job for reply in answers[3:] for order in reply.jobs] == jobs
    assert [len(reply.jobs) for reply in answers[3:]] == [2, 2, 2, 0]
    assert commits == 1
    assert [order.attempt for order in hungry[0].repeat_claim()] == [order.attempt for order in answers[3].jobs]
    for pilot, order in running:
        pilot.report(order, "succeeded")


def ask(pilot):
    """Claim as a pilot does that has not acknowledged anything."""
    pilot.number += 1
    return pilot.call(claim=Claim(number=pilot.number, want=pilot.slots, cpus=pilot.cpus))


def test_what_one_pilot_ends_another_is_given_in_the_same_transaction(core):
    """A claim sees the jobs that reports of the same transaction release; each event says whose call it was."""
    load_text(core, 'name: two\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n')
    first, second = ScriptedPilot(core), ScriptedPilot(core)
    (order,) = first.claim()
    answers, commits = run_together(core, [lambda: ask(second), lambda: first.report(order, "succeeded")])
    assert [order.job_name for order in answers[0].jobs] == ["b"]
    assert answers[1].verdict == "accepted"
    assert commits == 1
    with core.db.read() as connection:
        told = connection.execute(
            sa.select(event.c.noun, event.c.signal, event.c.cause).where(event.c.signal.in_(["claim", "succeed"]))
        ).all()
    by_first, by_second = f"pilot {first.uuid[:8]}", f"pilot {second.uuid[:8]}"
    assert sorted((row.noun, row.signal) for row in told if row.cause == by_first) == [
        ("attempt", "claim"),
        ("attempt", "succeed"),
        ("job", "claim"),
        ("job", "succeed"),
    ]
    assert sorted((row.noun, row.signal) for row in told if row.cause == by_second) == [
        ("attempt", "claim"),
        ("job", "claim"),
    ]


def test_a_failure_among_successes_is_taken_by_itself(core):
    """What is not plain is left out and taken in a transaction of its own; the others do not wait for it."""
    running = start_all(core, 4)
    kinds = ["succeeded", "failed", "succeeded", "succeeded"]
    calls = [
        lambda pilot=pilot, order=order, kind=kind: pilot.report(
            order, kind, **({"reason": "exit-code", "exit_code": 1} if kind == "failed" else {})
        )
        for kind, (pilot, order) in zip(kinds, running, strict=True)
    ]
    verdicts, commits = run_together(core, calls)
    assert [verdict.verdict for verdict in verdicts] == ["accepted"] * 4
    assert commits == 2
    states = [state for _, order in running for state in read_states(core, order.workflow).values()]
    assert states == ["finished", "failed", "finished", "finished"]


def test_what_two_pilots_report_of_one_attempt_is_taken_once(core):
    """A result left by a dead pilot may come from its heir and, late, from itself; nobody else's report suffers."""
    ((first, order), other) = start_all(core, 2)
    heir = ScriptedPilot(core)
    calls = [
        lambda: first.report(order, "succeeded"),
        lambda: heir.report(order, "succeeded"),
        lambda: other[0].report(other[1], "succeeded"),
    ]
    verdicts, _ = run_together(core, calls)
    assert sorted(verdict.verdict for verdict in verdicts[:2]) == ["accepted", "repeated"]
    assert verdicts[2].verdict == "accepted"


def test_what_a_pilot_does_not_know_is_put_back_by_itself(core):
    """A call whose list lacks an attempt is left out, and the job of the attempt is given out again."""
    ((forgetful, order), *others) = start_all(core, 3)
    calls = [lambda pilot=pilot, mine=mine: pilot.report(mine, "succeeded") for pilot, mine in others]
    answers, commits = run_together(core, [lambda: forgetful.call(running=[], ack=forgetful.acked), *calls])
    assert [verdict.verdict for verdict in answers[1:]] == ["accepted"] * 2
    assert commits == 2
    assert [given.job for given in ask(forgetful).jobs] == [order.job]


def test_a_claim_that_is_sent_twice_is_given_once(core):
    """Calls of one pilot are not taken together: the second sees what the first did, and repeats its answer."""
    for _ in range(3):
        make_job(core)
    pilot = ScriptedPilot(core)
    wish = Claim(number=1, want=1, cpus=1)
    answers, _ = run_together(core, [lambda: pilot.call(claim=wish)] * 2)
    assert len({order.attempt for reply in answers for order in reply.jobs}) == 1
    assert [len(reply.jobs) for reply in answers] == [1, 1]


def test_a_cap_holds_for_those_who_claim_together(core):
    """Of a jobtype with a cap of three, four pilots that ask at the same time are given three jobs."""
    limit_jobtype(core, "default", 3, "ann")
    core.read_caps()
    for _ in range(4):
        make_job(core)
    hungry = [ScriptedPilot(core) for _ in range(4)]
    answers, commits = run_together(core, [lambda pilot=pilot: ask(pilot) for pilot in hungry])
    assert [len(reply.jobs) for reply in answers] == [1, 1, 1, 0]
    assert commits == 1
    # Who ends one and asks for the next has the room that it made.
    (order,) = answers[0].jobs
    hungry[0].report(order, "succeeded")
    assert len(ask(hungry[3]).jobs) == 1


def test_a_call_that_is_refused_does_not_touch_those_that_arrive_with_it(core):
    """What fails in company runs alone: the others are accepted, and the bad one hears its own error."""
    running = start_all(core, 5)
    running[2][0].secret = "wrong"
    calls = [lambda pilot=pilot, order=order: pilot.report(order, "succeeded") for pilot, order in running]
    with ThreadPoolExecutor(6) as pool:
        futures = queue_calls(core, pool, calls)
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


def test_an_answered_call_goes_first(core, monkeypatch):
    """Who made work for a call that waits gives way to it, once all is committed; who made none loses no time."""
    given = []

    class Clock:
        """The module's `time`."""

        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(seconds):
            with core.db.read() as connection:
                states = connection.scalars(sa.select(job.c.state)).all()
            given.append((seconds, core._changes._led, set(states)))

    monkeypatch.setattr("p3s.server.usecases.changes.time", Clock)
    make_job(core)
    assert given == []
    pilot = ScriptedPilot(core)
    assert len(pilot.claim(want=5)) == 1
    with hold_call(core, pilot) as answer:
        make_job(core)
        assert len(answer.result(20).jobs) == 1
    assert given == [(WAY, False, {"dispatched"})]


def test_the_end_of_a_parent_answers_the_pilot_that_waits_for_its_child(core):
    """A report, the release of the child and its claim by another call are one transaction."""
    load_text(core, 'name: two\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n')
    first, waiting = ScriptedPilot(core), ScriptedPilot(core)
    (order,) = first.claim()
    with hold_call(core, waiting) as answer, count_commits(core) as commits:
        assert first.report(order, "succeeded").verdict == "accepted"
        assert [order.job_name for order in answer.result(20).jobs] == ["b"]
    assert len(commits) == 1


def test_the_start_of_a_held_workflow_answers_the_pilot_that_waits(core):
    """Also when nobody asked for the like of its jobs before: what they ask of a pilot is known since the load."""
    waiting = ScriptedPilot(core)
    uuid = load_text(core, 'name: one\njobs:\n  a: {run: "true", timelimit: 77s}\n', hold=True).uuid
    with core.db.read() as connection:
        ident = connection.scalar(sa.select(workflow.c.id).where(workflow.c.uuid == uuid))
    with hold_call(core, waiting) as answer, count_commits(core) as commits:
        start_workflow(core, ident, "ann")
        assert [order.job_name for order in answer.result(20).jobs] == ["a"]
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
