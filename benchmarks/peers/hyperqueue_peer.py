"""HyperQueue: a local server and one worker, native processes; its journal is off, so nothing is kept on disk."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

from benchmarks.idle import measure_idle
from benchmarks.peers import read_plan, show


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder = Path(tempfile.mkdtemp())
    with LocalCluster(str(folder / "server"), WorkerConfig(cores=slots)) as cluster:
        client = cluster.client()
        warm = Job(default_workdir=str(folder))
        warm.program(["/bin/true"], stdout=None, stderr=None)
        client.wait_for_jobs([client.submit(warm)])
        if kind == "idle":

            def submit(command: list[str]) -> None:
                job = Job(default_workdir=str(folder))
                job.program(command, stdout=None, stderr=None)
                client.submit(job)

            show(measure_idle(submit, read_plan()))
            return
        begin = time.time()  # noqa: TID251 - beside the clock of `date`
        job = Job(default_workdir=str(folder))
        tasks = []
        for _ in range(number):
            before = tasks[-1:] if kind == "chain" else []
            tasks.append(job.program(["/bin/true"], deps=before, stdout=None, stderr=None))
        # The client looks once a second for the end, so that one further task writes down when it was.
        job.program(["/bin/sh", "-c", "date +%s.%N > ended"], deps=tasks, stdout=None, stderr=None)
        client.wait_for_jobs([client.submit(job)])
        seconds = float((folder / "ended").read_text(encoding="utf-8")) - begin
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
