"""Many jobs at once, and caps, through the command line against a real server."""

from __future__ import annotations

import json

from tests.support.servers import System, wait_until


def create(system, *options):
    """Create a standalone job and return its id."""
    return system.run("job", "create", "standalone", "--run", "true", *options, "-q").stdout.strip()


def test_adjust_and_delete_by_selection(system: System):
    """Jobs are held, let go, changed and deleted by id or by selection; a dry run does nothing."""
    first, second = create(system, "--jobtype", "wide"), create(system, "--jobtype", "wide")
    other = create(system)
    held = system.run("job", "adjust", "--hold", "--jobtype", "wide", "--yes")
    assert held.stdout.split() == [second, first]
    assert "Somebody holds it" in system.run("why", first).stdout
    dry = system.run("job", "adjust", "--release", "--jobtype", "wide", "--dry-run")
    assert f"would adjust on {system.client.url}" in dry.stderr
    assert dry.stdout == ""
    assert system.client.show_job(first).hold
    system.run("job", "adjust", "--priority", "4", "--timelimit", "2m", first[:10])
    changed = system.client.show_job(first)
    assert (changed.priority, changed.timelimit) == (4, 120.0)
    system.start_pilot()
    wait_until(lambda: system.client.show_job(other).state == "finished", 30, "the job that nobody holds")
    assert system.client.show_job(first).state == "waiting"
    refused = system.run("job", "delete", first, "--yes", check=4)
    assert "`p3s job cancel` ends it" in refused.stderr
    system.run("job", "adjust", "--release", "--uuid", first[:13], "--yes")
    wait_until(lambda: system.client.show_job(first).state == "finished", 30, "the job let go")
    assert system.client.show_job(second).state == "waiting"
    deleted = system.run("job", "delete", "--state", "finished", "--older", "0s", "--yes", "--json")
    assert set(json.loads(deleted.stdout)["done"]) == {first, other}
    assert "no job fits" in system.run("job", "delete", "--state", "finished", "--yes").stderr
    system.run("job", "adjust", "--hold", check=64)
    system.run("job", "adjust", first, "--state", "held", "--hold", check=64)
    system.run("job", "adjust", second, check=64)
    system.run("job", "adjust", first, "--hold", check=5)


def test_cancel_and_retry_by_selection(system: System):
    """Of a selection, what is open is cancelled and what did not finish runs again; a dry run does nothing."""
    gate = system.folder / "gate"
    script = f"test -e {gate}"
    first, second = (create(system, "--jobtype", "wide") for _ in range(2))
    other = create(system)
    dry = system.run("job", "cancel", "--jobtype", "wide", "--dry-run")
    assert f"would cancel on {system.client.url}" in dry.stderr
    system.run("job", "cancel", "--jobtype", "wide", check=64)
    system.run("job", "cancel", check=64)
    assert system.client.show_job(first).state == "defined"
    done = system.run("job", "cancel", "--jobtype", "wide", "--yes", "--json")
    assert set(json.loads(done.stdout)["done"]) == {first, second}
    assert "no job fits" in system.run("job", "cancel", "--jobtype", "wide", "--yes").stderr
    fails = system.run("job", "create", "standalone", "--run", script, "--jobtype", "wide", "-q").stdout.strip()
    system.start_pilot()
    wait_until(lambda: system.client.show_job(fails).state == "failed", 30, "the job that fails")
    wait_until(lambda: system.client.show_job(other).state == "finished", 30, "the job that nobody cancelled")
    gate.touch()
    system.run("job", "retry", "--jobtype", "wide", check=64)
    owner = system.client.show_job(first).owner
    assert "would retry" in system.run("job", "retry", "--owner", owner, "--dry-run").stderr
    again = system.run("job", "retry", "--jobtype", "wide", "--yes").stdout.split()
    assert set(again) >= {first, second, fails}
    wait_until(lambda: system.client.show_job(fails).state == "finished", 30, "the job that is well now")
    wait_until(lambda: system.client.show_job(first).state == "finished", 30, "the job that was cancelled")
    left = system.run("job", "cancel", "--state", "finished", "--yes", check=4)
    assert "is left as it was" in left.stderr
    assert "there is nothing to cancel" in system.run("job", "cancel", fails, "--yes", check=4).stderr


def test_jobtype_limits(system: System):
    """A suspended jobtype waits with the reason shown, and runs when its cap is raised."""
    system.run("jobtype", "limit", "wide", "0")
    system.start_pilot("--slots", "3")
    ident = create(system, "--jobtype", "wide")
    assert "is suspended" in system.run("why", ident).stdout
    assert "suspended" in system.run("jobtype", "list").stdout
    system.run("jobtype", "limit", "wide", "1")
    wait_until(lambda: system.client.show_job(ident).state == "finished", 30, "the job")
    assert json.loads(system.run("jobtype", "limit", "wide", "none", "--json").stdout)["cap"] is None
    system.run("jobtype", "limit", "wide", "many", check=64)
    assert "no label" in system.run("jobtype", "limit", "a b", "1", check=64).stderr


def test_a_cap_holds_with_many_pilots(system: System):
    """However many pilots with free slots ask at once, no more jobs of a type run than its cap says."""
    system.run("jobtype", "limit", "single", "1")
    for number in range(3):
        system.start_pilot("--slots", "4", "--work", f"work-{number}", "--log", f"log-{number}", name=f"pilot-{number}")
    wait_until(lambda: len(system.client.list_pilots(live=True).items) == 3, 60, "three pilots")
    lock = system.folder / "lock"
    script = f"mkdir {lock}; sleep 0.05; rmdir {lock}"
    made = system.run("job", "create", "standalone", "--run", script, "--jobtype", "single", "-N", "24", "-q").stdout
    wait_until(lambda: not system.client.list_jobs(state="defined").items, 60, "that none waits")
    for ident in made.split():
        wait_until(lambda ident=ident: system.client.show_job(ident).state == "finished", 30, f"job {ident}")
    ran = {attempt.pilot for ident in made.split() for attempt in system.client.show_job(ident).attempts}
    assert len(ran) > 1
