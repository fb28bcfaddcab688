"""Each fault names itself on the overview within 10 s, in a system of real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from p3s.server.db import Database
from p3s.server.models import process
from p3s.server.queries.arrivals import LEAST_SILENCE
from tests.acceptance.support import create_job, load
from tests.support.programs import lack, need_program
from tests.support.servers import P3S, System, end_process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds in which a fault must be told.
SOON = 10.0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def watched(request, tmp_path) -> Iterator[System]:
    """A system whose pilots are missed after 2 s; two server processes on PostgreSQL."""
    database = None if request.param == "sqlite" else str(request.getfixturevalue("postgres").copy())
    system = System(tmp_path, database, settings={"P3S_LEASE": "2", "P3S_HEARTBEAT": "0.5"})
    system.start_server(*(() if database is None else ("--workers", "2")))
    yield system
    system.stop()


def list_faults(system: System) -> dict[str, str]:
    """Return the faults that the overview names, with their sentences."""
    token = (system.home / "admin.token").read_text().strip()
    request = urllib.request.Request(f"{system.url}/?format=json", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {fault["name"]: fault["sentence"] for fault in json.load(answer)["items"]}


def await_fault(system: System, name: str, words: str) -> None:
    wait_until(lambda: words in list_faults(system).get(name, ""), SOON, f"the fault '{name}' with '{words}'")


def find_workers(system: System) -> list[int]:
    """Return the processes that serve, children of the one that was started."""
    assert system.server is not None
    children = Path(f"/proc/{system.server.pid}/task/{system.server.pid}/children").read_text().split()
    return [int(child) for child in children]


@contextmanager
def run_cramped_pilot(system: System) -> Iterator[None]:
    """Run a pilot whose work folder is a disk of its own, of 1 MB, and full."""
    work = system.folder / "cramped-work"
    work.mkdir()
    where = (need_program("unshare", "util-linux"), "--mount", "--user", "--map-root-user")
    if subprocess.run([*where, "mount", "-t", "tmpfs", "p3s", str(work)], check=False, capture_output=True).returncode:
        lack("no disk can be mounted here (unshare --mount --user --map-root-user mount -t tmpfs)")
    # Mounted in a namespace that ends with the pilot.
    mount = f'mount -t tmpfs -o size=1M p3s {work} && exec "$@"'
    pilot = subprocess.Popen(
        [
            *where,
            "sh",
            "-c",
            mount,
            "sh",
            *P3S,
            "pilot",
            "start",
            "--allow-root",
            "--data",
            str(system.data),
            "--work",
            str(work),
        ],
        env=system.env,
        cwd=system.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(system.folder / "cramped.log").open("wb"),
        start_new_session=True,
    )
    try:
        wait_until(lambda: system.client.list_pilots(live=True).items, 60, "the pilot with little room")
        with pytest.raises(OSError, match="No space left"):
            Path(f"/proc/{pilot.pid}/root{work}/filling").write_bytes(bytes(2_000_000))
        yield
    finally:
        end_process(pilot, signal.SIGKILL)


@contextmanager
def stop_injector(system: System) -> Iterator[float]:
    """Run an injector until it is heard, then stop its process without its knowing; give the time."""
    (system.folder / "in").mkdir()
    text = "name: empty\ndatasets: {raw: {path: raw.csv}}\njobs: {a: {inputs: [raw], run: 'true'}}\n"
    system.write("empty.yaml", text)
    system.write(
        "rules.yaml",
        "name: daq\nevery: 1s\nrules:\n  all: {folder: in, pattern: '.*', workflow: empty.yaml, dataset: raw}\n",
    )
    injector = system.start_process("inject", "start", "rules.yaml", name="inject")
    try:
        wait_until(lambda: system.client.list_services().items, 60, f"the injector ({system.read_log('inject')})")
        injector.send_signal(signal.SIGSTOP)
        yield time.monotonic()
    finally:
        end_process(injector, signal.SIGKILL)


def test_each_fault_names_itself(watched):
    """All eight faults, injected one after the other, are told within 10 s of what shows them."""
    system = watched
    assert list_faults(system) == {}

    with stop_injector(system) as stopped:
        inject_faults(system)
        # Last, because an injector may be silent for a while before that is a fault.
        assert "silent service" not in list_faults(system) or time.monotonic() - stopped > LEAST_SILENCE
        wait = max(0.0, stopped + LEAST_SILENCE - time.monotonic()) + SOON
        wait_until(lambda: "injector daq" in list_faults(system).get("silent service", ""), wait, "the silent injector")


def inject_faults(system: System) -> None:
    client = system.client
    create_job(system, "--run", "true", "--jobtype", "roomy")
    await_fault(system, "no pilots", "1 job is ready")

    with run_cramped_pilot(system):
        await_fault(system, "full disk", "found no room on")
    client.limit_jobtype("roomy", 0)
    await_fault(system, "cap at 0", "roomy")

    client.ban_host("cramped", "its disk is full")
    await_fault(system, "banned host", "its disk is full")

    load(
        system,
        "name: night\ndeadline: 1s\ndatasets: {raw: {path: nothing.csv}}\njobs:\n  a: {inputs: [raw], run: 'true'}\n",
    )
    await_fault(system, "overdue work", "night")

    system.start_pilot("--slots", "2")
    for _ in range(3):
        create_job(system, "--run", "exit 3", "--jobtype", "broken")
    await_fault(system, "failing jobtype", "broken")

    victim = find_workers(system)[0]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: victim not in find_workers(system), 5, "the end of the process")
    system.wait_for_server()
    await_fault(system, "server process killed", f"process {victim}")
    assert time.monotonic() - killed < SOON + 5


def test_an_ordinary_stop_is_no_fault(watched):
    """A server that was told to stop takes its marks away, so its successor finds nothing wrong."""
    with open_database(watched) as db:
        wait_until(lambda: len(list_marks(db)) == len(find_workers(watched)), SOON, "a mark of each process")
        watched.stop_server()
        assert list_marks(db) == []
    watched.start_server()
    assert list_faults(watched) == {}


def list_marks(db: Database) -> list[int]:
    with db.read() as connection:
        return list(connection.scalars(sa.select(process.c.pid)))


@contextmanager
def open_database(system: System) -> Iterator[Database]:
    db = Database(system.database or f"sqlite:///{system.home / 'p3s.sqlite'}")
    yield db
    db.close()
