# A script: benchmarks form no package.
"""How long the engine takes for large workflows, and how much memory.

Writes a YAML text with as many jobs as asked for, each with three inputs made by earlier jobs and one output, and
takes it through load, expansion, graph and ranks. Each size runs in a process of its own, so that the peak of one
does not hide that of another::

    .venv/bin/python benchmarks/engine_scale.py 1000 10000 100000
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from itertools import pairwise

from p3s.engine.expand import expand_dag
from p3s.engine.graph import find_generations, schedule_plan
from p3s.engine.load import load_dag

#: Jobs in one layer; the inputs of a job come from the layer before.
WIDTH = 100
INPUTS = 3


def make_text(jobs: int) -> str:
    """Return the YAML of a layered workflow.

    Parameters
    ----------
    jobs : int
        How many.

    Returns
    -------
    str
        The text; it is the same for the same number.
    """
    lines = ["name: scale", "defaults: {retry: 1, timelimit: 10m}", "jobs:"]
    for number in range(jobs):
        layer = number // WIDTH
        before = [(layer - 1) * WIDTH + (number * (step + 1) + step) % WIDTH for step in range(INPUTS)] if layer else []
        inputs = ", ".join(f"d{parent}" for parent in dict.fromkeys(before))
        lines.append(f"  j{number}:")
        if inputs:
            lines.append(f"    inputs: [{inputs}]")
        lines += [f"    outputs: {{d{number}: out.csv}}", f'    run: work > "$d{number}"']
    return "\n".join(lines)


def measure_size(jobs: int) -> tuple[int, float, list[float], float]:
    """Return edges, megabytes of text, seconds of each step, and the peak of memory in megabytes.

    Parameters
    ----------
    jobs : int
        How many jobs the workflow is to have.

    Returns
    -------
    tuple of (int, float, list of float, float)
        The steps are load, expand, schedule, generations.
    """
    text = make_text(jobs)
    marks = [time.perf_counter()]
    spec = load_dag(text, "scale.yaml")
    marks.append(time.perf_counter())
    plan = expand_dag(spec, {}, {}, bundle=())
    marks.append(time.perf_counter())
    plan = schedule_plan(plan, {})
    marks.append(time.perf_counter())
    find_generations(plan)
    marks.append(time.perf_counter())
    edges = sum(len(item.keys) for job in plan.jobs.values() for item in job.inputs) + len(plan.datasets)
    seconds = [after - before for before, after in pairwise(marks)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return edges, len(text) / 1e6, seconds, peak


def main() -> None:
    """Print a table with one line for each number of jobs on the command line."""
    sizes = [int(word) for word in sys.argv[1:]] or [1000, 10_000, 100_000]
    heads = ("jobs", "edges", "text MB", "load s", "expand s", "rank s", "layers s", "all s", "peak MB")
    sys.stdout.write("".join(f"{head:>9}" for head in heads) + "\n")
    for jobs in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            edges, size, seconds, peak = pool.apply(measure_size, (jobs,))
        times = "".join(f"{value:>9.2f}" for value in (*seconds, sum(seconds)))
        sys.stdout.write(f"{jobs:>9}{edges:>9}{size:>9.1f}{times}{peak:>9.0f}\n")


if __name__ == "__main__":
    main()
