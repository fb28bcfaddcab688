"""The deciding half of the pilot, played in no time."""

from __future__ import annotations

import heapq
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p3s.engine.states import PilotStatus, Reason
from p3s.pilot import events
from p3s.pilot.brain import Brain
from p3s.pilot.exits import EXIT_BLACK_HOLE
from p3s.wire import AttemptReport, Claim, ExchangeBody, ExchangeReply, JobOrder, RegisterReply, StopOrder, Verdict
from tests.support.agents import make_options
from tests.support.fake_server import make_order

TERMS = RegisterReply(secret="s", heartbeat=10, lease=60, poll=50, patience=900)


def make_brain(**fields: Any) -> Brain:
    """A brain that is registered at time 0."""
    brain = Brain(make_options(Path("/x"), **({"cycles": 0, "period": 50.0, "grace": 10.0} | fields)), 0.0, Random(0))
    assert brain.plan(0.0) == [events.Register()]
    brain.handle(events.Registered(TERMS), 0.0)
    return brain


def answer(
    brain: Brain, call: events.Call, now: float, sent: float | None = None, **fields: Any
) -> list[events.Instruction]:
    """Let the server answer a call, at once unless `sent` says otherwise."""
    fields.setdefault("number", call.body.claim.number if call.body.claim else 0)
    fields.setdefault(
        "verdicts",
        [Verdict(attempt=one.attempt, kind=one.kind, verdict="accepted") for one in call.body.reports],
    )
    reply = ExchangeReply(**({"status": PilotStatus.OK, "heartbeat": 10, "lease": 60} | fields))
    return brain.handle(events.Answered(call.channel, call.body, reply, now if sent is None else sent), now)


def find_calls(instructions: list[events.Instruction]) -> list[events.Call]:
    return [one for one in instructions if isinstance(one, events.Call)]


def find_call(instructions: list[events.Instruction]) -> events.Call:
    (call,) = find_calls(instructions)
    return call


def take(brain: Brain, order: JobOrder, now: float = 0.0) -> None:
    """Let the brain claim one job and start it."""
    launches = answer(brain, find_call(brain.plan(now)), now, jobs=[order])
    assert events.Launch(order) in launches
    brain.handle(events.Began(order.attempt), now)


def play_out(brain: Brain, now: float = 0.1) -> events.Leave:
    """Answer what the brain asks until it leaves."""
    for _ in range(50):
        for instruction in brain.plan(now):
            if isinstance(instruction, events.Leave):
                return instruction
            if isinstance(instruction, events.Call):
                answer(brain, instruction, now)
        now += 0.5
    raise AssertionError("it does not leave")


def make_end(order: JobOrder, **fields: Any) -> events.Ended:
    values = {"attempt": order.attempt, "token": order.token, "kind": "succeeded"} | fields
    return events.Ended(AttemptReport(**values))


def test_idle_pilot_holds_a_claim() -> None:
    """A free pilot asks for as many jobs as it has slots and lets the server hold the call."""
    call = find_call(make_brain(slots=3).plan(0.0))
    assert (call.channel, call.body.wait) == ("held", 50.0)
    assert call.body.claim is not None
    assert (call.body.claim.number, call.body.claim.want) == (1, 3)


def test_short_payload_takes_one_call() -> None:
    """End, acknowledgement and the next claim of a short payload travel in one call; its start is not told."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    assert brain.plan(0.001) == []
    brain.handle(events.Exited(order.attempt), 0.002)
    brain.handle(make_end(order), 0.002)
    call = find_call(brain.plan(0.002))
    assert call.channel == "quick"
    assert [report.kind for report in call.body.reports] == ["succeeded"]
    assert call.body.ack == 1
    assert call.body.claim is not None
    assert (call.body.claim.number, call.body.claim.want) == (2, 1)


def test_start_is_told_soon() -> None:
    """A payload that runs on is reported as started within a moment, with the acknowledgement."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    at = brain.find_next_time(0.0)
    assert at < 0.1
    call = find_call(brain.plan(at))
    assert ([report.kind for report in call.body.reports], call.body.ack) == (["started"], 1)


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("launch", [0.0, 0.005, 0.012, 0.5])
def test_start_is_told_soon_however_long_it_takes_to_start(slots: int, launch: float) -> None:
    """A start is reported within a moment, however long staging and starting took and whatever else was sent."""
    play = Play(slots, [30.0], [], launch=launch)
    play.run()
    (sent,) = play.told.values()
    assert sent <= play.began[next(iter(play.told))] + 0.1


