"""parsl with its thread executor: the fastest that it has; nothing is kept on disk."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import parsl
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

from benchmarks.idle import measure_idle
from benchmarks.peers import read_plan, show


@parsl.python_app
def run(_before: object = None, command: tuple[str, ...] = ("/bin/true",)) -> int:
    """Start one process."""
    return subprocess.run(command, check=True).returncode


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    executor = ThreadPoolExecutor(max_threads=slots)
    with parsl.load(Config(executors=[executor], run_dir=tempfile.mkdtemp(), usage_tracking=0)):
        if kind == "idle":
            show(measure_idle(lambda command: run(None, command), read_plan()))
            return
        begin = time.perf_counter()
        if kind == "bag":
            for future in [run() for _ in range(number)]:
                future.result()
        else:
            last = None
            for _ in range(number):
                last = run(last)
            last.result()
        sys.stdout.write(f"{time.perf_counter() - begin}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
