"""``p3s purge`` against a real server: what it says, what it does, who may, and a server killed in the middle of it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess

import sqlalchemy as sa

from p3s.server.db import Database
from p3s.server.models import archive, archive_job, event, job, workflow
from tests.support.servers import P3S, wait_until

MANY = "name: many\njobs:\n  each:\n    matrix: {i: [%s]}\n    run: x\n"
JOBS = 900


@contextlib.contextmanager
def open_database(system):
    db = Database(system.database or f"sqlite:///{system.home / 'p3s.sqlite'}")
    with db.read() as connection:
        yield connection
    db.close()


def count(system, table):
    with open_database(system) as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table))


def end_workflow(system, jobs):
    """Load a held workflow, cancel it, and return its uuid: finished work without a pilot."""
    file = system.write("many.yaml", MANY % ", ".join(map(str, range(jobs))))
    uuid = system.run("workflow", "load", str(file), "--hold", "-q").stdout.strip()
    system.run("workflow", "cancel", uuid, "--yes")
    return uuid


def is_added_up(system):
    """Return whether a purge would find all events of jobs added up."""
    with open_database(system) as connection:
        newest = connection.scalar(sa.select(sa.func.max(event.c.id)).where(event.c.noun == "job"))
        place = connection.scalar(sa.text("SELECT value FROM meta WHERE key = 'series'"))
        row = connection.execute(sa.select(event.c.tx, event.c.id).where(event.c.id == newest)).one()
    return place is not None and tuple(json.loads(place)[:2]) >= tuple(row)


def test_server_killed_in_the_middle_of_a_purge(both_systems):
    """Whatever had moved is in the archive, the rest is where it was; the next purge ends it, and all can be shown."""
    system = both_systems
    uuid = end_workflow(system, JOBS)
    wait_until(lambda: is_added_up(system), 60, "the addition of the log")
    dry = system.run("purge", "--older", "0s")
    assert dry.stdout.splitlines()[1].split()[:3] == ["workflows", "1", str(JOBS)]
    assert "nothing was done on" in dry.stderr
    assert count(system, archive) == 0
    command = subprocess.Popen(
        [*P3S, "purge", "--older", "0s", "--yes"],
        env=system.env,
        cwd=system.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    system.processes.append(command)
    wait_until(lambda: count(system, archive_job) > 0, 60, "the first part")
    system.stop_server(signal.SIGKILL)
    with open_database(system) as connection:
        # In one statement: the worker sees a moment later that its master is gone, and goes on until then.
        numbers = [sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in (archive_job, job)]
        moved, left = connection.execute(sa.select(*numbers)).one()
    assert moved + left == JOBS
    assert moved > 0
    system.start_server()
    command.wait(90)
    system.run("purge", "--older", "0s", "--yes", "-q")
    assert [count(system, table) for table in (workflow, job, archive, archive_job)] == [0, 0, 1, JOBS]
    shown = json.loads(system.run("workflow", "show", uuid[:8], "--json").stdout)
    assert (shown["state"], shown["counts"], len(shown["job_list"])) == ("cancelled", {"cancelled": JOBS}, JOBS)
    assert shown["archived"] is not None
    assert uuid[:8] in system.run("workflow", "list", "--archived").stdout
    assert uuid[:8] not in system.run("workflow", "list").stdout
    assert "It is in the archive since" in system.run("why", f"{uuid[:8]}/each-7").stdout
    told = system.run("event", "list", "--id", shown["job_list"][0]["uuid"], "--json").stdout
    assert [one["signal"] for one in json.loads(told)] == ["cancel"]
    refused = system.run("workflow", "retry", uuid, check=4)
    assert "is in the archive" in refused.stderr


def test_purge_is_for_owners_and_admins_and_the_server_itself(system):
    """A submitter purges its own work alone, an admin all, and a server with a policy by itself; bad words are told."""
    bob = {"P3S_TOKEN": system.run("token", "create", "bob", "--role", "submitter").stdout.strip()}
    uuid = end_workflow(system, 2)
    mine = system.run("job", "create", "standalone", "--run", "x", "--hold", "-q", env=bob).stdout.strip()
    system.run("job", "cancel", mine, "--yes", env=bob)
    wait_until(lambda: is_added_up(system), 60, "the addition of the log")
    refused = system.run("purge", "--what", "pilots", "--what", "jobs", env=bob, check=4)
    assert "pilots: only an admin may purge these" in refused.stderr
    assert "is purged by" in system.run("purge", "--owner", "ann", env=bob, check=4).stderr
    done = json.loads(system.run("purge", "--older", "0s", "--yes", "--json", env=bob).stdout)
    assert {item["what"]: item["number"] for item in done["items"]} == {"workflows": 0, "jobs": 1}
    assert "It is in the archive since" in system.run("job", "show", mine).stdout
    system.run("purge", "--older", "soon", check=64)
    system.stop_server()
    system.settings["P3S_PURGE"] = "workflows=never"
    failed = system.start_process("server", "start", "--port", str(system.port), name="refused")
    assert failed.wait(60) == 64
    assert "P3S_PURGE: workflows:" in system.read_log("refused")
    system.settings["P3S_PURGE"] = "workflows=1s, events=90d"
    system.start_server()
    wait_until(lambda: count(system, workflow) == 0, 120, "the daily purge")
    assert system.client.show_workflow(uuid).archived is not None