def test_claim_does_not_wait_for_a_control_call() -> None:
    """A slot that becomes free is offered at once, even while the server still holds the control call."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    answer(brain, find_call(brain.plan(0.1)), 0.1)
    assert find_call(brain.plan(1.5)).channel == "control"
    brain.handle(events.Exited(order.attempt), 2.0)
    brain.handle(make_end(order), 2.0)
    answer(brain, find_call(brain.plan(2.0)), 2.01)
    call = find_call(brain.plan(2.01))
    assert call.channel == "held"
    assert call.body.claim is not None
    assert call.body.claim.number == 3


def start_one_of_two(brain: Brain, order: JobOrder) -> events.Call:
    """Let a job run that takes most of the pilot, and return the held claim for the rest."""
    take(brain, order)
    answer(brain, find_call(brain.plan(0.1)), 0.1)
    held = find_call(brain.plan(0.1))
    assert held.body.claim == Claim(number=3, want=3, cpus=1, memory=400)
    return held


def test_what_becomes_free_is_offered_at_once() -> None:
    """When a job ends while the server holds a claim for less, the claim is repeated with what is free now."""
    brain, order, others = make_brain(slots=4, cpus=4, memory=1000), make_order(cpus=3, memory=600), [make_order()]
    held = start_one_of_two(brain, order)
    brain.handle(events.Exited(order.attempt), 2.0)
    brain.handle(make_end(order), 2.0)
    quick = find_call(brain.plan(2.0))
    assert [report.kind for report in quick.body.reports] == ["succeeded"]
    assert quick.body.claim == Claim(number=3, want=4, cpus=4, memory=1000)
    # The server answers the older one because of the newer one; both answers are of one claim.
    answer(brain, held, 2.01, sent=0.1)
    assert brain.plan(2.01) == []
    assert [one for one in answer(brain, quick, 2.02, jobs=others) if isinstance(one, events.Launch)]
    brain.handle(events.Began(others[0].attempt), 2.02)
    following = find_call(brain.plan(2.1))
    assert following.body.ack == 3
    assert following.body.claim == Claim(number=4, want=3, cpus=3, memory=1000)


def test_a_job_that_comes_twice_runs_once() -> None:
    """When both calls of one claim bring the same job it is started once, even if it has ended in between."""
    brain, order, other = make_brain(slots=4, cpus=4, memory=1000), make_order(cpus=3, memory=600), make_order()
    held = start_one_of_two(brain, order)
    brain.handle(events.Exited(order.attempt), 2.0)
    brain.handle(make_end(order), 2.0)
    answer(brain, find_call(brain.plan(2.0)), 2.01, jobs=[other])
    brain.handle(events.Began(other.attempt), 2.01)
    brain.handle(events.Exited(other.attempt), 2.015)
    brain.handle(make_end(other), 2.015)
    quick = find_call(brain.plan(2.03))
    assert (quick.body.ack, quick.body.claim) == (3, None)
    decisions = answer(brain, held, 2.04, sent=0.1, jobs=[other])
    assert not [one for one in decisions if isinstance(one, events.Launch)]
    answer(brain, quick, 2.05)
    assert find_call(brain.plan(2.1)).body.claim == Claim(number=4, want=4, cpus=4, memory=1000)


def test_offer_is_repeated_until_the_smaller_one_is_answered() -> None:
    """As long as the server holds the smaller offer, the larger one comes again twice a second."""
    brain, order = make_brain(slots=4, cpus=4, memory=1000), make_order(cpus=3, memory=600)
    start_one_of_two(brain, order)
    brain.handle(events.Exited(order.attempt), 2.0)
    brain.handle(make_end(order), 2.0)
    answer(brain, find_call(brain.plan(2.0)), 2.0)
    assert brain.plan(2.1) == []
    assert brain.find_next_time(2.1) == 2.5
    nudge = find_call(brain.plan(2.5))
    assert (nudge.channel, nudge.body.claim) == ("quick", Claim(number=3, want=4, cpus=4, memory=1000))


def test_lost_reply_repeats_the_number() -> None:
    """After a lost reply the same claim is sent again, and the next one only after its answer."""
    brain = make_brain(slots=2)
    first = find_call(brain.plan(0.0))
    brain.handle(events.CallFailed(first.channel, first.body, "away", "lost"), 1.0)
    assert brain.plan(1.0) == []
    at = brain.find_next_time(1.0)
    second = find_call(brain.plan(at))
    assert second.body.claim == first.body.claim
    answer(brain, second, at)
    assert find_call(brain.plan(at + 1)).body.claim.number == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(("lease", "longest"), [(60, 30), (8, 4)])
def test_pauses_grow(lease: float, longest: float) -> None:
    """While the server is away the pauses between calls grow, and stay below the lease that a server begins anew."""
    brain, now, pauses = make_brain(), 50.0, []
    answer(brain, find_call(brain.plan(0.0)), now, lease=lease)
    for _ in range(12):
        call = find_call(brain.plan(now))
        brain.handle(events.CallFailed(call.channel, call.body, "away", "lost"), now)
        at = brain.link.not_before
        pauses.append(at - now)
        now = at
    assert pauses[0] < 0.3
    assert longest * 0.75 <= pauses[-1] <= longest * 1.25


def test_reports_do_not_wait_for_a_held_claim() -> None:
    """While the server holds a claim, reports go out on another channel; no second claim does."""
    brain, order = make_brain(slots=2), make_order()
    take(brain, order)
    held = find_call(brain.plan(1.0))
    quick = held
    if held.channel == "quick":
        answer(brain, held, 1.0)
        held = find_call(brain.plan(1.1))
    assert held.body.claim is not None
    brain.handle(events.Exited(order.attempt), 2.0)
    brain.handle(make_end(order), 2.0)
    quick = find_call(brain.plan(2.0))
    assert quick.channel == "quick"
    assert quick.body.claim is None or quick.body.claim.number == held.body.claim.number
    assert [report.kind for report in quick.body.reports] == ["succeeded"]


def test_a_start_that_was_not_taken_drops_no_success() -> None:
    """Cut off past its lease, it tells start and end at once: what is said of the start is not said of the outputs."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    told = find_call(brain.plan(1.0))
    assert [report.kind for report in told.body.reports] == ["started"]
    brain.handle(events.Exited(order.attempt), 2.0)
    brain.handle(make_end(order), 2.0)
    brain.handle(events.CallFailed(told.channel, told.body, "away", "cut"), 70.0)
    told = find_call(brain.plan(brain.find_next_time(70.0)))
    assert {report.kind for report in told.body.reports} == {"started", "succeeded"}
    start = Verdict(attempt=order.attempt, kind="started", verdict="superseded")
    success = Verdict(attempt=order.attempt, kind="succeeded", verdict="accepted")
    decisions = answer(brain, told, 80.0, verdicts=[start, success])
    assert not [one for one in decisions if isinstance(one, events.Discard | events.Stop)]
    assert events.Forget(order.attempt) in decisions


