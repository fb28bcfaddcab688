"""Memory in few large pages, so that what wakes up after a pause has few of them to look for."""

from __future__ import annotations

import array
import ctypes
import logging
from itertools import chain
from mmap import PAGESIZE
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gather_memory"]

log = logging.getLogger(__name__)

#: Bytes of a large page; not there where the system has none.
_LARGE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_PROCESS = Path("/proc/self")
#: From Linux 6.1, <linux/mman.h>: copy these pages into large ones, at once.
_MADV_COLLAPSE = 25
#: Bytes for each page in the map of pages; the highest bit says whether it is in memory.
_ENTRY, _PRESENT = 8, 63


def gather_memory() -> int:
    """Move what this process has allocated into large pages, wherever at least half of one is in use.

    A processor finds a large page where it would look for 512 small ones, and so does the host of a virtual
    machine. Memory that is allocated later stays as it comes. Done once a process has loaded what it needs; it takes
    some ms for each large page, beside what else the process does.

    Returns
    -------
    int
        Bytes in large pages; 0 where the system has none, or is older than Linux 6.1.
    """
    try:
        large = int(_LARGE.read_text("ascii"))
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        moved = sum(large for start in _find_dense(large) if advise(start, large, _MADV_COLLAPSE) == 0)
    except (OSError, AttributeError) as error:
        # Only Linux has them, and a container may hide them; nothing but speed depends on it.
        log.debug("memory stays as it is: %s", error)
        return 0
    log.debug("%d MiB of memory are in large pages", moved >> 20)
    return moved


def _find_dense(large: int) -> Iterator[int]:
    """Yield where large pages could begin that are in use by half."""
    areas = (_PROCESS / "maps").read_text("utf-8", "replace").splitlines()
    starts = list(chain.from_iterable(_split(line, large) for line in areas))
    with (_PROCESS / "pagemap").open("rb", buffering=0) as pagemap:
        for start in starts:
            pagemap.seek(start // PAGESIZE * _ENTRY)
            pages = array.array("Q", pagemap.read(large // PAGESIZE * _ENTRY))
            if 2 * sum(page >> _PRESENT for page in pages) >= large // PAGESIZE:
                yield start


def _split(line: str, large: int) -> range:
    """Return where large pages could begin in an area of memory, if it is the process' own and of no file."""
    place, rights, _offset, _device, _inode, *name = line.split(maxsplit=5)
    if rights != "rw-p" or (name and not name[0].startswith(("[heap]", "[anon:"))):
        return range(0)
    start, end = (int(part, 16) for part in place.split("-"))
    return range(-(-start // large) * large, end // large * large, large)
