"""What is measured of p3s with a real server, a real pilot and real payloads."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

from benchmarks.faults import Faults, count_faults
from benchmarks.idle import measure_idle
from benchmarks.systems import LOOK, load, open_system, read_jobs, wait_for_end
from p3s.clock import read_clock
from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import JobState
from p3s.wire import StandaloneJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.client import Client
    from tests.support.databases import Postgres

__all__ = ["measure_bag", "measure_chain", "measure_fan", "measure_latency"]


def make_jobs(number: int) -> list[StandaloneJob]:
    """Return standalone jobs that run ``/bin/true``."""
    spec = StandaloneSpec.model_validate({"payload": "/bin/true", "name": "true"})
    return [StandaloneJob(uuid=str(uuid.uuid4()), spec=spec) for _ in range(number)]


def measure_bag(postgres: Postgres | None, number: int, slots: int) -> tuple[float, Faults]:
    """Return ms per job of `number` standalone jobs, from before the submission to the last accepted end."""
    with open_system(postgres, slots=slots) as system:
        client = system.client
        jobs = make_jobs(number)
        begin = read_clock()
        client.create_jobs(jobs)
        wait_for_jobs(client, number)
        return _find_span(client, begin) / number, count_faults(client, {job.uuid: "true" for job in jobs})


def measure_chain(postgres: Postgres | None, number: int, slots: int = 2) -> tuple[float, Faults]:
    """Return ms per hop of a chain of jobs, each of which needs the one before it."""
    lines = ["name: chain", "jobs:"]
    for i in range(number):
        needs = f", needs: [j{i - 1}]" if i else ""
        lines.append(f"  j{i}: {{payload: /bin/true{needs}}}")
    parents = {f"j{i}": [f"j{i - 1}"] for i in range(1, number)}
    span, faults = _measure_workflow(postgres, "\n".join(lines) + "\n", slots, parents)
    return span / number, faults


def measure_fan(postgres: Postgres | None, number: int, slots: int = 2) -> tuple[float, Faults]:
    """Return ms per job of one job, then `number` that need it, then one that needs them all."""
    values = ", ".join(str(value) for value in range(number))
    text = (
        "name: fan\njobs:\n  first: {payload: /bin/true}\n"
        f"  each:\n    matrix: {{i: [{values}]}}\n    needs: [first]\n    payload: /bin/true\n"
        "  last: {needs: [each], payload: /bin/true}\n"
    )
    each = [f"each-{i}" for i in range(number)]
    span, faults = _measure_workflow(postgres, text, slots, {name: ["first"] for name in each} | {"last": each})
    return span / (number + 2), faults


def _measure_workflow(
    postgres: Postgres | None, text: str, slots: int, parents: Mapping[str, Sequence[str]]
) -> tuple[float, Faults]:
    """Return the ms from the start of a loaded workflow to its end, and what went wrong."""
    with open_system(postgres, slots=slots) as system:
        client = system.client
        ident = load(client, text, hold=True)
        begin = read_clock()
        client.start_workflow(ident)
        wait_for_end(client, ident)
        jobs = {job.uuid: job.name for job in read_jobs(client, ident)}
        unknown = {*parents, *(name for names in parents.values() for name in names)} - {*jobs.values()}
        assert not unknown, f"no jobs {unknown} to check the order of"
        return _find_span(client, begin, ident), count_faults(client, jobs, parents)


def _find_span(client: Client, begin: float, workflow: str | None = None) -> float:
    # The server runs on this machine, so both ends are of one clock.
    return (max(job.ended or 0.0 for job in read_jobs(client, workflow)) - begin) * 1000


def wait_for_jobs(client: Client, number: int, seconds: float = 300.0) -> None:
    """Wait until so many jobs are finished."""
    end = time.monotonic() + seconds
    while client.ask_status().jobs.get(JobState.FINISHED, 0) < number:
        if time.monotonic() > end:
            raise AssertionError(f"{number} jobs did not end within {seconds:.0f} s: {client.ask_status()}")
        time.sleep(LOOK)


#: A workflow of three jobs in a row, the first of which is given.
THREE = """
name: three
jobs:
  first{number}: {{payload: {payload}, args: {args}}}
  second{number}: {{needs: [first{number}], payload: /bin/true}}
  third{number}: {{needs: [second{number}], payload: /bin/true}}
"""


def measure_latency(
    postgres: Postgres | None, plan: Sequence[tuple[float, int]]
) -> tuple[dict[str, list[list[float]]], Faults]:
    """Return what `benchmarks.idle.measure_idle` does, of a system with one pilot, and what went wrong.

    Parameters
    ----------
    postgres : Postgres or None
        The database.
    plan : sequence of (float, int)
        As there.

    Returns
    -------
    dict of str to list of list of float
        For each entry of the plan the ms of submissions of a ``job``, and of loads of a ``workflow`` of three.
    Faults
        Of all jobs.
    """
    parents: dict[str, list[str]] = {}
    with open_system(postgres, slots=2) as system:
        # One for all: like those of the other engines, it keeps its connection.
        client = system.client

        def submit(command: list[str]) -> None:
            spec = StandaloneSpec.model_validate({"payload": command[0], "args": command[1:]})
            client.create_jobs([StandaloneJob(uuid=str(uuid.uuid4()), spec=spec)])

        def load_three(command: list[str]) -> None:
            number = len(parents)
            parents.update({f"second{number}": [f"first{number}"], f"third{number}": [f"second{number}"]})
            load(client, THREE.format(number=number, payload=command[0], args=json.dumps(command[1:])))

        found = {"job": measure_idle(submit, plan), "workflow": measure_idle(load_three, plan)}
        # The first ones find nothing warm, and are in no number.
        wait_for_jobs(client, 4 * (1 + sum(number for _, number in plan)), 30)
        return found, count_faults(client, {job.uuid: job.name for job in read_jobs(client)}, parents)
