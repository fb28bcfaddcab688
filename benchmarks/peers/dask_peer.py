"""dask.distributed: a local cluster of one worker process with threads; nothing is kept on disk."""

from __future__ import annotations

import subprocess
import sys
import time

from distributed import Client, LocalCluster

from benchmarks.idle import measure_idle
from benchmarks.peers import read_plan, show


def run(_before: object = None, _number: int = 0, command: tuple[str, ...] = ("/bin/true",)) -> int:
    """Start one process."""
    return subprocess.run(command, check=True).returncode


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    cluster = LocalCluster(n_workers=1, threads_per_worker=slots, dashboard_address=None, host="127.0.0.1")
    with cluster, Client(cluster) as client:
        client.submit(run, None, -1, pure=False).result()
        if kind == "idle":
            kept = []

            def submit(command: list[str]) -> None:
                # Whoever drops a future takes its task back.
                kept.append(client.submit(run, None, 0, command, pure=False))

            show(measure_idle(submit, read_plan()))
            return
        begin = time.perf_counter()
        if kind == "bag":
            client.gather([client.submit(run, None, place, pure=False) for place in range(number)])
        else:
            last = None
            for place in range(number):
                last = client.submit(run, last, place, pure=False)
            last.result()
        sys.stdout.write(f"{time.perf_counter() - begin}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