def test_full_pilot_holds_a_control_call() -> None:
    """A full, quiet pilot keeps a call without a claim open, so that stop orders reach it at once."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    answer(brain, find_call(brain.plan(0.1)), 0.1)
    assert brain.plan(0.5) == []
    call = find_call(brain.plan(1.5))
    assert (call.channel, call.body.claim, call.body.wait) == ("control", None, 10.0)
    assert call.body.running == [order.attempt]


def test_time_limit() -> None:
    """When the time is over SIGTERM is ordered, SIGKILL after the grace, and the report says why."""
    brain, order = make_brain(slots=1), make_order(timelimit=5.0)
    take(brain, order)
    answer(brain, find_call(brain.plan(0.1)), 0.1)
    stops = [one for one in brain.plan(5.0) if isinstance(one, events.Stop)]
    assert [stop.force for stop in stops] == [False]
    assert brain.find_next_time(5.0) <= 15.0
    stops = [one for one in brain.plan(15.0) if isinstance(one, events.Stop)]
    assert [stop.force for stop in stops] == [True]
    assert brain.handle(events.Exited(order.attempt), 15.1) == [events.Settle(order.attempt, look=False, forced=True)]
    brain.handle(make_end(order, kind="failed", reason=Reason.SIGNAL, signal=9), 15.1)
    reports = brain.ledger.take()
    assert [(report.kind, report.reason, report.signal) for report in reports] == [("failed", Reason.TIMELIMIT, 9)]


def test_exclusive_ended_by_the_keeper() -> None:
    """What the keeper killed at the lease's end is handed back, even if its end is heard before the clock is read."""
    brain, order = make_brain(slots=1), make_order(exclusive=True)
    take(brain, order)
    brain.handle(events.Exited(order.attempt), 61.0)
    brain.handle(make_end(order, kind="failed", reason=Reason.SIGNAL, signal=9), 61.0)
    assert [(report.kind, report.reason) for report in brain.ledger.take()] == [("handed-back", None)]


def test_success_outlives_its_hand_back() -> None:
    """A payload that succeeds while it is being handed back keeps its outputs and counts."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    brain.handle(events.Interrupted(), 1.0)
    brain.handle(events.Interrupted(), 1.0)
    assert brain.handle(events.Exited(order.attempt), 1.1) == [events.Settle(order.attempt, look=True, forced=True)]
    brain.handle(make_end(order), 1.1)
    assert [report.kind for report in brain.ledger.take()][-1] == "succeeded"


def fail_to_start(brain: Brain, order: JobOrder, now: float) -> None:
    """Let a job's payload not start, and have that reported."""
    answer(brain, find_call(brain.plan(now)), now, jobs=[order])
    brain.handle(make_end(order, kind="failed", reason=Reason.NONSTARTER, message="no such file"), now)
    answer(brain, find_call(brain.plan(now + 0.1)), now + 0.1)


def test_one_broken_job_does_not_end_its_pilot() -> None:
    """A job that cannot be started says nothing of the pilot, however often it comes again."""
    brain, job = make_brain(slots=1), make_order().job
    for number in range(6):
        fail_to_start(brain, make_order(job=job), float(number))
    assert find_call(brain.plan(10.0)).body.state == "working"


