"""Thousands of requests for each role, on both databases: ``python -m tests.fuzz --seconds 500``.

Each role and database has a process of its own and an even share of the time. What fails is printed with the request
that shows it; the last lines count the requests and their answers.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from schemathesis.generation import GenerationMode

from p3s.settings import Home
from tests.support.api import Api
from tests.support.databases import Postgres, copy_sqlite, make_sqlite_template
from tests.support.fuzz import ROLES, Fuzzer

if TYPE_CHECKING:
    from p3s.server.auth import Role

#: Requests of each operation and kind, before the next round asks for others.
ROUND = 10


def main() -> int:
    """Run, and return 1 if any answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=500.0, help="for all roles and databases together")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--role", choices=[str(role or "none") for role in ROLES], action="append")
    given = parser.parse_args()
    roles = [role for role in ROLES if given.role is None or str(role or "none") in given.role]
    server = Postgres()
    try:
        with tempfile.TemporaryDirectory() as folder:
            template = make_sqlite_template(Path(folder) / "template.sqlite")
            works = []
            for number, role in enumerate(roles):
                own = Path(folder) / str(number)
                own.mkdir()
                works += [(role, own, copy_sqlite(template, own)), (role, own, server.copy())]
            share = given.seconds * given.processes / len(works)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(given.processes, mp_context=context, max_tasks_per_child=1) as pool:
                running = [pool.submit(fuzz, *work, share) for work in works]
                found = [future.result() for future in running]
    finally:
        server.stop()
    wrong = [text for _, texts in found for text in texts]
    print(*wrong, sep="\n")
    for (role, _, address), (seen, texts) in zip(works, found, strict=True):
        kind = address.partition(":")[0].partition("+")[0]
        shown = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
        print(f"{role or 'none'} on {kind}: {sum(seen.values())} requests, {len(texts)} wrong ({shown})")
    print(f"{sum(sum(seen.values()) for seen, _ in found)} requests, {len(wrong)} wrong")
    return 1 if wrong else 0


def fuzz(role: Role | None, folder: Path, address: str, seconds: float) -> tuple[Counter[int], list[str]]:
    """Send requests for so long; return the answers by status, and what was wrong."""
    logging.disable()
    until = time.monotonic() + seconds
    api = Api(address, Home(folder / "home"), submissions=0)
    fuzzer = Fuzzer(api, role)
    while time.monotonic() < until:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            fuzzer.run(mode, ROUND, until)
    api.db.close()
    seen: Counter[int] = Counter()
    for (_, status), count in fuzzer.seen.items():
        seen[status] += count
    return seen, [f"--- {label} as {role or 'none'}\n{text}" for label, text in fuzzer.wrong.items()]


if __name__ == "__main__":
    sys.exit(main())
