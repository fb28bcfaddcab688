"""What is measured of the server alone: claims at depth, bulk submissions, large workflows, idle and busy pilots."""

from __future__ import annotations

import resource
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks.cases import make_jobs
from benchmarks.systems import load, open_system
from p3s.client import Client
from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import JobState
from p3s.server.db import Database
from p3s.server.migrations import apply_migrations
from p3s.server.models import job
from p3s.server.usecases.core import Core
from p3s.server.usecases.load import create_jobs
from p3s.settings import Home, ServerSettings
from p3s.wire import AttemptReport, Claim, CreateJobsBody, ExchangeBody, RegisterBody, StandaloneJob
from tests.support.pilots import ScriptedPilot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p3s.wire import ExchangeReply
    from tests.support.databases import Postgres

__all__ = ["measure_claims", "measure_finishing", "measure_idle", "measure_load", "measure_submission"]


@contextmanager
def open_core(postgres: Postgres | None) -> Iterator[Core]:
    """Make the server's code on a database of its own, without HTTP."""
    with TemporaryDirectory() as folder:
        address = postgres.copy() if postgres is not None else f"sqlite:///{folder}/p3s.sqlite"
        db = Database(address)
        if postgres is None:
            apply_migrations(db)
        yield Core(db, ServerSettings(database=address, home=Home(Path(folder))))
        db.close()


def measure_claims(postgres: Postgres | None, depths: tuple[int, int], number: int, *, matching: bool) -> list[float]:
    """Return ms per claim of one job with so many jobs queued ahead, for each depth.

    Parameters
    ----------
    postgres : Postgres or None
        The database; None for SQLite.
    depths : tuple of int
        Jobs queued.
    number : int
        Claims per depth.
    matching : bool
        Whether the pilot can run what is queued; if not, it claims the last of all.
    """
    found = []
    with open_core(postgres) as core:
        create_jobs(core, CreateJobsBody(jobs=make_jobs(1)), "ann")
        pilot = ScriptedPilot(core)
        pilot.claim()
        there = 0
        for depth in depths:
            _fill(core, depth - there, "" if matching else "gpu")
            there = depth
            create_jobs(core, CreateJobsBody(jobs=make_jobs(number + 20)), "ann")
            for _ in range(20):
                assert pilot.claim(ack=False)
            begin = time.perf_counter()
            for _ in range(number):
                assert pilot.claim(ack=False)
            found.append((time.perf_counter() - begin) * 1000 / number)
    return found


