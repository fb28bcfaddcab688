"""luigi with its local scheduler; a task is done when its file is there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import luigi

FOLDER = Path(tempfile.mkdtemp())


class Run(luigi.Task):
    """Start one process, after the task before it in a chain."""

    place = luigi.IntParameter()
    chained = luigi.BoolParameter()

    def requires(self) -> list[luigi.Task]:
        """Return what comes first."""
        return [Run(self.place - 1, True)] if self.chained and self.place else []

    def output(self) -> luigi.LocalTarget:
        """Return the file that says that this is done."""
        return luigi.LocalTarget(str(FOLDER / str(self.place)))

    def run(self) -> None:
        """Do it."""
        subprocess.run(["/bin/true"], check=True)
        Path(self.output().path).touch()


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tasks = [Run(place, False) for place in range(number)] if kind == "bag" else [Run(number - 1, True)]
    begin = time.perf_counter()
    assert luigi.build(tasks, local_scheduler=True, workers=slots, log_level="CRITICAL")
    sys.stdout.write(f"{time.perf_counter() - begin}\n")


if __name__ == "__main__":
    main()
