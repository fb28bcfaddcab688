"""Faults one by one, with real processes on both databases: frozen and cut-off pilots, lost answers, leftovers."""

from __future__ import annotations

import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from p3s.wire import Claim, ExchangeBody, RegisterBody
from tests.acceptance.support import await_job, create_job, load
from tests.support.servers import end_process, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from p3s.wire import ExchangeReply, JobView
    from tests.acceptance.support import Journal
    from tests.support.databases import MortalPostgres
    from tests.support.servers import System

#: The first payload writes until it is stopped or told to end, the next one ends at once.
TEXT = """
name: fenced
jobs:
  work:
    EXCLUSIVE
    timelimit: 5m
    outputs: {made: made.txt}
    run: |
      echo "$P3S_ATTEMPT" > "$made"
      if mkdir JOURNAL.first; then
        echo begin >> JOURNAL
        while [ ! -e JOURNAL.end ]; do echo beat >> JOURNAL; sleep 0.05; done
        echo end >> JOURNAL
      else
        echo other >> JOURNAL
      fi
"""


def _load(system: System, journal: Journal, exclusive: str) -> str:
    text = TEXT.replace("EXCLUSIVE", f"exclusive: {exclusive}").replace("JOURNAL", str(journal.path))
    return load(system, text)


def _find_job(system: System, workflow: str) -> JobView:
    (found,) = system.client.list_jobs(workflow=workflow).items
    return system.client.show_job(found.uuid)


def _list_folders(system: System, workflow: str) -> list[Path]:
    return list((system.data / workflow / "work").iterdir())


class _Caller:
    """Calls as a pilot does, and does nothing else."""

    def __init__(self, system: System) -> None:
        self._client, self._uuid = system.client, str(uuid.uuid4())
        body = RegisterBody(uuid=self._uuid, host="elsewhere", pid=1, version="0", slots=1, cpus=1)
        self._secret = self._client.register_pilot(body).secret

    def call(self, **fields: Any) -> ExchangeReply:
        return self._client.exchange(self._uuid, self._secret, ExchangeBody(**fields))


def _await_state(system: System, name: str, *states: str) -> None:
    def look() -> bool:
        return any(one.name == name and one.state in states for one in system.client.list_pilots().items)

    wait_until(look, 40, f"pilot {name} being {states}")


def test_exclusive_payload_of_a_frozen_pilot_is_stopped_first(hasty_systems: System, journal: Journal) -> None:
    """When a frozen pilot's lease ends, the keeper has killed its exclusive payload before another pilot begins."""
    system = hasty_systems
    frozen = system.start_pilot(name="frozen")
    workflow = _load(system, journal, "true")
    journal.wait_for("beat")
    await_job(system, _find_job(system, workflow).uuid, "running")
    frozen.send_signal(signal.SIGSTOP)
    system.start_pilot(name="other")
    found = await_job(system, _find_job(system, workflow).uuid)
    lines = journal.read()
    assert lines[-1] == "other"
    frozen.send_signal(signal.SIGCONT)
    _await_state(system, "frozen", "idle")
    found = system.client.show_job(found.uuid)
    assert found.state == "finished"
    assert [(one.number, one.state) for one in sorted(found.attempts, key=lambda one: one.number)] == [
        (1, "lost"),
        (2, "succeeded"),
    ]
    assert journal.read() == lines, "the payload of the frozen pilot wrote on"


def test_late_result_of_a_frozen_pilot_changes_nothing(hasty_systems: System, journal: Journal) -> None:
    """What a payload makes past its pilot's lease does not count, and its folder is deleted."""
    system = hasty_systems
    frozen = system.start_pilot(name="frozen")
    workflow = _load(system, journal, "false")
    journal.wait_for("beat")
    ident = _find_job(system, workflow).uuid
    await_job(system, ident, "running")
    frozen.send_signal(signal.SIGSTOP)
    system.start_pilot(name="other")
    found = await_job(system, ident)
    (place,) = [output.place for output in found.outputs]
    (system.folder / "journal.end").touch()
    journal.wait_for("end")
    frozen.send_signal(signal.SIGCONT)
    _await_state(system, "frozen", "idle")
    after = system.client.show_job(ident)
    winner = next(one.uuid for one in after.attempts if one.state == "succeeded")
    assert [output.place for output in after.outputs] == [place]
    wait_until(lambda: [path.name for path in _list_folders(system, workflow)] == [winner], 20, "one folder")
    assert place is not None
    assert (system.data / workflow / "work" / winner / "made.txt").read_text().strip() == winner
    assert [one.state for one in sorted(after.attempts, key=lambda one: one.number)] == ["lost", "succeeded"]