def test_black_hole_leaves() -> None:
    """A pilot that could not start three different jobs in a row leaves and says why; a start clears the count."""
    brain, good = make_brain(slots=1), make_order()
    fail_to_start(brain, make_order(), 0.0)
    fail_to_start(brain, make_order(), 1.0)
    take(brain, good, 2.0)
    brain.handle(events.Exited(good.attempt), 2.0)
    brain.handle(make_end(good), 2.0)
    answer(brain, find_call(brain.plan(2.0)), 2.0)
    fail_to_start(brain, make_order(), 3.0)
    fail_to_start(brain, make_order(), 4.0)
    assert find_call(brain.plan(5.0)).body.state == "working"
    brain, now = make_brain(slots=1), 0.0
    for _ in range(3):
        fail_to_start(brain, make_order(), now)
        now += 1.0
    leave = play_out(brain, now)
    assert leave.code == EXIT_BLACK_HOLE
    assert "3 jobs in a row could not be started here: no such file" in leave.reason


def test_stop_order_is_followed_once() -> None:
    """A repeated stop order neither repeats the signal nor puts off SIGKILL."""
    brain, order = make_brain(slots=1), make_order()
    take(brain, order)
    stop = StopOrder(attempt=order.attempt, reason="cancelled")
    first = answer(brain, find_call(brain.plan(0.1)), 0.1, stop=[stop])
    assert [one for one in first if isinstance(one, events.Stop)]
    call = find_call(brain.plan(2.0))
    assert order.attempt in call.body.heard
    again = answer(brain, call, 2.0, stop=[stop])
    assert not [one for one in again if isinstance(one, events.Stop)]
    assert [one.force for one in brain.plan(10.2) if isinstance(one, events.Stop)] == [True]


def test_outputs_on_their_way_take_slots_only_when_many() -> None:
    """Beyond one attempt a slot, what was made and not yet brought away keeps the pilot from asking for more."""
    brain, orders = make_brain(slots=2), [make_order() for _ in range(4)]
    wanted = []
    for order in orders:
        brain.ledger.add(make_end(order).report, uploads=True)
        wanted.append(brain._want())
    assert wanted == [2, 2, 1, 0]
    brain.handle(events.Uploaded(orders[0].attempt), 1.0)
    assert brain._want() == 1


def test_outputs_that_are_no_longer_wanted_are_not_brought_further() -> None:
    """A stop order, and a pilot told twice to leave, reach outputs on their way; what comes of it is reported."""
    for told in ("server", "signal"):
        brain, order = make_brain(slots=1), make_order()
        take(brain, order)
        brain.handle(events.Exited(order.attempt), 1.0)
        brain.handle(replace(make_end(order), uploads=True), 1.0)
        if told == "server":
            stop = [StopOrder(attempt=order.attempt, reason="cancelled")]
            done = answer(brain, find_call(brain.plan(1.1)), 1.2, stop=stop)
        else:
            brain.handle(events.Interrupted(), 1.1)
            done = brain.handle(events.Interrupted(), 1.2)
        assert [one.attempt for one in done if isinstance(one, events.Stop)] == [order.attempt]
        report = AttemptReport(attempt=order.attempt, token=order.token, kind="handed-back")
        brain.handle(events.UploadFailed(order.attempt, "stopped", report), 1.3)
        (call,) = [call for call in find_calls(brain.plan(1.4)) if call.body.reports]
        assert [one.kind for one in call.body.reports] == ["handed-back"]
        assert events.Discard(order.attempt) in answer(brain, call, 1.5)


def test_exclusive_dies_with_the_lease() -> None:
    """An exclusive payload is killed when the lease is over; another one runs on."""
    brain = make_brain(slots=2)
    orders = [make_order(exclusive=True, timelimit=1000.0), make_order(timelimit=1000.0)]
    answer(brain, find_call(brain.plan(0.0)), 0.0, jobs=orders)
    for order in orders:
        brain.handle(events.Began(order.attempt), 0.0)
    call = find_call(brain.plan(0.1))
    brain.handle(events.CallFailed(call.channel, call.body, "away", "lost"), 1.0)
    stops = [one for one in brain.plan(60.0) if isinstance(one, events.Stop)]
    assert [(stop.attempt, stop.force) for stop in stops] == [(orders[0].attempt, True)]


def test_late_answer_of_a_held_call_shortens_no_lease() -> None:
    """The keeper is told of the newest call that was answered, in whatever order the answers come."""
    brain, order = make_brain(slots=2), make_order(exclusive=True)
    held = find_call(brain.plan(0.0))
    answer(brain, held, 0.0, jobs=[order])
    brain.handle(events.Began(order.attempt), 0.0)
    answer(brain, find_call(brain.plan(0.1)), 0.1)
    held = find_call(brain.plan(0.2))
    assert held.body.wait > 0
    quick = find_call(brain.plan(10.3))
    assert events.Refresh(10.3, 60) in answer(brain, quick, 10.4, sent=10.3)
    assert events.Refresh(10.3, 60) in answer(brain, held, 10.5, sent=0.2)


