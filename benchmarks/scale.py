"""A long run: very many jobs in workflows, through pilots without payloads, while what has ended is archived.

``python -m benchmarks.scale --jobs 100000`` prints, each ten seconds, what was done and how large everything is. It
fails if a job is lost, is run twice, or runs before its parents.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks.crowd import open_crowd
from benchmarks.results import describe_machine
from benchmarks.serving import read_cpu
from benchmarks.systems import open_system
from p3s.client import Client
from p3s.engine.purging import PurgeKind
from p3s.server.db import Database
from p3s.server.models import archive, event, job, workflow
from p3s.wire import LoadBody, PurgeBody
from tests.support.databases import Postgres

if TYPE_CHECKING:
    from benchmarks.crowd import Crowd
    from tests.support.servers import System

__all__ = ["Sample", "main", "make_text", "run_scale"]

#: Jobs of one workflow: one, then three layers, each job of which needs two of the layer before, then one.
LAYER = 32
JOBS = 2 + 3 * LAYER
#: Seconds between two samples, and between two purges.
PAUSE = 10.0
#: Workflows that are loaded ahead of the pilots.
AHEAD = 30


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at a moment.

    Attributes
    ----------
    at : float
        Seconds since the start.
    done : int
        Results accepted.
    rate : float
        Results a second since the last sample.
    memory : float
        MB of the server's processes together.
    cpu : float
        Cores that they used since the last sample.
    database : float
        MB on the disk, with the archive.
    jobs, events, archived : int
        Rows of jobs and of events in the tables of work, and jobs in the archive.
    loop : float
        ms of CPU time that a fixed loop of Python takes, the least of some: how quick the machine is at the moment.
    """

    at: float
    done: int
    rate: float
    memory: float
    cpu: float
    database: float
    jobs: int
    events: int
    archived: int
    loop: float


def list_parents() -> dict[str, list[str]]:
    """Return the jobs of the workflow, `JOBS` in five layers, each with those that it needs."""
    parents: dict[str, list[str]] = {"first": []}
    before = ["first"]
    for layer in range(3):
        names = [f"l{layer}n{place}" for place in range(LAYER)]
        for place, name in enumerate(names):
            parents[name] = sorted({before[place % len(before)], before[(place + 1) % len(before)]})
        before = names
    parents["last"] = before
    return parents


def make_text() -> str:
    """Return the workflow."""
    lines = ["name: scale", "jobs:"]
    lines += [f"  {name}: {{needs: [{', '.join(needs)}], run: x}}" for name, needs in list_parents().items()]
    return "\n".join(lines) + "\n"


class _Work(threading.Thread):
    """Loads workflows, some ahead of the pilots, and archives what has ended."""

    def __init__(self, system: System, crowd: Crowd, workflows: int) -> None:
        super().__init__(daemon=True)
        self._client = _open_client(system)
        self._crowd, self._workflows = crowd, workflows
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            text = make_text()
            for number in range(self._workflows):
                while number * JOBS > self._crowd.done + AHEAD * JOBS:
                    time.sleep(0.05)
                self._client.load_workflow(LoadBody(uuid=str(uuid.uuid4()), text=text))
        except Exception as error:  # noqa: BLE001 - raised by the main thread
            self.error = error


