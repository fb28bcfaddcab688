"""Pilots race, share, drain, are killed and die; every job runs once, and no payload is left behind."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

from p3s.engine.spec import StandaloneSpec
from p3s.submit import prepare_jobs
from tests.acceptance.support import await_gone, await_job, call, create_job, is_alive, kill_left_over, read_pids
from tests.support.folders import find_paths
from tests.support.servers import end_process, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from p3s.wire import PilotView
    from tests.acceptance.support import Journal
    from tests.support.servers import System


def _await_pilots(system: System, count: int) -> list[PilotView]:
    """Return the pilots once so many of them have asked for work and got none."""

    def look() -> list[PilotView] | None:
        found = [pilot for pilot in system.client.list_pilots(live=True).items if pilot.state == "idle"]
        return found if len(found) == count else None

    found: list[PilotView] = wait_until(look, 30, f"{count} idle pilots")
    return found


def _find_pilot(system: System, name: str) -> PilotView:
    return next(pilot for pilot in system.client.list_pilots().items if pilot.name == name)


def _create_many(system: System, count: int, script: str) -> list[str]:
    specs = [StandaloneSpec(name=f"job-{number}", run=script.replace("NUMBER", str(number))) for number in range(count)]
    jobs = prepare_jobs(specs, system.folder)
    return system.client.create_jobs(jobs).uuids


def test_two_pilots_race_for_one_job(both_systems: System, journal: Journal) -> None:
    """Of two idle pilots that are told of the same job at the same time exactly one runs it, round after round."""
    system = both_systems
    for name in ("one", "two"):
        system.start_pilot("--slots", "2", name=name)
    for number in range(10):
        _await_pilots(system, 2)
        (uuid,) = _create_many(system, 1, f"echo round-{number} >> {journal.path}")
        found = await_job(system, uuid)
        assert found.state == "finished"
        assert [attempt.state for attempt in found.attempts] == ["succeeded"]
    assert journal.read() == [f"round-{number}" for number in range(10)]


def test_many_jobs_over_two_pilots_run_once_each(both_systems: System, journal: Journal) -> None:
    """Two hundred short jobs over two pilots: each is in the journal once, and both pilots took part."""
    system = both_systems
    for name in ("one", "two"):
        system.start_pilot("--slots", "4", "--cpus", "4", name=name)
    _await_pilots(system, 2)
    _create_many(system, 200, f"echo NUMBER >> {journal.path}")
    wait_until(lambda: system.client.ask_status().jobs.get("finished") == 200, 60, "the end of 200 jobs")
    assert Counter(journal.read()) == Counter(str(number) for number in range(200))
    jobs = list(system.client.iterate_jobs())
    assert {job.attempt for job in jobs} == {1}
    done = [pilot.done for pilot in system.client.list_pilots().items]
    assert sum(done) == 200
    assert all(done)


def test_slots_bound_what_runs_at_once(system: System, journal: Journal) -> None:
    """A pilot of two slots never runs more than two payloads."""
    system.start_pilot("--slots", "2", "--cpus", "8")
    script = f"echo + >> {journal.path}; sleep 0.15; echo - >> {journal.path}"
    _create_many(system, 8, script)
    wait_until(lambda: journal.read().count("-") == 8, 30, "the end of 8 payloads")
    running = most = 0
    for line in journal.read():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2


def test_cpus_and_memory_bound_their_sums(system: System, journal: Journal, tmp_path: Path) -> None:
    """Payloads that ask for most of a pilot's cpus or memory run one after the other though slots are free."""
    system.start_pilot("--slots", "4", "--cpus", "4", "--memory", "4GB")
    text = f"echo + >> {journal.path}; sleep 0.2; echo - >> {journal.path}"
    specs = [
        StandaloneSpec.model_validate({"run": text, "resources": resources})
        for resources in ({"cpus": 3}, {"cpus": 3}, {"memory": "3GB", "cpus": 2}, {"memory": "3GB", "cpus": 2})
    ]
    system.client.create_jobs(prepare_jobs(specs, tmp_path))
    wait_until(lambda: journal.read().count("-") == 4, 30, "the end of 4 payloads")
    assert journal.read() == ["+", "-"] * 4


def test_pilot_leaves_after_its_idle_cycles(system: System) -> None:
    """After `cycles` empty polls of `period` a pilot exits with 0, and the server knows that it went."""
    pilot = system.start_pilot("--cycles", "2", "--period", "0.5s")
    assert pilot.wait(30) == 0
    (gone,) = system.client.list_pilots().items
    assert gone.state == "stopped"


def test_draining_pilot_finishes_and_takes_no_more(system: System, journal: Journal) -> None:
    """`p3s pilot drain` lets the payload that runs finish; what comes later stays for others."""
    pilot = system.start_pilot("--slots", "2")
    running = create_job(system, "--run", f"echo begin >> {journal.path}; sleep 2; echo end >> {journal.path}")
    journal.wait_for("begin")
    ident = _find_pilot(system, "pilot").uuid
    done = call(system, "pilot", "drain", "--yes", ident)
    assert system.url in done.stderr
    later = create_job(system, "--run", f"echo later >> {journal.path}")
    assert pilot.wait(30) == 0
    assert journal.read() == ["begin", "end"]
    assert await_job(system, running).state == "finished"
    assert system.client.show_job(later).state == "defined"
    assert system.client.show_pilot(ident).state == "stopped"


