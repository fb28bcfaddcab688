"""What people do to workflows, jobs and pilots, and what `p3s why` and `p3s job log` tell them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.support import (
    await_gone,
    await_job,
    await_workflow,
    call,
    create_job,
    finish,
    is_alive,
    kill_left_over,
    load,
    read_pids,
    run_text,
)
from tests.support.servers import P3S, wait_until

if TYPE_CHECKING:
    from tests.acceptance.support import Journal
    from tests.support.servers import System

TWO = """\
name: two
jobs:
  first: {{run: echo first >> {path}}}
  second: {{needs: [first], run: echo second >> {path}}}
"""


def test_held_workflow_waits_for_its_start(farm: System, journal: Journal) -> None:
    """`load --hold` stores everything and runs nothing until `workflow start`."""
    path = farm.write("two.yaml", TWO.format(path=journal.path))
    uuid = call(farm, "workflow", "load", "-q", "--hold", str(path)).stdout.strip()
    # Another job passes meanwhile, so the pilot did ask.
    passing = create_job(farm, "--run", "true")
    await_job(farm, passing)
    assert farm.client.show_workflow(uuid).state == "held"
    assert journal.read() == []
    assert "held" in call(farm, "why", uuid).stdout
    assert "held" in call(farm, "why", f"{uuid}/first").stdout
    call(farm, "workflow", "start", uuid)
    finish(farm, uuid)
    assert journal.read() == ["first", "second"]
    # What has started cannot be started again.
    assert call(farm, "workflow", "start", uuid, check=None).code in {0, 4}
    assert journal.read() == ["first", "second"]


def test_cancel_stops_a_running_payload(farm: System, tmp_path: Path) -> None:
    """`workflow cancel` ends the payload with its children and cancels what waits; nothing of it runs later."""
    pids = tmp_path / "pids"
    text = f"""\
name: long
jobs:
  long: {{run: 'echo $$ >> {pids}; setsid sleep 60 & echo $! >> {pids}; sleep 60'}}
  later: {{needs: [long], run: 'true'}}
  always: {{needs: {{long: done}}, run: 'true'}}
"""
    with kill_left_over(pids):
        uuid = load(farm, text)
        family = read_pids(pids, 2)
        await_job(farm, f"{uuid}/long", "running")
        done = call(farm, "workflow", "cancel", "--yes", uuid)
        assert farm.url in done.stderr
        assert "3 jobs cancelled, 1 payload" in done.stderr
        await_gone(family)
    found = await_workflow(farm, uuid)
    assert (found.state, found.counts) == ("cancelled", {"cancelled": 3})
    wait_until(lambda: farm.client.show_job(f"{uuid}/long").attempts[0].state == "stopped", 20, "the stopped attempt")
    assert "cancelled by" in call(farm, "why", f"{uuid}/long").stdout


def test_cancel_stops_one_job_only(farm: System, tmp_path: Path, journal: Journal) -> None:
    """`job cancel` ends one job; its successors are skipped, and the others go on."""
    pids = tmp_path / "pids"
    text = f"""\
name: some
jobs:
  bad: {{run: echo $$ >> {pids}; sleep 60}}
  after: {{needs: [bad], run: 'true'}}
  good: {{run: sleep 1; echo good >> {journal.path}}}
