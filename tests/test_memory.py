"""Memory moves into large pages, unchanged, where enough of one is in use."""

from __future__ import annotations

import mmap
import platform
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from p3s import memory

if TYPE_CHECKING:
    from pathlib import Path

#: Allocates two areas of 16 MiB, writes into all of one and a corner of the other, and gathers.
PROGRAM = """
import mmap
from pathlib import Path
from p3s.memory import gather_memory

def read(name):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
full, empty = mmap.mmap(-1, 16 << 20, private), mmap.mmap(-1, 16 << 20, private)
text = bytes(range(256)) * (1 << 16)
full[:] = text
empty[:9] = b"something"
before = read("Rss")
moved = gather_memory()
print(moved >> 10, read("AnonHugePages"), read("Rss") - before, full[:] == text, empty[:9] == b"something")
"""


def are_there_large_pages() -> bool:
    """Return whether this kernel can move memory into large pages of 2 MiB, which others may have larger."""
    kernel = re.match(r"(\d+)\.(\d+)", platform.release())
    if kernel is None or (int(kernel[1]), int(kernel[2])) < (6, 1) or not memory._LARGE.exists():
        return False
    forbidden = "[never]" in (memory._LARGE.parent / "enabled").read_text("ascii")
    return int(memory._LARGE.read_text("ascii")) == 2 << 20 and not forbidden


@pytest.mark.skipif(not are_there_large_pages(), reason="no Linux from 6.1 that allows large pages of 2 MiB")
def test_what_is_in_use_moves_and_nothing_else() -> None:
    """All of the full area is in large pages but for its ends, what it holds is the same, and nothing grows."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    moved, large, grown, *same = done.stdout.split()
    assert int(moved) >= 12 << 10
    assert int(large) >= 12 << 10
    # Half of each large page was in use at least, and most of them were full.
    assert int(grown) < 4 << 10
    assert same == ["True", "True"]


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a system tells of its large pages and of this process."""
    monkeypatch.setattr(memory, "_LARGE", tmp_path / "size")
    monkeypatch.setattr(memory, "_PROCESS", tmp_path)
    (tmp_path / "size").write_text("2097152\n", "ascii")
    return tmp_path


def test_a_system_without_large_pages_is_left_alone(process: Path) -> None:
    """Neither one without them, nor one that hides the process' memory, is an error."""
    assert memory.gather_memory() == 0
    (process / "size").unlink()
    assert memory.gather_memory() == 0


def test_only_areas_of_the_process_itself_are_looked_at(process: Path) -> None:
    """Files, stacks and what cannot be written stay, and so does an area in use by less than half."""
    large = 2 << 20
    (process / "maps").write_text(
        f"{large - 4096:x}-{3 * large:x} rw-p 00000000 00:00 0 \n"
        f"{4 * large:x}-{5 * large:x} rw-p 00000000 00:00 0 [heap]\n"
        f"{5 * large:x}-{6 * large:x} rw-p 00000000 00:00 0 [anon:cpython:obmalloc]\n"
        f"{6 * large:x}-{7 * large:x} r-xp 00000000 00:00 0 \n"
        f"{7 * large:x}-{8 * large:x} rw-p 00000000 fe:00 77 /a/library with spaces.so\n"
        f"{8 * large:x}-{9 * large:x} rw-p 00000000 00:00 0 [stack]\n"
        f"{9 * large + 4096:x}-{10 * large:x} rw-p 00000000 00:00 0 \n",
        "utf-8",
    )
    pages = large // mmap.PAGESIZE
    present, absent = (1 << 63).to_bytes(8, sys.byteorder), bytes(8)
    half, less = pages // 2 * present + pages // 2 * absent, (pages // 2 - 1) * present + (pages // 2 + 1) * absent
    (process / "pagemap").write_bytes(pages * absent + half + less + pages * present * 7)
    assert list(memory._find_dense(large)) == [large, 4 * large, 5 * large]
