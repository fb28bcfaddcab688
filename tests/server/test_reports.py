"""Reports of attempts: taken when they may be, else refused, kept as evidence, and without effect."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.engine.states import Reason
from p3s.server.models import attempt, dataset, event, job
from p3s.server.queries.jobs import show_job
from p3s.server.queries.orders import find_leftovers
from p3s.server.queries.why import explain_job
from p3s.server.transitions.leases import end_silent_pilots
from p3s.server.usecases.acts import cancel_job, store_blob
from p3s.server.usecases.holds import retry_job
from p3s.server.usecases.sweep import sweep
from p3s.wire import ExternalMember, OutputReport
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, make_job, read_states

THERE = {"raw": [ExternalMember(place="/data/raw.csv", available=True, size=3)]}


def read_job(core, uuid):
    """Return a job's row."""
    with core.db.read() as connection:
        return connection.execute(sa.select(job).where(job.c.uuid == uuid)).one()


def lose(core, pilot):
    """End a pilot's attempts as the sweeper does after its lease."""
    core.change("test", lambda ledger: end_silent_pilots(ledger, -1.0, core.rules))


def test_wrong_token_is_refused(core):
    """A report whose token is not the attempt's changes nothing."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    forged = order.model_copy(update={"token": "0" * 64})
    assert pilot.report(forged, "succeeded").verdict == "refused"
    assert read_job(core, ident).state == "dispatched"


def test_unknown_attempt_is_refused(core):
    """A report for an attempt that never was is refused."""
    make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    ghost = order.model_copy(update={"attempt": "00000000-0000-4000-8000-000000000000"})
    assert pilot.report(ghost, "started").verdict == "refused"


def test_a_failure_tells_when_its_payload_began(core):
    """A short payload fails before anybody told of its start: job and attempt have one; what never started has none."""
    short, never = make_job(core, name="short"), make_job(core, name="never")
    pilot = ScriptedPilot(core, slots=2)
    for order in pilot.claim():
        known = {"reason": "exit-code", "exit_code": 1, "wall": 2.0} if order.job == short else {"reason": "refused"}
        pilot.report(order, "failed", **known)
    job_row = read_job(core, short)
    with core.db.read() as connection:
        begun, empty = (show_job(connection, read_job(core, one).id, 0.0).attempts[0] for one in (short, never))
    assert job_row.started == begun.started == job_row.ended - 2.0
    assert (read_job(core, never).started, empty.started) == (None, None)


def test_repeated_success_is_accepted_once(core):
    """A success that arrives twice is answered 'repeated' and counts once."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    assert pilot.succeed(order).verdict == "accepted"
    assert pilot.report(order, "succeeded").verdict == "repeated"
    assert read_job(core, ident).state == "finished"


def test_another_pilot_may_deliver(core):
    """The attempt's token entitles the report, whichever pilot delivers it."""
    ident = make_job(core)
    first, second = ScriptedPilot(core), ScriptedPilot(core)
    (order,) = first.claim()
    assert second.succeed(order).verdict == "accepted"
    assert read_job(core, ident).state == "finished"


def test_zombie_cannot_overwrite_a_newer_attempt(core):
    """After a loss and a new claim, the old attempt's success is superseded, kept as evidence and changes nothing."""
    loaded = load_text(core, DIAMOND, externals=THERE)
    zombie, other = ScriptedPilot(core), ScriptedPilot(core)
    (old,) = zombie.claim()
    zombie.report(old, "started")
    lose(core, zombie)
    core.db.write(lambda connection: connection.execute(sa.update(job).values(not_before=0)))
    sweep(core, leases=False)
    (new,) = other.claim()
    assert (new.job, new.number) == (old.job, 2)
    verdict = zombie.report(old, "succeeded")
    assert verdict.verdict == "superseded"
    assert read_states(core, loaded.uuid)["reduce"] == "dispatched"
    with core.db.read() as connection:
        hits = connection.execute(sa.select(dataset).where(dataset.c.key == "hits")).one()
        story = connection.scalars(sa.select(event.c.signal).where(event.c.uuid == old.attempt)).all()
        shown = show_job(connection, read_job(core, new.job).id, read_clock())
    assert (hits.state, hits.place) == ("expected", None)
    assert "late succeeded" in story
    assert any(entry.signal == "late succeeded" for entry in shown.events)
    assert other.succeed(new).verdict == "accepted"
    with core.db.read() as connection:
        assert new.attempt in connection.scalar(sa.select(dataset.c.place).where(dataset.c.key == "hits"))


