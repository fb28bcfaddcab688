"""What it takes to begin: commands as processes, and a pilot until it is known."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.alone import open_alone
from benchmarks.systems import open_system
from tests.support.servers import P3S

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure_commands", "measure_pilot"]

#: The commands by the case's name.
COMMANDS = {"p3s --help": ("--help",), "p3s job list": ("job", "list")}


def measure_commands(number: int) -> dict[str, list[float]]:
    """Return for each command the seconds of each process, interleaved; `job list` asks a server with one job."""
    values: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with open_system(None) as system:
        system.run("job", "create", "standalone", "--payload", "/bin/true")
        for turn in range(number + 1):
            for name, words in COMMANDS.items():
                begin = time.perf_counter()
                subprocess.run([*P3S, *words], env=system.env, cwd=system.folder, check=True, stdout=subprocess.DEVNULL)
                # The first turn finds nothing warm.
                if turn:
                    values[name].append(time.perf_counter() - begin)
    return values


def measure_pilot(number: int) -> tuple[list[float], list[float]]:
    """Return the seconds from the start of each pilot to its registration, and its MB when it waits for work."""
    seconds, sizes = [], []
    for _ in range(number):
        begin = time.perf_counter()
        with open_alone(2) as (server, process):
            seconds.append(server.registered - begin)
            sizes.append(sum(_read_size(pid) for pid in (process.pid, *_list_children(process.pid))))
    return seconds, sizes


def _list_children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may have ended meanwhile.
        with contextlib.suppress(FileNotFoundError):
            yield from map(int, (task / "children").read_text(encoding="utf-8").split())


def _read_size(pid: int) -> float:
    """Return the MB that a process holds; of what it shares with others, its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no size of process {pid}")