def test_drain_of_an_idle_pilot_is_immediate(system: System) -> None:
    """An idle pilot hears the order through the call that the server holds."""
    pilot = system.start_pilot()
    (idle,) = _await_pilots(system, 1)
    call(system, "pilot", "drain", "--yes", idle.uuid[:8])
    assert pilot.wait(20) == 0


def test_killed_pilot_gives_its_job_to_another(system: System, journal: Journal, tmp_path: Path) -> None:
    """`p3s pilot kill` ends payload and pilot at once; the job runs again elsewhere, at no cost."""
    pilot = system.start_pilot(name="first")
    pids = tmp_path / "pids"
    wait = f"[ $(wc -l < {pids}) -ge 2 ] || sleep 60"
    script = f"echo $$ >> {pids}; echo begin >> {journal.path}; {wait}; echo end >> {journal.path}"
    with kill_left_over(pids):
        uuid = create_job(system, "--run", script)
        (payload,) = read_pids(pids, 1)
        await_job(system, uuid, "running")
        call(system, "pilot", "kill", "--yes", _find_pilot(system, "first").uuid)
        assert pilot.wait(20) == 0
        assert not is_alive(payload)
        assert system.client.show_job(uuid).state == "defined"
        system.start_pilot(name="second")
        found = await_job(system, uuid)
    assert found.state == "finished"
    assert journal.read() == ["begin", "begin", "end"]
    states = {attempt.number: attempt.state for attempt in found.attempts}
    assert states == {1: "handed-back", 2: "succeeded"}


def test_first_signal_drains_and_second_hands_back(system: System, journal: Journal, tmp_path: Path) -> None:
    """SIGTERM lets payloads finish; a second one stops them, and their jobs go back to the queue."""
    pids = tmp_path / "pids"
    with kill_left_over(pids):
        pilot = system.start_pilot()
        uuid = create_job(system, "--run", f"echo $$ >> {pids}; sleep 60", "--timelimit", "100s")
        (payload,) = read_pids(pids, 1)
        await_job(system, uuid, "running")
        pilot.send_signal(signal.SIGTERM)
        wait_until(lambda: _find_pilot(system, "pilot").state == "draining", 20, "the draining pilot")
        assert is_alive(payload)
        pilot.send_signal(signal.SIGTERM)
        assert pilot.wait(20) == 0
        await_gone([payload])
    found = system.client.show_job(uuid)
    assert (found.state, [attempt.state for attempt in found.attempts]) == ("defined", ["handed-back"])
    assert journal.read() == []


def test_pilot_that_dies_takes_its_payloads_with_it(system: System, tmp_path: Path) -> None:
    """SIGKILL on a pilot ends all that its payloads started, new sessions included."""
    pids = tmp_path / "pids"
    with kill_left_over(pids):
        pilot = system.start_pilot()
        create_job(system, "--run", f"echo $$ >> {pids}; setsid sleep 60 & echo $! >> {pids}; sleep 60")
        family = read_pids(pids, 2)
        # Only the pilot itself: whatever ends its payloads must do so without help.
        pilot.kill()
        pilot.wait(10)
        await_gone(family)


def test_finished_result_survives_server_outage_and_pilot_crash(system: System, journal: Journal) -> None:
    """What a payload made while nobody could take it is delivered by the next pilot with the same work folder."""
    wait = f"while [ ! -e {system.folder}/go ]; do sleep 0.05; done"
    text = f"echo begin >> {journal.path}; {wait}; echo end >> {journal.path}"
    pilot = system.start_pilot()
    uuid = create_job(system, "--run", text)
    journal.wait_for("begin")
    await_job(system, uuid, "running")
    system.stop_server(signal.SIGKILL)
    system.write("go", "")
    journal.wait_for("end")
    wait_until(lambda: find_paths(system.folder / "pilot-work", "*.json"), 20, "the record on disk")
    end_process(pilot, signal.SIGKILL)
    system.start_server()
    system.start_pilot()
    found = await_job(system, uuid)
    assert [(attempt.number, attempt.state) for attempt in found.attempts] == [(1, "succeeded")]
    assert journal.read() == ["begin", "end"]


def test_pilot_that_never_finds_its_server_gives_up(system: System) -> None:
    """Without a server a pilot tries until its limit and exits with 1."""
    system.stop_server()
    pilot = system.start_pilot("--register-limit", "2s")
    assert pilot.wait(30) == 1
    assert "not registered" in system.read_log("pilot")


def test_pilot_with_a_wrong_token_is_refused(system: System) -> None:
    """A pilot whose token the server does not know exits with 2, and the token is in no log."""
    pilot = system.start_pilot(env={"P3S_TOKEN": "p3s_thistokenisnobodysinthewholeworld0000"})
    assert pilot.wait(30) == 2
    assert "thistokenisnobodys" not in system.read_log("pilot")
    assert system.client.list_pilots().items == []


def test_pilot_takes_only_what_it_accepts(system: System, journal: Journal) -> None:
    """A pilot for one jobtype leaves the others for somebody else, whatever their priority."""
    system.start_pilot("--accept-jobtype", "monitor")
    other = create_job(system, "--run", f"echo other >> {journal.path}", "--jobtype", "heavy", "--priority", "9")
    create_job(system, "--run", f"echo mine >> {journal.path}", "--jobtype", "monitor")
    journal.wait_for("mine")
    assert journal.read() == ["mine"]
    assert system.client.show_job(other).state == "defined"
    assert "heavy" in call(system, "why", other).stdout