def test_ten_minutes_without_a_server() -> None:
    """At default settings an outage of ten minutes ends no payload but exclusive ones; results are told afterwards."""
    brain, end, now = make_brain(slots=4), 600.0, 0.0
    orders = [make_order(timelimit=3600.0) for _ in range(3)] + [make_order(timelimit=3600.0, exclusive=True)]
    short, *others, exclusive = orders
    answer(brain, find_call(brain.plan(0.0)), 0.0, jobs=orders)
    for order in orders:
        brain.handle(events.Began(order.attempt), 0.0)
    told: list[AttemptReport] = []
    stops: list[tuple[str, float]] = []
    calls: list[float] = []
    while now < end + 60 and not told:
        for one in brain.plan(now):
            match one:
                case events.Call(channel, body) if now < end:
                    calls.append(now)
                    brain.handle(events.CallFailed(channel, body, "away", "refused"), now)
                case events.Call(body=body):
                    told += [report for report in body.reports if report.kind == "succeeded"]
                    answer(brain, one, now)
                case events.Stop(attempt):
                    stops.append((attempt, now))
                    brain.handle(events.Exited(attempt), now)
                    brain.handle(make_end(exclusive, kind="failed", reason=Reason.SIGNAL, signal=9), now)
                case events.Leave():
                    raise AssertionError(one)
                case _:
                    pass
        if now < 100 <= brain.find_next_time(now):
            brain.handle(events.Exited(short.attempt), 100.0)
            brain.handle(make_end(short), 100.0)
        now = brain.find_next_time(now)
    assert stops == [(exclusive.attempt, 60.0)]
    assert [report.attempt for report in told] == [short.attempt]
    assert now <= end + 40
    assert all(order.attempt in brain.roster for order in others)
    # Pauses grow to half a minute, and no two are of the same length.
    pauses = [later - earlier for earlier, later in pairwise(calls) if later > 120]
    assert 20 < min(pauses) < max(pauses) < 40


def test_cycles() -> None:
    """After the configured number of empty polls the pilot says goodbye and leaves with 0."""
    brain, now = make_brain(cycles=2, period=10.0), 0.0
    for _ in range(2):
        call = find_call(brain.plan(now))
        now += 10.0
        answer(brain, call, now, sent=now - 10.0)
    call = find_call(brain.plan(now))
    assert call.body.state == "leaving"
    answer(brain, call, now)
    (leave,) = brain.plan(now)
    assert isinstance(leave, events.Leave)
    assert leave.code == 0


def test_jobs_that_come_too_late_are_handed_back() -> None:
    """A claim that is answered after the pilot began to drain hands its jobs back."""
    brain, order = make_brain(), make_order()
    held = find_call(brain.plan(0.0))
    brain.handle(events.Interrupted(), 0.1)
    decisions = answer(brain, held, 0.2, jobs=[order])
    assert not [one for one in decisions if isinstance(one, events.Launch)]
    assert [(report.attempt, report.kind) for report in brain.ledger.take()] == [(order.attempt, "handed-back")]


def test_one_bad_report_does_not_block_others() -> None:
    """A report that the server cannot take is found by sending one at a time, and dropped."""
    brain = make_brain(slots=2)
    orders = [make_order(), make_order()]
    answer(brain, find_call(brain.plan(0.0)), 0.0, jobs=orders)
    for order in orders:
        brain.handle(events.Began(order.attempt), 0.0)
        brain.handle(events.Exited(order.attempt), 0.1)
        brain.handle(make_end(order), 0.1)
    now, delivered = 0.1, []
    for _ in range(20):
        for call in find_calls(brain.plan(now)):
            if any(report.attempt == orders[0].attempt for report in call.body.reports):
                brain.handle(events.CallFailed(call.channel, call.body, "rejected", "bad"), now)
            else:
                delivered += [report.attempt for report in call.body.reports]
                answer(brain, call, now)
        now += 1.0
    assert delivered == [orders[1].attempt]
    assert brain.ledger.take() == []


@pytest.mark.parametrize(("status", "code"), [(PilotStatus.FAIL, 2), (PilotStatus.KILL, 0), (PilotStatus.DRAIN, 0)])
def test_status(status: PilotStatus, code: int) -> None:
    """FAIL, KILL and DRAIN end the pilot, each with its code."""
    brain = make_brain()
    answer(brain, find_call(brain.plan(0.0)), 0.1, status=status)
    assert play_out(brain).code == code


def test_inconsistent_server() -> None:
    """A server that answers a claim that was not asked is left with code 4."""
    brain = make_brain()
    answer(brain, find_call(brain.plan(0.0)), 0.1, number=7)
    assert play_out(brain).code == 4


def test_job_without_id() -> None:
    """A server that sends a job without its id is left with code 254."""
    brain = make_brain()
    answer(brain, find_call(brain.plan(0.0)), 0.1, jobs=[make_order(attempt="")])
    assert play_out(brain).code == 254