def test_next_pilot_clears_away_what_a_dead_one_left(hasty_systems: System, journal: Journal) -> None:
    """Outputs and sandbox of a payload that died with its pilot are deleted when its job has ended without success."""
    system = hasty_systems
    dead = system.start_pilot(name="pilot")
    workflow = _load(system, journal, "false")
    journal.wait_for("beat")
    (folder,) = _list_folders(system, workflow)
    end_process(dead, signal.SIGKILL)
    system.client.cancel_workflow(workflow)
    wait_until(lambda: _find_job(system, workflow).attempts[0].state in {"lost", "stopped"}, 30, "the end of the lease")
    system.start_pilot(name="pilot")
    wait_until(lambda: not folder.exists(), 30, "the outputs to be deleted")
    left = system.folder / "pilot-work"
    wait_until(lambda: not list(left.glob(f"*/{folder.name}")), 20, "the sandbox to be deleted")


def test_answer_into_a_dead_connection_comes_back(hasty_systems: System) -> None:
    """A job that was given to a pilot that never heard of it is free again soon, without a cost."""
    system = hasty_systems
    ident = create_job(system, "--run", "true")
    # Right after its start the server ends nothing for one lease, because it may be itself that was away.
    wait_until(lambda: system.client.ask_status().uptime > 5, 30, "a server that has been there for a lease")
    pilot = _Caller(system)
    reply = pilot.call(claim=Claim(number=1, want=1, cpus=1), wait=1)
    assert [order.job for order in reply.jobs] == [ident]

    def is_free_again() -> bool:
        # The pilot is heard again and again, it just never acknowledges.
        pilot.call()
        return system.client.show_job(ident).state == "defined"

    wait_until(is_free_again, 30, "the job's return")
    assert [attempt.state for attempt in system.client.show_job(ident).attempts] == ["handed-back"]


def test_outage_longer_than_a_lease_costs_nothing(hasty_systems: System, journal: Journal) -> None:
    """While the server is away for two leases the payload runs on, and its first attempt counts."""
    system = hasty_systems
    system.start_pilot()
    workflow = _load(system, journal, "false")
    journal.wait_for("beat")
    # The claim is acknowledged; one that was not would be given out again.
    await_job(system, _find_job(system, workflow).uuid, "running")
    system.stop_server(signal.SIGKILL)
    time.sleep(8)
    (system.folder / "journal.end").touch()
    journal.wait_for("end")
    system.start_server()
    found = await_job(system, _find_job(system, workflow).uuid)
    assert [(one.number, one.state) for one in found.attempts] == [(1, "succeeded")]
    assert found.state == "finished"


@pytest.mark.postgres
def test_outage_of_the_database_longer_than_a_lease_costs_nothing(
    mortal: tuple[System, MortalPostgres], journal: Journal
) -> None:
    """While PostgreSQL is away for more than a lease a payload runs on; what was claimed just before is kept, too."""
    system, postgres = mortal
    wait_until(lambda: system.client.ask_status().uptime > 9, 30, "a server that has been there for a lease")
    system.start_pilot("--slots", "1")
    work = _find_job(system, _load(system, journal, "false")).uuid
    journal.wait_for("beat")
    await_job(system, work, "running")
    claimed = create_job(system, "--run", "true")
    other = _Caller(system)
    (order,) = other.call(claim=Claim(number=1, want=1, cpus=1), wait=1).jobs
    postgres.kill(signal.SIGKILL)
    time.sleep(10)
    (system.folder / "journal.end").touch()
    postgres.revive()
    # After an outage a pilot calls with growing pauses; meanwhile the server sweeps.
    time.sleep(2)
    assert other.call(running=[order.attempt], ack=1).stop == []
    assert [(one.number, one.state) for one in system.client.show_job(claimed).attempts] == [(1, "dispatched")]
    found = await_job(system, work)
    assert [(one.number, one.state) for one in found.attempts] == [(1, "succeeded")]
