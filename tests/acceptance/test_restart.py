"""The server goes away in the middle of the work: afterwards everything is finished, and nothing ran twice."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from p3s.submit import prepare_load
from tests.acceptance.support import await_workflow, finish, load
from tests.support.servers import find_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.support import Journal
    from tests.support.servers import System

WORK = """\
name: restart
defaults: {{env: {env}}}
results: [total]
jobs:
  first:
    matrix: {{n: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}
    outputs: {{part: "part-${{{{ matrix.n }}}}.txt"}}
    run: |
      echo "begin first-$n" >> "$JOURNAL"
      sleep 0.3
      while [ "$n" = 1 ] && [ ! -e "$(dirname "$JOURNAL")/go-first" ]; do sleep 0.05; done
      echo "$n" > "$part"
      echo "end first-$n" >> "$JOURNAL"
  second:
    matrix: {{n: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}
    inputs: [part]
    outputs: {{next: "next-${{{{ matrix.n }}}}.txt"}}
    run: |
      echo "begin second-$n" >> "$JOURNAL"
      while [ "$n" = 1 ] && [ ! -e "$(dirname "$JOURNAL")/go-second" ]; do sleep 0.05; done
      cp "$part" "$next"
      echo "end second-$n" >> "$JOURNAL"
  sum:
    inputs: [next]
    outputs: {{total: total.txt}}
    run: |
      echo "begin sum" >> "$JOURNAL"
      xargs cat < "$next_list" | sort -n | paste -sd+ > "$total"
      echo "end sum" >> "$JOURNAL"
"""
NAMES = [*(f"{stage}-{n}" for stage in ("first", "second") for n in range(1, 11)), "sum"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_everything_finishes_and_nothing_runs_twice(
    both_systems: System, journal: Journal, how: signal.Signals
) -> None:
    """The server dies twice while payloads run; pilots go on, deliver later, and each payload has run once."""
    system = both_systems
    pilots = {name: system.start_pilot("--slots", "2", "--cpus", "2", name=name) for name in ("one", "two")}
    uuid = load(system, WORK.format(env=journal.env))
    for stage in ("first", "second"):
        journal.wait_for(f"begin {stage}-1", 40)
        system.stop_server(how)
        # What runs goes on without a server.
        journal.path.with_name(f"go-{stage}").touch()
        journal.wait_for(f"end {stage}-1")
        system.start_server()
    finish(system, uuid, 60)
    jobs = list(system.client.iterate_jobs(workflow=uuid))
    again = [system.client.show_job(job.uuid) for job in jobs if job.attempt != 1]
    story = {job.name: [(item.number, item.state, item.reason, item.message) for item in job.attempts] for job in again}
    assert story == {}
    assert Counter(journal.read()) == Counter(f"{word} {name}" for name in NAMES for word in ("begin", "end"))
    for n in range(1, 11):
        assert journal.find(f"end first-{n}") < journal.find(f"begin second-{n}")
        assert journal.find(f"end second-{n}") < journal.find("begin sum")
    (total,) = system.client.list_results(uuid).items
    assert total.digest is not None
    assert system.client.fetch_blob(total.digest) == b"1+2+3+4+5+6+7+8+9+10\n"
    ended = {name: pilot.poll() for name, pilot in pilots.items() if pilot.poll() is not None}
    assert ended == {}, [system.read_log(name) for name in ended]


def test_restart_keeps_tokens_and_what_was_acknowledged(both_systems: System) -> None:
    """What the server answered is there after SIGKILL, under the same tokens; a repeated load starts nothing new."""
    system = both_systems
    token = (system.home / "admin.token").read_text(encoding="utf-8")
    body = prepare_load(system.write("dag.yaml", WORK.format(env="{}")), {})
    uuid = system.client.load_workflow(body).uuid
    system.stop_server(signal.SIGKILL)
    system.start_server()
    assert (system.home / "admin.token").read_text(encoding="utf-8") == token
    found = system.client.show_workflow(uuid)
    assert (found.state, found.jobs) == ("running", 21)
    repeated = system.client.load_workflow(body)
    assert (repeated.uuid, repeated.created) == (uuid, False)
    assert [item.uuid for item in system.client.list_workflows().items] == [uuid]


def test_cancel_during_outage_is_not_lost(system: System, journal: Journal) -> None:
    """A workflow that is cancelled right after a restart stops the payload that ran through it."""
    system.start_pilot()
    text = f"name: long\njobs:\n  long: {{run: 'echo begin >> {journal.path}; sleep 60; echo end >> {journal.path}'}}\n"
    uuid = load(system, text)
    journal.wait_for("begin")
    system.stop_server(signal.SIGKILL)
    system.start_server()
    system.client.cancel_workflow(uuid)
    assert await_workflow(system, uuid).state == "cancelled"
    wait_until(lambda: system.client.show_job(f"{uuid}/long").attempts[0].state == "stopped", 40, "the stopped attempt")
    assert journal.read() == ["begin"]


def test_second_server_on_the_same_home_is_refused(system: System) -> None:
    """An embedded database has one server; the second one says who has it and changes nothing."""
    done = system.run("server", "start", "--host", "127.0.0.1", "--port", str(find_port()), check=4)
    assert "another server" in done.stderr
    assert system.client.check_health()


def test_a_port_that_is_taken_is_told_at_once(system: System, tmp_path: Path) -> None:
    """A server whose port is taken says so, ends, and tells no command that it runs there."""
    home = tmp_path / "other"
    done = system.run(
        "server", "start", "--host", "127.0.0.1", "--port", str(system.port), env={"P3S_HOME": str(home)}, check=4
    )
    assert f"port {system.port} of 127.0.0.1 is taken" in done.stderr
    assert not (home / "server.json").exists()
    assert system.client.check_health()
