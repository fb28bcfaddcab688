"""Pause, resume, retry, hosts and backups, through the command line against a real server."""

from __future__ import annotations

import json

from tests.support.servers import System, wait_until

DAG = """\
name: fix
jobs:
  good: {outputs: {g: g.txt}, run: 'echo good > "$g"'}
  bad: {inputs: [g], outputs: {b: b.txt}, run: 'echo bad > "$b"; exit 4'}
  last: {inputs: [b], run: 'cat "$b"'}
"""


def wait_for(system, ident, state):
    """Wait until a workflow is in a state."""
    wait_until(lambda: system.client.show_workflow(ident).state == state, 30, f"workflow {state}")


def test_retry_and_corrections(system: System):
    """A failed workflow is retried as it is, corrected, and from a job on; each says what ran again and why."""
    system.start_pilot("--slots", "2")
    path = system.write("fix.yaml", DAG)
    ident = system.run("workflow", "load", str(path), "--watch", check=1).stdout.split()[0]
    assert "1 finished kept" in system.run("workflow", "retry", ident).stderr
    wait_for(system, ident, "failed")
    assert system.client.show_job(f"{ident}/bad").attempt == 2
    assert system.client.show_job(f"{ident}/good").attempt == 1
    system.run("job", "retry", f"{ident}/bad", "-q")
    wait_for(system, ident, "failed")

    system.write("fix.yaml", DAG.replace("; exit 4", ""))
    done = system.run("workflow", "retry", ident, "--with", str(path), "--watch")
    assert "taken over: good" in done.stderr
    assert "runs again: bad: it did not finish there" in done.stderr
    second = done.stdout.split()[0]
    assert system.client.show_job(f"{second}/good").attempt == 0
    assert "finished" in system.run("workflow", "show", second).stdout

    third = system.run("workflow", "retry", second, "--from", "last", "--watch")
    assert "taken over: good, bad" in third.stderr
    assert "runs again: last: it was named" in third.stderr
    assert system.run("job", "log", f"{third.stdout.split()[0]}/last").stdout == "bad\n"
    system.run("workflow", "retry", second, "--watch", check=64)
    assert "no job 'nobody'" in system.run("workflow", "retry", second, "--from", "nobody", check=64).stderr


def test_pause_and_resume(system: System):
    """What is paused waits and says so; what is resumed runs."""
    path = system.write("fix.yaml", DAG.replace("; exit 4", ""))
    ident = system.run("workflow", "load", str(path), "-q").stdout.strip()
    assert "paused" in system.run("workflow", "pause", ident).stderr
    system.start_pilot()
    assert "paused by" in system.run("why", f"{ident}/good").stdout
    system.run("server", "pause")
    assert "alarm: the server gives out no jobs" in system.run("status").stderr
    assert json.loads(system.run("workflow", "resume", ident, "--json").stdout)["state"] == "running"
    assert "paused by" in system.run("why", f"{ident}/good").stdout
    system.run("server", "resume")
    wait_for(system, ident, "finished")
    assert "finished" in system.run("workflow", "pause", ident, check=4).stderr


def test_hosts(system: System):
    """A banned host is listed with its reason, gets nothing, and is allowed again."""
    system.start_pilot()
    wait_until(lambda: system.client.list_hosts().items, 20, "the pilot's host")
    name = system.run("host", "list", "-q").stdout.strip()
    assert (
        "its disk is being replaced"
        in system.run("host", "ban", name, "--reason", "its disk is being replaced", "--yes").stdout
    )
    assert "banned" in system.run("why", name).stdout
    ident = system.run("job", "create", "standalone", "--run", "true", "-q").stdout.strip()
    assert "banned" in system.run("why", ident).stdout
    system.run("host", "ban", name, check=64)
    assert system.run("host", "ban", name, "--dry-run").returncode == 0
    system.run("host", "allow", name)
    wait_until(lambda: system.client.show_job(ident).state == "finished", 30, "the job")


def test_backup_and_restore(system: System, tmp_path):
    """A backup of a working server restores into another home, whose server knows the same."""
    ident = system.run("job", "create", "standalone", "--run", "true", "-q").stdout.strip()
    saved = tmp_path / "saved.gz"
    assert "1 jobs" in system.run("server", "backup", str(saved)).stderr
    assert "another server runs" in system.run("server", "restore", str(saved), check=4).stderr
    other = System(tmp_path / "other")
    other.folder.mkdir()
    other.run("server", "backup", str(tmp_path / "none.gz"), check=64)
    other.run("server", "restore", str(saved))
    assert "give an empty one" in other.run("server", "restore", str(saved), check=64).stderr
    other.start_server()
    try:
        # A home without a token file gets a new one for the same user.
        assert ident[:8] in other.run("job", "list").stdout
    finally:
        other.stop()
