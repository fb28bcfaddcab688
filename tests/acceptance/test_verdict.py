"""Each fault names itself on the overview within 10 s, in a system of real processes."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from p3s.client import Client
from p3s.server.db import Database
from p3s.server.models import process, service
from p3s.wire import AttemptReport, BeatBody, Claim, ExchangeBody, RegisterBody
from tests.acceptance.support import create_job, load
from tests.support.servers import System, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds in which a fault must be told.
SOON = 10.0
UUID = "11111111-2222-4333-8444-000000000001"


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


def report_full_disk(system: System) -> None:
    """Be a pilot whose disk is full."""
    body = RegisterBody(uuid=UUID, host="cramped", pid=1, version="0", slots=1, cpus=1)
    pilot = Client(system.url, (system.home / "pilot.token").read_text().strip())
    secret = pilot.register_pilot(body).secret
    orders = pilot.exchange(UUID, secret, ExchangeBody(claim=Claim(number=1, want=1, cpus=1), wait=SOON))
    (order,) = orders.jobs
    report = AttemptReport(attempt=order.attempt, token=order.token, kind="failed", reason="no-space", message="full")
    pilot.exchange(UUID, secret, ExchangeBody(ack=1, reports=[report]))


def test_each_fault_names_itself(watched):
    """All eight faults, injected one after the other, are told within 10 s of what shows them."""
    system, client = watched, watched.client
    assert list_faults(system) == {}

    create_job(system, "--run", "true", "--jobtype", "roomy")
    await_fault(system, "no pilots", "1 job is ready")

    report_full_disk(system)
    await_fault(system, "full disk", "cramped")
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

    client.beat_service("daq", BeatBody(instance=UUID, host="daq1", pid=1, period=1, arriving=True))
    assert "silent service" not in list_faults(system)
    with open_database(system) as db:
        db.write(lambda connection: connection.execute(sa.update(service).values(seen=service.c.seen - 60)))
    await_fault(system, "silent service", "injector daq")

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
