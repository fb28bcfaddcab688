"""How long the monitor's pages take on a large PostgreSQL database: every page, filter, export and drawing.

``python -m benchmarks.monitor --jobs 1000000 --workflows 10000`` fills a database, starts a server on it and asks for
each address some times. With ``--database ADDRESS`` it takes that one, and fills it only if it has no jobs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import sqlalchemy as sa

from benchmarks.filling import fill
from p3s.server.db import Database
from p3s.server.models import dataset, job, pilot, workflow
from tests.support.databases import Postgres
from tests.support.servers import System

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Timing", "list_addresses", "main", "make_table", "measure"]

#: Milliseconds that a page may take.
TARGET = 200.0
#: Pages that are lists; each is asked for with each of its filters, and exported.
LISTS = (
    "workflows",
    "archive",
    "jobs",
    "jobtypes",
    "results",
    "datasets",
    "files",
    "datatypes",
    "dags",
    "pilots",
    "hosts",
    "sites",
    "services",
    "events",
)
#: What is typed into a filter: what much fits, what little fits, and what nothing does.
TYPED = {
    "owner": ("user1", "nobody"),
    "name": ("track-7", "dag3", "nothing"),
    "jobtype": ("track", "summary", "nothing"),
    "dag": ("dag3", "nothing"),
    "key": ("out-100", "nothing"),
    "param": ("run=4610", "run=none"),
    "service": ("daq1", "nothing"),
    "rule": ("rule1", "nothing"),
    "uuid": ("1f", "0123456789"),
    "before": ("2020-01-01", "2h"),
    "since": ("2020-01-01", "2h"),
    "number": ("hits",),
    "x": ("run",),
}
SEARCHES = ("1f2e", "dag3", "track-7", "node1", "run=4610", "run=none", "/data/run000007.csv", "/nowhere", "nothing")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one address took, in milliseconds."""

    address: str
    middle: float
    worst: float
    size: int


def list_addresses(db: Database, get: Callable[[str], tuple[int, str]]) -> list[str]:
    """Return every address of the monitor that reads, each list with each of its filters.

    Parameters
    ----------
    db : Database
        Where ids are looked up.
    get : callable
        Asks for an address: its status and its text, where the filters stand.
    """
    found = ["/", "/?format=json", "/metrics", "/overview/series.json?span=hour", "/overview/series.json?span=day"]
    for name in LISTS:
        page = f"/{name}"
        found += [page, f"{page}?format=csv", f"{page}?format=json"]
        text = get(page)[1]
        found += [f"{page}?{one}" for one in _list_filters(text)]
        if older := re.search(r'rel="next" href="([^"]+)"', text):
            found.append(older[1].replace("&amp;", "&"))
    found += [f"/search?q={quote(text, safe='')}" for text in SEARCHES]
    found += ["/results/series.json?dag=dag3&key=hits", "/results/series.json?dag=nothing", "/dags/dag3"]
    return found + list(_list_things(db, get))


def _list_filters(text: str) -> Iterator[str]:
    """Yield what each filter of a page can ask for, by the form that stands on it."""
    forms = "".join(re.findall(r'<form class="filters".*?</form>', text, re.DOTALL))
    for name, choices in re.findall(r'<select[^>]* name="([a-z]+)">(.*?)</select>', forms, re.DOTALL):
        yield from (f"{name}={choice}" for choice in re.findall(r"<option>([^<]+)</option>", choices))
    for name in re.findall(r'<input[^>]* name="([a-z]+)"', forms):
        yield from (f"{name}={quote(value)}" for value in TYPED[name])