def test_late_success_counts_if_nobody_else_began(core):
    """A success that arrives after the lease ended counts when no newer attempt was minted."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    lose(core, pilot)
    assert read_job(core, ident).state == "waiting"
    assert pilot.report(order, "succeeded").verdict == "accepted"
    assert read_job(core, ident).state == "finished"
    with core.db.read() as connection:
        assert connection.execute(sa.select(attempt.c.state, attempt.c.reason)).one() == ("succeeded", None)


def test_a_late_start_does_not_cost_the_success(core):
    """The start of a lost attempt that may still count is no reason to drop what it makes."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    lose(core, pilot)
    assert pilot.report(order, "started").verdict == "repeated"
    assert pilot.report(order, "succeeded").verdict == "accepted"
    assert read_job(core, ident).state == "finished"


def test_what_was_to_be_dropped_is_never_accepted(core):
    """A success that came too late, and comes once more after a retry of its job: its files have gone meanwhile."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    lose(core, pilot)
    cancel_job(core, read_job(core, ident), "ann")
    assert pilot.report(order, "succeeded").verdict == "superseded"
    retry_job(core, read_job(core, ident), "ann")
    assert pilot.report(order, "succeeded").verdict == "superseded"
    assert read_job(core, ident).state == "defined"


def test_why_has_what_the_last_attempt_said(core):
    """A job that no pilot accepts says so, with the pilot's reason, while it waits to be tried again."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    said = "scripts are not accepted here (--accept-payload)"
    assert pilot.report(order, "failed", reason=Reason.REFUSED, message=said).verdict == "accepted"
    with core.db.read() as connection:
        why = explain_job(connection, read_job(core, ident), read_clock())
    assert f"the last one ended with refused ({said})." in why


def test_leftovers_are_told_once_nothing_can_come_of_them(core):
    """A lost attempt may still succeed late, so its folder may go only when another one was made of its job."""
    loaded = load_text(core, DIAMOND, externals=THERE)
    gone, other = ScriptedPilot(core), ScriptedPilot(core)
    (old,) = gone.claim()
    asked = [old.attempt, "00000000-0000-0000-0000-000000000000"]

    def ask():
        with core.db.read() as connection:
            return [
                (one.attempt, one.workflow, one.job_name, one.rejected) for one in find_leftovers(connection, asked)
            ]

    assert ask() == []
    lose(core, gone)
    assert ask() == []
    core.db.write(lambda connection: connection.execute(sa.update(job).values(not_before=0)))
    sweep(core, leases=False)
    (new,) = other.claim()
    assert ask() == [(old.attempt, loaded.uuid, "reduce", True)]
    other.succeed(new)
    asked[1] = new.attempt
    assert sorted(ask(), key=lambda one: one[3]) == [
        (new.attempt, loaded.uuid, "reduce", False),
        (old.attempt, loaded.uuid, "reduce", True),
    ]


def test_outputs_outside_the_fence_are_refused(core):
    """A success that names a file outside its attempt's folder fails the attempt."""
    load_text(core, DIAMOND, externals=THERE)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    for path in ("/data/raw.csv", pilot.place(order, "../../../other/hits.csv")):
        verdict = pilot.report(order, "succeeded", outputs=[OutputReport(name="hits", path=path, size=1)])
        assert verdict.verdict in {"refused", "repeated", "superseded"}
        assert read_job(core, order.job).reason == "missing-output"


def test_success_must_name_every_output(core):
    """A success that leaves out a declared output is no success."""
    load_text(core, DIAMOND, externals=THERE)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    verdict = pilot.report(order, "succeeded", outputs=[])
    assert verdict.verdict == "refused"
    assert "hits" in verdict.message
    row = read_job(core, order.job)
    assert (row.state, row.reason) == ("failed", "missing-output")


