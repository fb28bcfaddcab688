"""What the machine can do at all: the floor below which no engine gets."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.idle import measure_idle

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["measure_fsync", "measure_make", "measure_payload", "measure_spawn", "measure_touch"]


def measure_spawn(number: int) -> float:
    """Return ms per ``/bin/true`` started and waited for by one Python thread."""
    begin = time.perf_counter()
    for _ in range(number):
        subprocess.run(["/bin/true"], check=True)
    return (time.perf_counter() - begin) * 1000 / number


def measure_fsync(number: int) -> float:
    """Return ms per page of 4 KiB written and synced to the disk of temporary files."""
    with tempfile.NamedTemporaryFile() as file:
        begin = time.perf_counter()
        for place in range(number):
            os.pwrite(file.fileno(), b"p" * 4096, place * 4096)
            os.fsync(file.fileno())
        return (time.perf_counter() - begin) * 1000 / number


def measure_touch(number: int, pause: float, *, large: bool) -> list[float]:
    """Return ms to read a byte of each of 1,024 pages of 4 KiB, `number` times after a pause in s.

    The host of a virtual machine may take memory away that it is not seen to use, and give it back at the first
    touch. `large` asks for the same memory in large pages.
    """
    # Room for large pages to begin where they must.
    pages, room = 1024, 4 << 20
    with mmap.mmap(-1, pages * mmap.PAGESIZE + room, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if large:
            memory.madvise(mmap.MADV_HUGEPAGE)
        places = range(0, pages * mmap.PAGESIZE, mmap.PAGESIZE)
        for place in places:
            memory[place] = 1
        found = []
        for _ in range(number):
            time.sleep(pause)
            begin = time.perf_counter()
            for place in places:
                memory[place]
            found.append((time.perf_counter() - begin) * 1000)
        return found


def measure_payload(plan: Sequence[tuple[float, int]]) -> list[list[float]]:
    """Return what payloads take to begin by themselves (see `benchmarks.idle.measure_idle`)."""
    return measure_idle(lambda command: subprocess.run(command, check=True), plan)


def measure_make(number: int, slots: int) -> float:
    """Return ms per ``/bin/true`` run by GNU make, which keeps nothing."""
    with tempfile.TemporaryDirectory() as folder:
        names = " ".join(f"t{place}" for place in range(number))
        (Path(folder) / "Makefile").write_text(f".PHONY: all {names}\nall: {names}\n{names}:\n\t@/bin/true\n", "utf-8")
        begin = time.perf_counter()
        subprocess.run(["make", "-s", f"-j{slots}", "all"], cwd=folder, check=True)
        return (time.perf_counter() - begin) * 1000 / number