def _list_things(db: Database, get: Callable[[str], tuple[int, str]]) -> Iterator[str]:
    """Yield the pages of single things: a large workflow, a failed one and one that runs, with jobs of theirs."""
    large = sa.select(workflow.c.id, workflow.c.uuid).order_by(workflow.c.jobs.desc()).limit(1)
    kinds = [
        sa.select(workflow.c.id, workflow.c.uuid).where(workflow.c.state == state) for state in ("failed", "running")
    ]
    with db.read() as connection:
        rows = [connection.execute(statement.limit(1)).one() for statement in (large, *kinds)]
        jobs = []
        for row in rows:
            ends = [
                sa.select(job.c.uuid).where(job.c.workflow_id == row.id).order_by(job.c.id),
                sa.select(job.c.uuid).where(job.c.workflow_id == row.id).order_by(job.c.id.desc()),
            ]
            jobs += [connection.scalar(statement.limit(1)) for statement in ends]
        others = [
            (name, connection.scalar(sa.select(table.c.uuid).order_by(table.c.id.desc()).limit(1)))
            for name, table in (("pilots", pilot), ("datasets", dataset))
        ]
        wide = connection.scalar(sa.select(dataset.c.uuid).where(dataset.c.producer_id == _first_job(rows[0].id)))
    for row in rows:
        page = f"/workflows/{row.uuid}"
        yield from (page, f"{page}?format=csv", f"{page}?format=json&table=events", f"{page}/timeline.json")
        yield from (f"{page}/graph.json", f"{page}/graph.json?open=*")
        yield from (f"{page}?{one}" for one in _list_filters(get(page)[1]))
    yield from (f"/jobs/{uuid}{rest}" for uuid in jobs for rest in ("", "?format=csv", "/log"))
    yield from (f"/{name}/{uuid}" for name, uuid in [*others, ("datasets", wide)])


def _first_job(ident: int) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.min(job.c.id)).where(job.c.workflow_id == ident).scalar_subquery()


def measure(get: Callable[[str], tuple[int, str]], addresses: Sequence[str], repeats: int) -> list[Timing]:
    """Ask for each address some times, one after the other, and return the times.

    Raises
    ------
    AssertionError
        If an address is not answered: 404 is an answer where a job has no log.
    """
    found = []
    for address in addresses:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            status, text = get(address)
            times.append((time.perf_counter() - start) * 1000)
            assert status == 200 or (status == 404 and address.endswith("/log")), f"{address}: {status} {text[:500]}"
        found.append(Timing(address, median(times), max(times), len(text)))
    return found


def make_table(timings: Sequence[Timing]) -> str:
    """Return a table, the slowest first."""
    lines = ["| address | median ms | worst ms | kB |  |", "| --- | --- | --- | --- | --- |"]
    for one in sorted(timings, key=lambda one: -one.middle):
        size = f"{one.size / 1000:.0f}"
        missed = "over" if one.middle > TARGET else ""
        lines.append(f"| `{one.address}` | {one.middle:.1f} | {one.worst:.1f} | {size} | {missed} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fill, start a server, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description="the monitor's pages, one by one")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--workflows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5, help="how often each address is asked for")
    parser.add_argument("--only", default="", help="a pattern that addresses must fit")
    parser.add_argument("--database", help="a PostgreSQL database of yours; it is filled if it has no jobs")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    postgres = None if chosen.database else Postgres()
    folder = Path(tempfile.mkdtemp(prefix="p3s-bench-"))
    # Pilots that nobody runs are not missed while this lasts.
    system = System(folder, chosen.database or (postgres.copy() if postgres else None), settings={"P3S_LEASE": "3600"})
    db = Database(system.database or "")
    try:
        with db.read() as connection:
            is_empty = connection.scalar(sa.select(job.c.id).limit(1)) is None
        if is_empty:
            start = time.monotonic()
            fill(db, chosen.jobs, chosen.workflows)
            sys.stdout.write(
                f"{chosen.jobs:,} jobs in {chosen.workflows:,} workflows: {time.monotonic() - start:.0f} s\n"
            )
        system.start_server()
        get = _connect(system)
        addresses = [one for one in list_addresses(db, get) if re.search(chosen.only, one)]
        timings = measure(get, addresses, chosen.repeats)
        over = sum(one.middle > TARGET for one in timings)
        sys.stdout.write(make_table(timings) + f"{len(timings)} addresses, {over} over {TARGET:.0f} ms\n")
    finally:
        system.stop()
        db.close()
        if postgres is not None:
            postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _connect(system: System) -> Callable[[str], tuple[int, str]]:
    """Return what asks the server over one kept connection, as an admin, who sees most."""
    connection = HTTPConnection(urlsplit(system.url).netloc, timeout=120)
    token = (system.home / "admin.token").read_text().strip()

    def get(address: str) -> tuple[int, str]:
        connection.request("GET", address, headers={"Authorization": f"Bearer {token}", "Accept": "text/html"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")

    return get


if __name__ == "__main__":
    main()