def test_nonsense() -> None:
    """A server whose answers make no sense several times in a row is left with code 3."""
    brain, now = make_brain(), 0.0
    for _ in range(5):
        call = find_call(brain.plan(now))
        brain.handle(events.CallFailed(call.channel, call.body, "nonsense", "<html>"), now)
        now = brain.link.not_before
    assert play_out(brain, now).code == 3


def test_lifetime() -> None:
    """When its lifetime is over a pilot hands back what runs; before, it tells what is left of it."""
    brain, order = make_brain(slots=1, lifetime=100.0), make_order(timelimit=1000.0)
    call = find_call(brain.plan(0.0))
    assert call.body.lifetime == 100.0
    answer(brain, call, 0.0, jobs=[order])
    brain.handle(events.Began(order.attempt), 0.0)
    assert brain.find_next_time(99.0) <= 100.0
    assert [one.attempt for one in brain.plan(100.0) if isinstance(one, events.Stop)] == [order.attempt]
    brain.handle(events.Exited(order.attempt), 100.1)
    brain.handle(make_end(order, kind="failed", reason=Reason.SIGNAL), 100.1)
    assert [report.kind for report in brain.ledger.take() if report.kind != "started"] == ["handed-back"]


def test_resources_bound_claims() -> None:
    """A pilot asks only for what its cpus and memory leave, and not at all when they leave nothing."""
    brain = make_brain(slots=8, cpus=4, memory=1000)
    answer(brain, find_call(brain.plan(0.0)), 0.0, jobs=[make_order(cpus=3, memory=600)])
    answer(brain, find_call(brain.plan(0.1)), 0.1)
    claim = find_call(brain.plan(0.2)).body.claim
    assert claim is not None
    assert (claim.cpus, claim.memory) == (1, 400)
    assert Claim(number=1, want=1, cpus=1).memory is None


class Play:
    """A server and payloads in virtual time around one brain."""

    def __init__(self, slots: int, durations: list[float], faults: list[str], launch: float = 0.0) -> None:
        self.brain = Brain(make_options(Path("/x"), slots=slots, cpus=100, cycles=1, period=5.0), 0.0, Random(1))
        self.slots, self.faults, self.launch = slots, iter(faults), launch
        self.began: dict[str, float] = {}
        self.told: dict[str, float] = {}
        self.waiting = [make_order(timelimit=1000.0) for _ in durations]
        self.durations = {order.attempt: one for order, one in zip(self.waiting, durations, strict=True)}
        self.orders = {order.attempt: order for order in self.waiting}
        self.claims: dict[int, list[JobOrder]] = {}
        self.launched: list[str] = []
        self.finals: dict[str, str] = {}
        self.returned: set[str] = set()
        self.queue: list[tuple[float, int, events.Event]] = []
        self.count = 0

    def push(self, at: float, event: events.Event) -> None:
        self.count += 1
        heapq.heappush(self.queue, (at, self.count, event))

    def serve(self, body: ExchangeBody) -> ExchangeReply:
        reply = ExchangeReply(status=PilotStatus.OK, heartbeat=10, lease=60)
        for report in body.reports:
            repeated = report.kind != "started" and report.attempt in self.finals
            if report.kind != "started":
                self.finals[report.attempt] = report.kind
            if report.kind == "handed-back" and not repeated:
                assert report.attempt not in self.launched
                self.give_anew(report.attempt)
            verdict = "repeated" if repeated else "accepted"
            reply.verdicts.append(
                Verdict.model_validate({"attempt": report.attempt, "kind": report.kind, "verdict": verdict})
            )
        if body.claim is not None:
            number = body.claim.number
            assert number >= max(self.claims, default=0), "an old claim came back"
            if number not in self.claims:
                assert all(known <= body.ack for known in self.claims), "asked anew before the answer arrived"
                chosen, self.waiting = self.waiting[: body.claim.want], self.waiting[body.claim.want :]
                if chosen:
                    self.claims[number] = chosen
            reply.number, reply.jobs = number, self.claims.get(number, [])
        return reply

    def give_anew(self, attempt: str) -> None:
        self.returned.add(attempt)
        order = self.orders[attempt].model_copy(update={"attempt": str(uuid.uuid4())})
        self.orders[order.attempt] = order
        self.durations[order.attempt] = self.durations.pop(attempt)
        self.waiting.append(order)

    def perform(self, instruction: events.Instruction, now: float) -> events.Leave | None:
        match instruction:
            case events.Register():
                self.push(now + 0.01, events.Registered(TERMS))
            case events.Call(channel, body):
                fault = next(self.faults, "none")
                if fault == "lose-request":
                    self.push(now + 0.5, events.CallFailed(channel, body, "away", "lost"))
                    return None
                reply = self.serve(body)
                self.told |= {report.attempt: now for report in body.reports if report.kind == "started"}
                held = body.wait if not (reply.jobs or body.reports) else 0.0
                if fault == "lose-reply":
                    self.push(now + 0.5, events.CallFailed(channel, body, "away", "lost"))
                else:
                    self.push(now + 0.01 + held, events.Answered(channel, body, reply, now))
            case events.Launch(order):
                self.launched.append(order.attempt)
                began = self.began[order.attempt] = now + self.launch
                self.push(began, events.Began(order.attempt))
                self.push(began + self.durations[order.attempt], events.Exited(order.attempt))
            case events.Settle(attempt=attempt):
                self.push(now, make_end(self.orders[attempt]))
            case events.Leave():
                return instruction
            case _:
                pass
        return None

    def run(self) -> events.Leave:
        now = 0.0
        for _ in range(20_000):
            for instruction in self.brain.plan(now):
                leave = self.perform(instruction, now)
                if leave is not None:
                    return leave
            assert len(self.brain.roster) <= self.slots
            next_time = self.brain.find_next_time(now)
            if self.queue and self.queue[0][0] <= next_time:
                now, _, event = heapq.heappop(self.queue)
                for instruction in self.brain.handle(event, now):
                    self.perform(instruction, now)
            else:
                assert next_time > now, "the pilot would spin"
                now = next_time
        raise AssertionError("the pilot never leaves")


