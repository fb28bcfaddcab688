"""huey with its SQLite storage, synced as p3s syncs: threads as workers, each task starts one process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from typing import Any

from huey import SqliteHuey

from benchmarks.idle import measure_idle
from benchmarks.peers import read_plan, show


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    huey = SqliteHuey(filename=tempfile.mkdtemp() + "/huey.sqlite", fsync=True)

    @huey.task()
    def run(command: tuple[str, ...] = ("/bin/true",)) -> int:
        return subprocess.run(command, check=True).returncode

    consumer = huey.create_consumer(workers=slots, initial_delay=0.001, max_delay=0.005, periodic=False)
    consumer.start()
    if kind == "idle":
        show(measure_idle(run, read_plan()))
        consumer.stop(graceful=True)
        return
    begin = time.perf_counter()
    if kind == "bag":
        for result in [run() for _ in range(number)]:
            result.get(blocking=True, max_delay=0.01)
    else:
        for _ in range(number):
            wait(run())
    sys.stdout.write(f"{time.perf_counter() - begin}\n")
    sys.stdout.flush()
    consumer.stop(graceful=True)


def wait(result: Any) -> None:
    """Wait for one result; huey's own wait looks ten times less often."""
    while result.get() is None:
        time.sleep(0.001)


if __name__ == "__main__":
    main()