"""
    with kill_left_over(pids):
        uuid = load(farm, text)
        (payload,) = read_pids(pids, 1)
        call(farm, "job", "cancel", "--yes", f"{uuid}/bad")
        await_gone([payload])
        await_workflow(farm, uuid)
    states = {job.name: job.state for job in farm.client.list_jobs(workflow=uuid).items}
    assert states == {"bad": "cancelled", "after": "skipped", "good": "finished"}
    wait_until(lambda: farm.client.show_job(f"{uuid}/bad").attempts[0].state == "stopped", 20, "the stopped attempt")


def test_cancel_and_delete_ask_first(farm: System, journal: Journal) -> None:
    """Off a terminal both need --yes; --dry-run names what it would do and does nothing."""
    path = farm.write("two.yaml", TWO.format(path=journal.path))
    uuid = call(farm, "workflow", "load", "-q", "--hold", str(path)).stdout.strip()
    for verb in ("cancel", "delete"):
        assert "--yes" in call(farm, "workflow", verb, uuid, check=64).stderr
        assert f"would {verb} on {farm.url}" in call(farm, "workflow", verb, "--dry-run", uuid).stderr
    assert farm.client.show_workflow(uuid).state == "held"
    call(farm, "workflow", "delete", "--yes", uuid)
    call(farm, "workflow", "show", uuid, check=5)
    assert uuid not in call(farm, "workflow", "list", "-q", "-n", "1000").stdout


def test_delete_keeps_files_and_refuses_what_runs(farm: System) -> None:
    """A finished workflow is forgotten while its files stay; one that runs must be cancelled first."""
    uuid = run_text(farm, 'name: makes\nresults: [o]\njobs:\n  a: {outputs: {o: o.txt}, run: echo 1 > "$o"}\n')
    (result,) = farm.client.list_results(uuid).items
    call(farm, "workflow", "delete", "--yes", uuid)
    call(farm, "job", "show", f"{uuid}/a", check=5)
    assert Path(result.place).read_text(encoding="utf-8") == "1\n"
    running = create_job(farm, "--run", "sleep 60")
    await_job(farm, running, "running")
    assert "cancel" in call(farm, "workflow", "delete", "--yes", running, check=4).stderr
    call(farm, "job", "cancel", "--yes", running)
    wait_until(lambda: farm.client.show_job(running).attempts[0].state == "stopped", 20, "the stopped attempt")
    call(farm, "workflow", "delete", "--yes", running)


def test_job_is_shown_running_at_once(farm: System, journal: Journal) -> None:
    """A payload that runs is told as running while it runs, also on a pilot with free slots."""
    create_job(farm, "--run", f"echo begun >> {journal.path}; while ! grep -q seen {journal.path}; do sleep 0.05; done")
    journal.wait_for("begun")
    try:
        assert await_job(farm, "@last", "running", seconds=6).state == "running"
    finally:
        with journal.path.open("a", encoding="utf-8") as file:
            file.write("seen\n")
        await_job(farm, "@last")


def test_log_follows_a_running_payload(farm: System, journal: Journal) -> None:
    """`job log -f` shows each line while the payload still runs, and ends with it."""
    script = f"""\
for n in 1 2 3; do
  echo line $n
  while ! grep -qx "seen $n" {journal.path} 2>/dev/null; do sleep 0.05; done
done
echo last
"""
    uuid = create_job(farm, "--run", script, "--timelimit", "1m")
    follower = subprocess.Popen([*P3S, "job", "log", "-f", uuid], env=farm.env, stdout=subprocess.PIPE, cwd=farm.folder)
    try:
        assert follower.stdout is not None
        for number in (1, 2, 3):
            # The payload goes on only after the line was seen here.
            assert follower.stdout.readline() == f"line {number}\n".encode()
            with journal.path.open("a", encoding="utf-8") as file:
                file.write(f"seen {number}\n")
        assert follower.stdout.read() == b"last\n"
        assert follower.wait(20) == 0
    finally:
        with journal.path.open("a", encoding="utf-8") as file:
            file.write("seen 1\nseen 2\nseen 3\n")
        follower.kill()
        follower.communicate()
        await_job(farm, uuid)


def test_log_of_each_attempt(farm: System, journal: Journal) -> None:
    """The newest attempt is shown unless another one is named."""
    text = f"""\
name: tries
jobs:
  flaky:
    retry: 1
    run: |
      echo try >> {journal.path}
      echo "this is try $(wc -l < {journal.path})"
      [ "$(wc -l < {journal.path})" -ge 2 ]
"""
    uuid = run_text(farm, text)
    assert call(farm, "job", "log", f"{uuid}/flaky").stdout == "this is try 2\n"
    assert call(farm, "job", "log", "--attempt", "1", f"{uuid}/flaky").stdout == "this is try 1\n"
    assert call(farm, "job", "log", "--attempt", "3", f"{uuid}/flaky", check=5).stdout == ""


def test_why_of_a_job_that_waits(system: System) -> None:
    """A waiting job names each parent with its state, and the dataset it needs with the job that makes it."""
    text = """\
name: waits
datasets: {raw: /nowhere/raw.csv}
jobs:
  first: {inputs: [raw], outputs: [hits], run: cp "$raw" "$hits"}
  other: {run: 'true'}
  last: {inputs: [hits], needs: [other], run: cat "$hits"}