@settings(deadline=None)
@example(slots=3, durations=[0.0] * 8 + [3.0] * 3, faults=["none"] * 4 + ["lose-request"], launch=0.0)
@example(slots=3, durations=[0.0] * 8 + [3.0] * 9, faults=["none"] * 4 + ["lose-reply"], launch=0.0)
@given(
    slots=st.integers(1, 4),
    durations=st.lists(st.sampled_from([0.0, 0.001, 0.05, 3.0, 30.0]), max_size=12)
    | st.lists(st.sampled_from([0.001, 0.001, 0.002, 0.05, 3.0]), min_size=12, max_size=60),
    faults=st.lists(st.sampled_from(["none", "none", "lose-request", "lose-reply"]), max_size=30),
    launch=st.sampled_from([0.0, 0.004, 0.015, 0.7]),
)
def test_every_job_runs_and_ends_once(slots: int, durations: list[float], faults: list[str], launch: float) -> None:
    """Whatever calls are lost: each job runs once and is reported, claims follow the protocol, the pilot leaves."""
    play = Play(slots, durations, faults, launch)
    leave = play.run()
    if not faults:
        assert all(play.told[one] <= at + 0.1 for one, at in play.began.items() if play.durations[one] > 1)
    assert leave.code == 0
    if not play.waiting:
        assert sorted(play.launched) == sorted(play.durations)
    assert sorted([*play.launched, *play.returned]) == sorted(play.finals)
    assert {play.finals[one] for one in play.launched} <= {"succeeded"}


def teach(brain: Brain, seconds: float, calls: float = 0.005) -> None:
    """Let jobs and calls have taken so long of late."""
    for _ in range(8):
        brain.ahead.note_run(seconds)
        brain.ahead.note_call(calls)


def end_one(brain: Brain, order: JobOrder, now: float) -> list[events.Instruction]:
    """Let a payload succeed."""
    brain.handle(events.Exited(order.attempt), now)
    return brain.handle(make_end(order), now)


def claim_ahead(brain: Brain, orders: list[JobOrder], extra: list[JobOrder]) -> JobOrder:
    """Run `orders`, let the first one end, and claim `extra` with its report; return the one that ended."""
    launches = answer(brain, find_call(brain.plan(0.0)), 0.0, jobs=orders)
    assert [one.order for one in launches if isinstance(one, events.Launch)] == orders
    for order in orders:
        brain.handle(events.Began(order.attempt), 0.0)
    end_one(brain, orders[0], 0.002)
    call = find_call(brain.plan(0.002))
    assert call.body.claim is not None
    assert call.body.claim.ahead == call.body.claim.want - 1 >= len(extra) - 1
    launched = [one.order for one in answer(brain, call, 0.004, jobs=extra) if isinstance(one, events.Launch)]
    assert launched == extra[:1]
    return orders[0]


def test_short_jobs_are_claimed_ahead() -> None:
    """A pilot whose jobs end quickly has the next ones there when a slot becomes free, and starts them in turn."""
    brain = make_brain(slots=2, cpus=2)
    teach(brain, 0.002)
    running, extra = [make_order(), make_order()], [make_order() for _ in range(4)]
    claim_ahead(brain, running, extra)
    assert [one.order for one in end_one(brain, running[1], 0.005) if isinstance(one, events.Launch)] == [extra[1]]
    assert len(brain.roster) == 2
    body = find_call(brain.plan(brain.find_next_time(0.005))).body
    assert body.claim is not None
    assert body.claim.ahead > 0
    for call in find_calls(brain.plan(11.0)):
        assert call.body.running is None or {extra[2].attempt, extra[3].attempt} <= {*call.body.running}


