"""What is measured of the server alone: claims at depth, bulk submissions, large workflows, idle and busy pilots."""

from __future__ import annotations

import os
import resource
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchmarks.cases import make_jobs
from benchmarks.crowd import open_crowd
from benchmarks.faults import Faults, count_faults
from benchmarks.systems import load, open_system, read_jobs
from p3s.client import Client
from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import JobState
from p3s.server.db import Database
from p3s.server.migrations import apply_migrations
from p3s.server.models import job, job_spec
from p3s.server.usecases.core import Core
from p3s.server.usecases.jobs import limit_jobtype
from p3s.server.usecases.standalone import create_jobs
from p3s.settings import Home, ServerSettings
from p3s.wire import CreateJobsBody, StandaloneJob
from tests.support.pilots import ScriptedPilot
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.databases import Postgres
    from tests.support.servers import System

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


def measure_claims(postgres: Postgres | None, depths: tuple[int, int], number: int, *, ahead: str) -> list[float]:
    """Return ms per claim of one job with so many jobs queued ahead, for each depth.

    Parameters
    ----------
    postgres : Postgres or None
        The database; None for SQLite.
    depths : tuple of int
        Jobs queued.
    number : int
        Claims per depth.
    ahead : str
        ``fits`` if the pilot can run what is queued, ``misfits`` if not, ``capped`` if the jobtype of all that is
        queued has as many open jobs as its cap allows; in the two latter cases it claims the last of all.
    """
    found = []
    extra: dict[str, Any] = {"fits": {}, "misfits": {"resources": {"labels": ["gpu"]}}, "capped": {"jobtype": "full"}}
    with open_core(postgres) as core:
        create_jobs(core, CreateJobsBody(jobs=make_jobs(1)), "ann")
        limit_jobtype(core, "full", 0, "ann")
        pilot = ScriptedPilot(core)
        pilot.claim()
        there = 0
        for depth in depths:
            _fill(core, there, depth - there, extra[ahead])
            there = depth
            create_jobs(core, CreateJobsBody(jobs=make_jobs(number + 20)), "ann")
            for _ in range(20):
                assert pilot.claim(ack=False)
            begin = time.perf_counter()
            for _ in range(number):
                assert pilot.claim(ack=False)
            found.append((time.perf_counter() - begin) * 1000 / number)
    return found


def _fill(core: Core, there: int, number: int, extra: dict[str, Any]) -> None:
    """Queue copies of a job, in the database itself: how they came there is another case.

    Those that fit come last in the order of work, because only whole jobs can be run; the others come first.
    """
    spec = StandaloneSpec.model_validate({"payload": "/bin/true", "name": "true"} | extra)
    entry = StandaloneJob(uuid=str(uuid.uuid4()), spec=spec)
    create_jobs(core, CreateJobsBody(jobs=[entry]), "ann")
    names = [column.name for column in job.c if column.name not in {"id", "uuid", "name", "priority"}]
    source = sa.select(job).where(job.c.uuid == entry.uuid).subquery()
    place = sa.select(sa.literal(1).label("n")).cte("places", recursive=True)
    place = place.union_all(sa.select(place.c.n + 1).where(place.c.n < number))
    # Twelve digits, behind those that are there, in the words of both databases.
    digits = sa.cast(place.c.n + sa.literal(10**11 + there, sa.BigInteger), sa.Text)
    copies = sa.select(
        sa.literal("00000000-0000-4000-8000-").concat(digits),
        sa.literal("copy").concat(sa.cast(place.c.n, sa.Text)),
        sa.literal(1 if extra else -1),
        *(source.c[name] for name in names),
    ).select_from(sa.join(place, source, sa.true()))
    core.db.write(
        lambda connection: connection.execute(
            sa.insert(job).from_select(["uuid", "name", "priority", *names], copies, include_defaults=False)
        )
    )

    def finish(connection: sa.Connection) -> None:
        # Each job has its description, as real ones have: databases plan by the sizes of tables.
        body = sa.select(job_spec.c.body).join(job, job.c.id == job_spec.c.job_id).where(job.c.uuid == entry.uuid)
        bare = ~sa.exists().where(job_spec.c.job_id == job.c.id)
        copies = sa.select(job.c.id, body.scalar_subquery()).where(bare)
        connection.execute(sa.insert(job_spec).from_select(["job_id", "body"], copies))
        connection.exec_driver_sql("ANALYZE")

    core.db.write(finish)


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


def measure_finishing(postgres: Postgres | None, pilots: int, number: int) -> tuple[float, Faults]:
    """Return accepted results per second of pilots that finish each job at once, and what went wrong."""
    with open_system(postgres) as system, open_crowd(system.url, _read_token(system), pilots) as crowd:
        batches = [make_jobs(1000) for _ in range(number // 1000)]
        for batch in batches:
            system.client.create_jobs(batch)
        begin = time.perf_counter()
        crowd.work()
        seconds = time.perf_counter() - begin
        jobs = read_jobs(system.client)
        assert crowd.done == len(jobs) == number, f"{crowd.done} accepted, {len(jobs)} finished of {number}"
        return number / seconds, count_faults(system.client, {job.uuid: job.name for job in jobs})


@dataclass(frozen=True, slots=True)
class Idle:
    """What was seen beside idle pilots: ms of other requests and of wake-ups, and the server's share of a core."""

    asked: list[float]
    wakes: list[float]
    share: float


def measure_idle(postgres: Postgres | None, pilots: int, number: int) -> Idle:
    """Return what other requests and wake-ups of one pilot take beside pilots held in long polls."""
    with open_system(postgres) as system, open_crowd(system.url, _read_token(system), pilots) as crowd:
        client = system.client
        crowd.wait()
        wait_until(lambda: count_held(system) >= pilots, 120, f"{pilots} held calls")
        assert system.server is not None
        before = read_cpu(system.server.pid)
        time.sleep(5)
        share = (read_cpu(system.server.pid) - before) / 5
        asked = []
        for _ in range(number):
            begin = time.perf_counter()
            client.ask_who()
            asked.append((time.perf_counter() - begin) * 1000)
        wakes = []
        for count in range(1, number // 10 + 1):
            begin = time.perf_counter()
            client.create_jobs(make_jobs(1))
            wait_until(lambda count=count: len(crowd.woken) >= count, 10, "the wake-up")
            wakes.append((crowd.woken[count - 1] - begin) * 1000)
        crowd.check()
        wait_until(lambda: crowd.done == len(wakes), 10, "the last result")
        assert len(read_jobs(client)) == len(wakes)
        return Idle(asked, wakes, share)


def count_held(system: System) -> int:
    """Return how many long polls the server holds, by its own count."""
    request = urllib.request.Request(
        f"{system.url}/metrics", headers={"Authorization": f"Bearer {_read_token(system)}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("p3s_held_calls "):
                return int(float(line.split()[1]))
    raise AssertionError("the server's metrics do not tell how many calls it holds")


def read_cpu(session: int) -> float:
    """Return the seconds of CPU time that the processes of a session have used."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            # It ended since it was listed.
            continue
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _read_token(system: System) -> str:
    return (system.home / "admin.token").read_text("utf-8").strip()