"""
    uuid = load(system, text)
    assert call(system, "why", f"{uuid}/last").stdout == (
        "It waits for job other (defined), dataset hits from job first (waiting).\n"
    )
    assert call(system, "why", f"{uuid}/first").stdout == (
        "It waits for dataset raw, which nobody has registered (/nowhere/raw.csv); "
        "`p3s dataset register /nowhere/raw.csv` says that it is there.\n"
    )
    answer = json.loads(call(system, "why", "--json", "@last/last").stdout)
    assert (answer["noun"], answer["state"]) == ("job", "waiting")
    assert "no job or dataset '@last/lst'" in call(system, "why", "@last/lst", check=5).stderr
    assert "no workflow 'ffff'" in call(system, "why", "ffff/lst", check=5).stderr
    (raw,) = [item for item in system.client.list_datasets().items if item.key == "raw"]
    assert "p3s dataset register /nowhere/raw.csv" in call(system, "why", raw.uuid).stdout


def test_why_of_a_job_that_nobody_can_take(system: System) -> None:
    """A ready job says that there is no pilot, then what those that there are lack, then that one can run it."""
    text = "name: picky\njobs:\n  one: {resources: {labels: [gpu, fast]}, run: 'true'}\n"
    uuid = load(system, text)
    assert call(system, "why", f"{uuid}/one").stdout == (
        "It is ready, and no pilot is alive; `p3s pilot start` starts one.\n"
    )
    plain = system.start_pilot("--label", "fast", name="plain")
    wait_until(lambda: system.client.list_pilots(live=True).items, 30, "a pilot")
    assert "needs the label gpu" in call(system, "why", f"{uuid}/one").stdout
    assert plain.poll() is None
    (pilot,) = system.client.list_pilots(live=True).items
    wait_until(lambda: system.client.show_pilot(pilot.uuid).state == "idle", 20, "an idle pilot")
    assert "there is no job for it" in call(system, "why", pilot.uuid).stdout
    system.start_pilot("--label", "fast", "--label", "gpu", name="able")
    finish(system, uuid)
    assert call(system, "why", f"{uuid}/one").stdout == "It finished at attempt 1.\n"


def test_why_of_a_job_that_is_too_large(farm: System) -> None:
    """Cpus and memory that no pilot has are named with what there is."""
    text = "name: large\njobs:\n  one: {resources: {cpus: 99, memory: 999GB}, run: 'true'}\n"
    uuid = load(farm, text)
    sentence = call(farm, "why", f"{uuid}/one").stdout
    assert "needs 99 cpus, 8 there" in sentence
    assert "999 GB of memory" in sentence
    call(farm, "workflow", "cancel", "--yes", uuid)


def test_why_of_what_ended_badly(farm: System) -> None:
    """Failed and skipped jobs, their datasets and their workflow say what was the cause."""
    text = """\
name: ends
jobs:
  bad: {outputs: [made], run: exit 3}
  after: {inputs: [made], run: cat "$made"}
  unwanted: {if: "${{ 1 == 2 }}", run: 'true'}
"""
    uuid = load(farm, text)
    assert await_workflow(farm, uuid).state == "failed"
    bad = call(farm, "why", f"{uuid}/bad").stdout
    assert bad.startswith("It failed (exit-code) after 1 attempt(s), and no further try is left")
    assert "exit code 3" in bad
    assert call(farm, "why", f"{uuid}/after").stdout == "It was skipped: job bad is failed.\n"
    assert call(farm, "why", f"{uuid}/unwanted").stdout == "It was skipped: its `if` said no.\n"
    (made,) = farm.client.show_job(f"{uuid}/bad").outputs
    assert call(farm, "why", made.uuid).stdout == "It will not come: job bad, which makes it, is failed.\n"
    assert "failed: bad" in call(farm, "why", uuid).stdout


def test_why_of_a_running_job(farm: System, journal: Journal) -> None:
    """A running job says for how long, where, and when its pilot was last heard."""
    uuid = create_job(farm, "--run", f"while [ ! -e {journal.path} ]; do sleep 0.05; done", "--timelimit", "1m")
    try:
        await_job(farm, uuid, "running")
        sentence = call(farm, "why", uuid).stdout
        assert sentence.startswith("Attempt 1 has been running for ")
        assert "(pilot " in sentence
    finally:
        journal.path.touch()
        await_job(farm, uuid)


def test_load_with_a_key_starts_once(farm: System, journal: Journal) -> None:
    """The same key starts one workflow for ever; the second load answers the first one's id."""
    path = str(farm.write("two.yaml", TWO.format(path=journal.path)))
    first = call(farm, "workflow", "load", "-q", "--key", "run-1", path).stdout
    finish(farm, first.strip())
    assert call(farm, "workflow", "load", "-q", "--key", "run-1", path).stdout == first
    assert journal.read() == ["first", "second"]


def test_watch_exits_with_what_became_of_it(farm: System) -> None:
    """`workflow watch` exits 1 for a workflow that failed, and its JSON lines end with the final state."""
    uuid = load(farm, "name: bad\njobs:\n  bad: {run: exit 1}\n")
    done = call(farm, "workflow", "watch", "--json", uuid, check=1)
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "failed"
    again = call(farm, "workflow", "watch", uuid, check=1)
    assert "1 failed" in again.stdout
    assert "p3s job log --stderr" in again.stderr


def test_pilot_log_is_found(system: System) -> None:
    """`pilot log` prints the log of a pilot on this host, from the folder that it was given."""
    system.start_pilot()
    (pilot,) = wait_until(lambda: system.client.list_pilots(live=True).items, 30, "a pilot")
    done = call(system, "pilot", "log", pilot.uuid, "--log", str(system.folder / "pilot-log"))
    assert pilot.uuid in done.stdout
    assert "pilot-log" not in call(system, "pilot", "list").stderr
    assert is_alive(pilot.pid)