@pytest.mark.parametrize(
    ("seconds", "end"), [(0.2, {}), (0.002, {"kind": "failed", "reason": Reason.EXIT_CODE})], ids=["long", "failed"]
)
def test_jobs_that_are_long_or_fail_are_not_claimed_ahead(seconds: float, end: dict[str, Any]) -> None:
    """Where jobs take longer, or one has failed, a pilot asks for what it has room for."""
    brain = make_brain(slots=1, cpus=1)
    teach(brain, seconds)
    order = make_order()
    take(brain, order)
    brain.handle(events.Exited(order.attempt), 0.002)
    brain.handle(make_end(order, **end), 0.002)
    claim = find_call(brain.plan(0.002)).body.claim
    assert claim is not None
    assert (claim.want, claim.ahead) == (1, 0)


def test_what_waits_in_vain_is_handed_back() -> None:
    """A job that got no slot within a second goes back without having run, and no others come ahead for a while."""
    brain = make_brain(slots=1, cpus=1)
    teach(brain, 0.002)
    extra = [make_order(), make_order(timelimit=1000.0)]
    claim_ahead(brain, [make_order()], extra)
    brain.handle(events.Began(extra[0].attempt), 0.004)
    now = 0.004
    while now < 1.003:
        for call in find_calls(brain.plan(now)):
            answer(brain, call, now)
        now = brain.find_next_time(now)
    (call,) = find_calls(brain.plan(now))
    assert [(report.attempt, report.kind) for report in call.body.reports] == [(extra[1].attempt, "handed-back")]
    assert call.body.claim is None
    assert brain.ahead.rate == 0


@pytest.mark.parametrize("brought", [0, 1])
def test_lost_claim_is_settled_without_room(brought: int) -> None:
    """A claim ahead was lost and its slot is taken for long: only its answer is asked for, and nothing more is held."""
    brain = make_brain(slots=1, cpus=1)
    teach(brain, 0.002)
    extra, late = [make_order(), make_order(timelimit=1000.0)], make_order()
    claim_ahead(brain, [make_order()], extra)
    brain.handle(events.Began(extra[0].attempt), 0.004)
    assert [one.order for one in end_one(brain, extra[0], 0.006) if isinstance(one, events.Launch)] == [extra[1]]
    brain.handle(events.Began(extra[1].attempt), 0.006)
    lost = find_call(brain.plan(brain.find_next_time(0.006)))
    assert lost.body.claim is not None
    assert lost.body.claim.want == lost.body.claim.ahead > 0
    brain.handle(events.CallFailed(lost.channel, lost.body, "away", "lost"), 0.1)
    now = brain.find_next_time(0.1)
    # What happened is told first.
    answer(brain, find_call(brain.plan(now)), now)
    call = find_call(brain.plan(now))
    assert call.body.claim is not None
    assert (call.body.claim.number, call.body.claim.want, call.body.wait) == (lost.body.claim.number, 0, 0.0)
    answer(brain, call, now, jobs=[late][:brought])
    assert (brain.link.claim, brain.link.ack) == (None, lost.body.claim.number)
    assert list(brain.ahead.waiting) == [late.attempt][:brought]
    launches = [one.order for one in end_one(brain, extra[1], now + 0.1) if isinstance(one, events.Launch)]
    assert launches == [late][:brought]


def test_what_waits_is_given_up_at_once() -> None:
    """A stop order ends a job that waits for a slot, and a pilot that is to leave hands back the others."""
    brain = make_brain(slots=1, cpus=1)
    teach(brain, 0.002)
    extra = [make_order() for _ in range(3)]
    claim_ahead(brain, [make_order()], extra)
    call = find_call(brain.plan(brain.find_next_time(0.004)))
    answer(brain, call, 0.02, stop=[StopOrder(attempt=extra[1].attempt, reason="cancelled")])
    brain.handle(events.Interrupted(), 0.02)
    kinds = {
        report.attempt: report.kind
        for call in find_calls(brain.plan(0.02))
        for report in call.body.reports
        if report.kind != "started"
    }
    assert kinds == {extra[1].attempt: "stopped", extra[2].attempt: "handed-back"}
    assert list(brain.roster.held) == [extra[0].attempt]


def test_large_job_waits_for_its_turn() -> None:
    """What needs the whole pilot is not overtaken by what came after it, and what runs for long is not counted upon."""
    brain = make_brain(slots=2, cpus=2)
    teach(brain, 0.002)
    running, large, small = [make_order(), make_order()], make_order(cpus=2), make_order()
    launches = answer(brain, find_call(brain.plan(0.0)), 0.0, jobs=running)
    assert len([one for one in launches if isinstance(one, events.Launch)]) == 2
    end_one(brain, running[0], 0.002)
    call = find_call(brain.plan(0.002))
    assert call.body.claim is not None
    assert call.body.claim.cpus == 2
    assert not [one for one in answer(brain, call, 0.004, jobs=[large, small]) if isinstance(one, events.Launch)]
    assert [one.order for one in end_one(brain, running[1], 0.005) if isinstance(one, events.Launch)] == [large]
    assert [one.order for one in end_one(brain, large, 0.006) if isinstance(one, events.Launch)] == [small]