def _fill(core: Core, number: int, label: str) -> None:
    """Queue copies of a job, in the database itself: how they came there is another case.

    Those that fit come last in the order of work, because only whole jobs can be run; the others come first.
    """
    resources = {"resources": {"labels": [label]}} if label else {}
    spec = StandaloneSpec.model_validate({"payload": "/bin/true", "name": "true"} | resources)
    entry = StandaloneJob(uuid=str(uuid.uuid4()), spec=spec)
    create_jobs(core, CreateJobsBody(jobs=[entry]), "ann")
    copied = [column for column in job.c if column.name not in {"id", "uuid", "name", "priority"}]
    names = [column.name for column in copied]
    source = sa.select(job).where(job.c.uuid == entry.uuid).subquery()
    for begin in range(0, number, 50_000):
        rows = [{"u": str(uuid.uuid4()), "n": f"copy{place}"} for place in range(begin, min(begin + 50_000, number))]

        def insert(connection: sa.Connection, rows: list[dict[str, str]] = rows) -> None:
            chosen = [source.c[name] for name in names]
            statement = sa.insert(job).from_select(
                ["uuid", "name", "priority", *names],
                sa.select(
                    sa.bindparam("u", type_=sa.Text),
                    sa.bindparam("n", type_=sa.Text),
                    sa.literal(1 if label else -1),
                    *chosen,
                ),
            )
            connection.execute(statement, rows)

        core.db.write(insert)

    def analyse(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ANALYZE")

    core.db.write(analyse)


def measure_submission(postgres: Postgres | None, number: int) -> float:
    """Return standalone jobs per second, submitted over HTTP in requests of 1,000."""
    with open_system(postgres) as system:
        batches = [make_jobs(1000) for _ in range(number // 1000)]
        client = system.client
        begin = time.perf_counter()
        for batch in batches:
            client.create_jobs(batch)
        return number / (time.perf_counter() - begin)


def measure_load(postgres: Postgres | None, number: int) -> tuple[float, float]:
    """Return seconds from sending the YAML of a workflow until all its jobs are ready, and the MB of the server."""
    values = ", ".join(str(value) for value in range(number))
    text = f"name: many\njobs:\n  each:\n    matrix: {{i: [{values}]}}\n    payload: /bin/true\n"
    with open_system(postgres) as system:
        begin = time.perf_counter()
        load(Client(system.url, (system.home / "admin.token").read_text("utf-8").strip()), text)
        while system.client.ask_status().jobs.get(JobState.DEFINED, 0) < number:
            time.sleep(0.2)
        seconds = time.perf_counter() - begin
        assert system.server is not None
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        system.stop()
        return seconds, max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


class _Pilot:
    """A pilot without payloads that speaks real HTTP."""

    def __init__(self, url: str, token: str, slots: int = 1) -> None:
        self._client, self._slots = Client(url, token), slots
        self.uuid, self._number = str(uuid.uuid4()), 0
        body = RegisterBody(uuid=self.uuid, host="bench", pid=1, version="0", slots=slots, cpus=slots)
        self._secret = self._client.register_pilot(body).secret
        self.done = 0

    def ask(self, reply: ExchangeReply | None = None, wait: float = 0.0) -> ExchangeReply:
        """Report what the last answer brought as done, and ask for more."""
        jobs = reply.jobs if reply is not None else []
        reports = [
            AttemptReport(attempt=order.attempt, token=order.token, kind="succeeded", exit_code=0, wall=0.01)
            for order in jobs
        ]
        self._number += 1
        claim = Claim(number=self._number, want=self._slots, cpus=self._slots)
        body = ExchangeBody(ack=self._number - 1, claim=claim, reports=reports, wait=wait)
        answer = self._client.exchange(self.uuid, self._secret, body)
        self.done += sum(verdict.verdict == "accepted" for verdict in answer.verdicts)
        return answer


def measure_finishing(postgres: Postgres | None, pilots: int, number: int) -> float:
    """Return accepted results per second of pilots that finish each job at once."""
    with open_system(postgres) as system:
        for _ in range(number // 1000):
            system.client.create_jobs(make_jobs(1000))
        token = (system.home / "admin.token").read_text("utf-8").strip()
        crew = [_Pilot(system.url, token) for _ in range(pilots)]

        def work(pilot: _Pilot) -> None:
            reply = pilot.ask()
            while reply.jobs:
                reply = pilot.ask(reply)

        threads = [threading.Thread(target=work, args=(pilot,)) for pilot in crew]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begin
        done = sum(pilot.done for pilot in crew)
        finished = system.client.ask_status().jobs.get(JobState.FINISHED, 0)
        assert done == finished == number, f"{done} accepted, {finished} finished of {number}"
        return number / seconds


def measure_idle(postgres: Postgres | None, pilots: int, number: int) -> tuple[list[float], list[float]]:
    """Return ms of other requests, and of wake-ups of one pilot, beside pilots held in long polls."""
    with open_system(postgres) as system:
        token = (system.home / "admin.token").read_text("utf-8").strip()
        crew = [_Pilot(system.url, token) for _ in range(pilots)]
        woken: list[float] = []
        over = threading.Event()

        def wait(pilot: _Pilot) -> None:
            reply = None
            while not over.is_set():
                reply = pilot.ask(reply, wait=30.0)
                if reply.jobs:
                    woken.append(time.perf_counter())

        threads = [threading.Thread(target=wait, args=(pilot,), daemon=True) for pilot in crew]
        for thread in threads:
            thread.start()
        time.sleep(2 + pilots / 100)
        client, asked, wakes = system.client, [], []
        for _ in range(number):
            begin = time.perf_counter()
            client.ask_who()
            asked.append((time.perf_counter() - begin) * 1000)
        for count in range(1, number // 10 + 1):
            begin = time.perf_counter()
            client.create_jobs(make_jobs(1))
            while len(woken) < count:
                time.sleep(0.0005)
            wakes.append((woken[-1] - begin) * 1000)
            time.sleep(0.05)
        over.set()
        return asked, wakes
