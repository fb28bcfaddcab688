"""Where the time goes from a submission to the payload's first instruction, hop by hop, on an idle system.

``python -m benchmarks.trace`` prints a table for SQLite; ``--postgres`` takes PostgreSQL. Server and pilot run as their
users run them, with a time stamp written at each function of `HOPS`; all stamps are of the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import uuid
from functools import wraps
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.cases import wait_for_jobs
from benchmarks.idle import measure_idle
from benchmarks.systems import open_system
from p3s.engine.spec import StandaloneSpec
from p3s.wire import StandaloneJob
from tests.support.databases import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

#: (what has happened, who did it, module, name of the function in it, at its begin or its end), in the order of a job's
#: road. What another request does in between is passed over: of each hop the first stamp after the one before counts.
HOPS = (
    ("the request is made", "client", "p3s.client.pool", "PoolTransport._take", "end"),
    ("a thread of the server takes it", "server", "p3s.server.worker", "StayingWorker._answer", "begin"),
    ("the request is read", "server", "p3s.server.shortcut", "_find_submission", "begin"),
    ("it is let in and decoded", "server", "p3s.server.shortcut", "create_jobs", "begin"),
    ("the jobs are planned", "server", "p3s.server.usecases.core", "Core.change", "begin"),
    ("the job is stored, claimed and committed", "server", "p3s.server.db", "Database.write", "end"),
    ("the held call wakes", "server", "p3s.server.usecases.wakeups", "Waiter.wait", "end"),
    ("its order is written down", "server", "p3s.server.shortcut", "hold_back", "begin"),
    ("the pilot has read it", "pilot", "p3s.pilot.callers", "_hear", "end"),
    ("its loop takes it up", "pilot", "p3s.pilot.hands", "Hands.launch", "begin"),
    ("the sandbox is made", "pilot", "p3s.pilot.hands", "start_payload", "begin"),
    ("the process is started", "pilot", "p3s.pilot.hands", "start_payload", "end"),
    ("the payload runs", "payload", "", "", ""),
)


def stamp(path: str, program: str) -> None:
    """Have this process write a line at each of its hops."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for place, (_, who, module, name, when) in enumerate(HOPS):
        if who != program or (module, name, when) in [hop[2:] for hop in HOPS[:place]]:
            continue
        owner: Any = importlib.import_module(module)
        *parents, last = name.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, last, _wrap(getattr(owner, last), log, f"{module} {name} {when}", at_end=when == "end"))


def _wrap(function: Callable[..., Any], log: int, label: str, *, at_end: bool) -> Callable[..., Any]:
    def note() -> None:
        os.write(log, f"{time.monotonic():.7f} {label}\n".encode())

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not at_end:
            note()
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            note()

    return wrapped


def measure(postgres: Postgres | None, number: int, pause: float) -> list[list[float]]:
    """Return for each submission the ms between its hops."""
    program = (sys.executable, "-m", "benchmarks.trace", "--stamp", "stamps")
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with open_system(postgres, slots=2, program=program, settings=root) as system:
        client, begins = system.client, []
        stamp(str(system.folder / "stamps"), "client")

        def submit(command: list[str]) -> None:
            begins.append(time.monotonic())
            spec = StandaloneSpec.model_validate({"payload": command[0], "args": command[1:]})
            client.create_jobs([StandaloneJob(uuid=str(uuid.uuid4()), spec=spec)])

        (found,) = measure_idle(submit, [(pause, number)])
        # The first one finds nothing warm.
        begins = begins[1:]
        ends = [begin + ms / 1000 for begin, ms in zip(begins, found, strict=True)]
        wait_for_jobs(client, number + 1, 30)
        lines = (system.folder / "stamps").read_text(encoding="utf-8").splitlines()
    stamps = sorted((float(at), label) for at, _, label in (line.partition(" ") for line in lines))
    return [_find_steps(begin, end, stamps) for begin, end in zip(begins, ends, strict=True)]


def _find_steps(begin: float, end: float, stamps: list[tuple[float, str]]) -> list[float]:
    steps = []
    last = begin
    for _, who, module, name, when in HOPS:
        label = f"{module} {name} {when}"
        at = end if who == "payload" else next(at for at, found in stamps if at > last and found == label)
        steps.append((at - last) * 1000)
        last = at
    return steps


def make_table(steps: list[list[float]]) -> str:
    """Return a table of the hops with their medians, least and most."""
    lines = ["| hop | who | median ms | least | most |", "| --- | --- | --- | --- | --- |"]
    columns = [*zip(*steps, strict=True), [sum(row) for row in steps]]
    names = [*((what, who) for what, who, *_ in HOPS), ("submission to payload", "")]
    for (what, who), values in zip(names, columns, strict=True):
        lines.append(f"| {what} | {who} | {median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, or, started by itself in place of a program of p3s, be that program with stamps."""
    if sys.argv[1:2] == ["--stamp"]:
        path, *words = sys.argv[2:]
        stamp(path, words[0])
        from p3s.cli.main import run_command  # noqa: PLC0415 - after the functions are wrapped

        sys.exit(run_command(words))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace", description="one job's road, hop by hop")
    parser.add_argument("-n", "--number", type=int, default=40, help="submissions")
    parser.add_argument("--pause", type=float, default=0.15, help="seconds without work before each")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    chosen = parser.parse_args()
    postgres = Postgres() if chosen.postgres else None
    try:
        sys.stdout.write(make_table(measure(postgres, chosen.number, chosen.pause)))
    finally:
        if postgres is not None:
            postgres.stop()


if __name__ == "__main__":
    main()