def test_results_must_be_uploaded_first(core):
    """A success that names a result whose content the server has not is refused; with it, the digest is kept."""
    text = "name: r\nresults: [r]\njobs:\n  a: {outputs: {r: r.json}, retry: 1, run: x}\n"
    load_text(core, text)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    assert order.outputs[0].result
    assert "not uploaded" in pilot.report(order, "succeeded").message
    (again,) = pilot.claim()
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    store_blob(core, digest, b"{}", pilot.uuid)
    output = OutputReport(name="r", path=pilot.place(again, "r.json"), size=2, digest=digest)
    assert pilot.report(again, "succeeded", outputs=[output]).verdict == "accepted"


def test_retry_spends_the_payload_budget(core):
    """A payload that fails is tried again as often as `retry` says, then fails for good."""
    ident = make_job(core, retry=2)
    pilot = ScriptedPilot(core)
    for number in (1, 2, 3):
        (order,) = pilot.claim()
        assert order.number == number
        pilot.fail(order, exit_code=9)
    row = read_job(core, ident)
    assert (row.state, row.reason, row.failures) == ("failed", "exit-code", 3)
    assert pilot.claim() == []


def test_backoff_holds_the_next_try_back(core):
    """With a backoff the job waits, and `why` says for how long; the sweeper releases it when it is over."""
    ident = make_job(core, retry={"max": "1", "backoff": "60"})
    pilot = ScriptedPilot(core)
    pilot.fail(pilot.claim()[0])
    row = read_job(core, ident)
    assert row.state == "waiting"
    assert row.not_before > read_clock() + 50
    sweep(core, leases=False)
    assert pilot.claim() == []
    core.db.write(lambda connection: connection.execute(sa.update(job).values(not_before=0)))
    sweep(core, leases=False)
    assert len(pilot.claim()) == 1


def test_retry_when_names_reasons_and_codes(core):
    """`when` tries again on the named reasons and exit codes only."""
    ident = make_job(core, retry={"max": "3", "when": ["75", "timelimit"]})
    pilot = ScriptedPilot(core)
    pilot.fail(pilot.claim()[0], exit_code=75)
    pilot.fail(pilot.claim()[0], reason="timelimit", exit_code=None)
    pilot.fail(pilot.claim()[0], exit_code=1)
    assert read_job(core, ident).state == "failed"


def test_handing_back_costs_nothing(core):
    """What a pilot hands back is claimable at once, and neither budget is touched."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    for _ in range(8):
        pilot.report(pilot.claim()[0], "handed-back", reason="handed-back")
    row = read_job(core, ident)
    assert (row.state, row.failures, row.losses) == ("defined", 0, 0)


def test_infrastructure_losses_have_a_budget_of_their_own(core):
    """Losses that are not the payload's doing are tried again five times, then the job fails."""
    ident = make_job(core)
    pilot = ScriptedPilot(core)
    for _ in range(6):
        core.db.write(lambda connection: connection.execute(sa.update(job).values(not_before=0)))
        sweep(core, leases=False)
        (order,) = pilot.claim()
        pilot.report(order, "failed", reason="nonstarter", message="no such file")
    row = read_job(core, ident)
    assert (row.state, row.reason, row.losses, row.failures) == ("failed", "nonstarter", 6, 0)


def test_start_and_end_in_one_call(core):
    """One call may carry the start and the end of an attempt, and a claim for the next job."""
    first, second = make_job(core), make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    assert order.job == first
    reports = [
        pilot.make_report(order, "started"),
        pilot.make_report(order, "succeeded", stdout=b"hi\n", stdout_size=3),
    ]
    (following,) = pilot.claim(reports=reports)
    assert following.job == second
    row = read_job(core, first)
    assert row.state == "finished"
    assert row.started <= row.ended


def test_attempts_keep_what_was_measured(core):
    """An attempt keeps exit code, times and peak memory."""
    make_job(core)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    pilot.report(order, "failed", reason="exit-code", exit_code=3, wall=1.5, cpu_time=0.5, peak_memory=4096)
    with core.db.read() as connection:
        row = connection.execute(sa.select(attempt)).one()
    assert (row.state, row.exit_code, row.wall, row.cpu_time, row.peak_memory) == ("failed", 3, 1.5, 0.5, 4096)
