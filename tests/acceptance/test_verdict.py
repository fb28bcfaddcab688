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


def read_page(system: System, address: str) -> str:
    """Return what the monitor shows at an address."""
    token = (system.home / "admin.token").read_text().strip()
    request = urllib.request.Request(f"{system.url}{address}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read(), "utf-8")


def list_faults(system: System, field: str = "sentence") -> dict[str, str]:
    """Return the faults that the overview names, with their sentences."""
    return {fault["name"]: fault[field] for fault in json.loads(read_page(system, "/?format=json"))["items"]}


def await_fault(system: System, name: str, words: str, shown: str) -> None:
    """Wait until a fault is told with some words, and follow its link to a page that shows it."""
    wait_until(lambda: words in list_faults(system).get(name, ""), SOON, f"the fault '{name}' with '{words}'")
    link = list_faults(system, "link")[name]
    text = read_page(system, link.partition("#")[0])
    # The header names all pages.
    assert shown in text.partition("</header>")[2], f"the page {link} of the fault '{name}' does not show '{shown}'"
    anchor = link.partition("#")[2]
    assert not anchor or f'id="{anchor}"' in text


def find_workers(system: System) -> list[int]:
    """Return the processes that serve, children of the one that was started."""
    assert system.server is not None
    children = Path(f"/proc/{system.server.pid}/task/{system.server.pid}/children").read_text().split()
    return [int(child) for child in children]


def find_namespace(folder: Path) -> list[str]:
    """Return how to enter a mount namespace in which a disk can be mounted: as root, or as root of one's own."""
    unshare = need_program("unshare", "util-linux")
    ways = [[unshare, "--mount"], [unshare, "--mount", "--user", "--map-root-user"]]
    mount = ["mount", "-t", "tmpfs", "p3s", str(folder)]
    found = [way for way in ways if subprocess.run([*way, *mount], check=False, capture_output=True).returncode == 0]
    if not found:
        lack("no disk can be mounted here (unshare --mount [--user --map-root-user] mount -t tmpfs)")
    return found[0]


@contextmanager
def run_cramped_pilot(system: System) -> Iterator[None]:
    """Run a pilot whose work folder is a disk of its own, of 1 MB, and full."""
    work = system.folder / "cramped-work"
    work.mkdir()
    where = find_namespace(work)
    # Mounted in a namespace that ends with the pilot, and filled before it starts: small jobs end at once.
    fill = f"head -c 2000000 /dev/zero > {work}/filling"
    mount = f'mount -t tmpfs -o size=1M p3s {work} && {{ {fill}; exec "$@"; }}'
    with (system.folder / "cramped.log").open("wb") as log:
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
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: system.client.list_pilots(live=True).items, 60, "the pilot with little room")
        with pytest.raises(OSError, match="No space left"):
            Path(f"/proc/{pilot.pid}/root{work}/more").write_bytes(bytes(10_000))
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
        await_fault(system, "silent service", "injector daq", '<span class="state silent">')


def inject_faults(system: System) -> None:
    client = system.client
    create_job(system, "--run", "true", "--jobtype", "roomy")
    await_fault(system, "no pilots", "1 job is ready", "<code>p3s pilot start</code> starts one")

    with run_cramped_pilot(system):
        await_fault(system, "full disk", "found no room on", "no-space")
    client.limit_jobtype("roomy", 0)
    await_fault(system, "cap at 0", "roomy", "suspended")

    client.ban_host("cramped", "its disk is full")
    await_fault(system, "banned host", "its disk is full", "its disk is full")

    load(
        system,
        "name: night\ndeadline: 1s\ndatasets: {raw: {path: nothing.csv}}\njobs:\n  a: {inputs: [raw], run: 'true'}\n",
    )
    await_fault(system, "overdue work", "night", ">night<")

    system.start_pilot("--slots", "2")
    for _ in range(3):
        create_job(system, "--run", "exit 3", "--jobtype", "broken")
    await_fault(system, "failing jobtype", "broken", "exit-code")

    victim = find_workers(system)[0]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: victim not in find_workers(system), 5, "the end of the process")
    system.wait_for_server()
    await_fault(system, "server process killed", f"process {victim}", "killed")
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
