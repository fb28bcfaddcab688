"""procrastinate on the PostgreSQL of the benchmark: tasks and their ends are committed there, as p3s commits them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from functools import partial

import procrastinate

from benchmarks.idle import measure_idle
from benchmarks.peers import read_plan, show

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["P3S_BENCH_POSTGRES"]))
done = 0
ended = asyncio.Event()


@app.task
async def run(left: int, expected: int, command: tuple[str, ...] = ("/bin/true",)) -> None:
    """Start one process; in a chain, ask for the next."""
    global done  # noqa: PLW0603 - tasks are functions by name, and the worker is this process
    await asyncio.to_thread(subprocess.run, command, check=True)
    done += 1
    if left:
        await run.defer_async(left=left - 1, expected=expected)
    if done == expected:
        ended.set()


def submit(loop: asyncio.AbstractEventLoop, command: list[str]) -> None:
    """Ask for one process, from another thread."""
    asyncio.run_coroutine_threadsafe(run.defer_async(left=0, expected=0, command=command), loop).result()


async def measure(kind: str, number: int, slots: int) -> float | list[list[float]]:
    """Return the seconds from the first submission to the last end, or what `measure_idle` does."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(app.run_worker_async(concurrency=slots, install_signal_handlers=False))
        # A first task, so that the worker listens.
        await run.defer_async(left=0, expected=1)
        await asyncio.wait_for(ended.wait(), 60)
        ended.clear()
        if kind == "idle":
            loop = asyncio.get_running_loop()
            found = await asyncio.to_thread(measure_idle, partial(submit, loop), read_plan())
        else:
            found = await work(kind, number)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    return found


async def work(kind: str, number: int) -> float:
    """Submit tasks and wait for them; return the seconds."""
    begin = time.perf_counter()
    if kind == "bag":
        await run.batch_defer_async(*[{"left": 0, "expected": number + 1}] * number)
    else:
        await run.defer_async(left=number - 1, expected=number + 1)
    await asyncio.wait_for(ended.wait(), 240)
    return time.perf_counter() - begin


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    show(asyncio.run(measure(kind, number, slots)))


if __name__ == "__main__":
    main()