class _Archivist(threading.Thread):
    """Archives what has ended, again and again."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self._client = _open_client(system)
        self._body = PurgeBody(what=[PurgeKind.WORKFLOWS, PurgeKind.EVENTS], older=PAUSE, dry_run=False)
        self._over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._over.wait(PAUSE):
                while self._client.purge(self._body).more and not self._over.is_set():
                    pass
        except Exception as error:  # noqa: BLE001 - raised by the main thread
            self.error = error

    def stop(self) -> None:
        """End after the current purge."""
        self._over.set()
        self.join(120)


def run_scale(postgres: Postgres | None, jobs: int, *, pilots: int, slots: int, archiving: bool) -> list[Sample]:
    """Run so many jobs, rounded up to whole workflows, and return the samples.

    Parameters
    ----------
    postgres : Postgres or None
        The database; None for SQLite.
    jobs : int
        How many.
    pilots, slots : int
        Who runs them.
    archiving : bool
        Whether what has ended is archived meanwhile.
    """
    workflows = -(-jobs // JOBS)
    with open_system(postgres) as system:
        token = (system.home / "admin.token").read_text("utf-8").strip()
        db = Database(system.database or f"sqlite:///{system.home / 'p3s.sqlite'}")
        with open_crowd(system.url, token, pilots, slots) as crowd:
            work, archivist = _Work(system, crowd, workflows), _Archivist(system)
            crowd.parents = list_parents()
            crowd.wait(20.0)
            work.start()
            if archiving:
                archivist.start()
            samples = _watch(system, db, crowd, workflows * JOBS, (work, archivist))
            if archiving:
                archivist.stop()
        _check(db, workflows)
        db.close()
        return samples


def _watch(system: System, db: Database, crowd: Crowd, jobs: int, threads: tuple[_Work, _Archivist]) -> list[Sample]:
    begin = last = time.monotonic()
    done, cpu = 0, _read_cpu(system)
    samples: list[Sample] = []
    while done < jobs:
        end = last + PAUSE
        while crowd.done < jobs and time.monotonic() < end:
            time.sleep(0.05)
        crowd.check()
        for thread in threads:
            if thread.error is not None:
                raise thread.error
        now, used, before, done = time.monotonic(), _read_cpu(system), done, crowd.done
        if done == before and now - last > 120:
            raise AssertionError(f"nothing was done for 120 s after {done} of {jobs} jobs")
        rates = (done - before) / (now - last), (used - cpu) / (now - last)
        samples.append(_sample(system, db, now - begin, done, rates))
        sys.stderr.write(_format(samples[-1]) + "\n")
        last, cpu = now, used
    return samples


def _sample(system: System, db: Database, at: float, done: int, rates: tuple[float, float]) -> Sample:
    with db.read() as connection:
        if db.is_sqlite:
            files = system.home.glob("p3s.sqlite*")
            size = sum(path.stat().st_size for path in files)
        else:
            size = int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)
        counts = [connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (job, event)]
        moved = connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(archive.c.moved), 0))) or 0
    memory = _read_memory(system) / 1e6
    return Sample(at, done, rates[0], memory, rates[1], size / 1e6, counts[0], counts[1], int(moved), _time_loop())


def _time_loop() -> float:
    tries = []
    for _ in range(10):
        begin = time.thread_time()
        found: dict[int, str] = {}
        for number in range(10_000):
            found[number % 100] = str(number)
        tries.append(time.thread_time() - begin)
    return min(tries) * 1000


def _check(db: Database, workflows: int) -> None:
    """Check that each job is there, finished, once, and at its first attempt."""
    with db.read() as connection:
        hot = connection.execute(
            sa.select(job.c.state, job.c.attempt, sa.func.count().label("number")).group_by(job.c.state, job.c.attempt)
        ).all()
        counts = connection.scalars(sa.select(archive.c.counts)).all()
        left = connection.scalar(sa.select(sa.func.count()).select_from(workflow).where(workflow.c.archived.is_(None)))
    odd = [row for row in hot if (row.state, row.attempt) != ("finished", 1)]
    odd += [entry for entry in counts if entry != {"finished": JOBS}]
    if odd or len(counts) + (left or 0) < workflows:
        raise AssertionError(f"{len(counts)} archived and {left} other workflows of {workflows}; odd: {odd[:3]}")


def _read_cpu(system: System) -> float:
    assert system.server is not None
    return read_cpu(system.server.pid)


def _read_memory(system: System) -> int:
    """Return the bytes of memory of the server's processes."""
    assert system.server is not None
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            pages = int((path / "statm").read_text(encoding="utf-8").split()[1])
        except OSError:
            # It ended since it was listed.
            continue
        if int(fields[3]) == system.server.pid:
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def _open_client(system: System) -> Client:
    return Client(system.url, (system.home / "admin.token").read_text("utf-8").strip())


_HEADS = ("s", "done", "jobs/s", "server MB", "cores", "database MB", "jobs", "events", "archived", "loop ms")


def _format(sample: Sample) -> str:
    cells = (
        f"{sample.at:.0f}",
        f"{sample.done:,}",
        f"{sample.rate:.0f}",
        f"{sample.memory:.0f}",
        f"{sample.cpu:.2f}",
        f"{sample.database:.1f}",
        f"{sample.jobs:,}",
        f"{sample.events:,}",
        f"{sample.archived:,}",
        f"{sample.loop:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def make_table(samples: list[Sample], rows: int = 12) -> str:
    """Return a table of some of the samples, the last among them; each rate is that since the row before."""
    step = max(1, -(-len(samples) // rows))
    picked = samples[::-1][::step][::-1]
    chosen = picked[:1]
    for last, one in pairwise(picked):
        chosen.append(replace(one, rate=(one.done - last.done) / (one.at - last.at)))
    lines = ["| " + " | ".join(_HEADS) + " |", "|" + "---|" * len(_HEADS), *map(_format, chosen)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what the command line asks for, on each database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="run very many jobs through p3s")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="how many (default: a million)")
    parser.add_argument("--pilots", type=int, default=16, help="pilots without payloads (default: 16)")
    parser.add_argument("--slots", type=int, default=16, help="jobs that each asks for at a time (default: 16)")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--no-archive", action="store_true", help="let what has ended stay where it is")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/scale.jsonl"), help="add the samples here")
    chosen = parser.parse_args()
    # Servers and databases end with the driver, also where something ends it early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended early"))
    postgres = Postgres() if chosen.database != "sqlite" else None
    wanted: dict[str, Postgres | None] = {"sqlite": None, "postgresql": postgres}
    try:
        for name, database in wanted.items():
            if chosen.database not in {name, "both"}:
                continue
            sys.stderr.write(f"{name}: {' | '.join(_HEADS)}\n")
            samples = run_scale(
                database, chosen.jobs, pilots=chosen.pilots, slots=chosen.slots, archiving=not chosen.no_archive
            )
            with chosen.out.open("a", encoding="utf-8") as file:
                for sample in samples:
                    row = {"system": f"p3s {name}", "machine": describe_machine(), **asdict(sample)}
                    file.write(json.dumps(row) + "\n")
            sys.stdout.write(f"{name}, {samples[-1].done:,} jobs in {samples[-1].at:.0f} s\n\n{make_table(samples)}\n")
    finally:
        if postgres is not None:
            postgres.stop()


if __name__ == "__main__":
    main()
