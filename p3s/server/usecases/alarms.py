"""What the server sees coming: a sentence for each."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from p3s.clock import read_clock

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

__all__ = ["find_alarms", "find_shortages"]

#: Free space of the home folder below which an alarm is raised: bytes, and a share of the disk.
LEAST_BYTES = 1_000_000_000
LEAST_SHARE = 0.02
#: Seconds for which a write that failed is told of.
TROUBLE = 60.0


def find_alarms(core: Core) -> list[str]:
    """Return the alarms of this server, worst first; empty if all is well."""
    paused = f"the server gives out no jobs: paused by {core.paused_by}; `p3s server resume` lets it go on"
    return [*([paused] if core.paused_by is not None else []), *find_shortages(core)]


def find_shortages(core: Core) -> list[str]:
    """Return what this server says of its own disk and of its database."""
    found = []
    if core.trouble is not None and read_clock() - core.trouble[0] < TROUBLE:
        found.append(core.trouble[1])
    home = core.settings.home.path
    if home.exists():
        disk = shutil.disk_usage(home)
        if disk.free < max(LEAST_BYTES, LEAST_SHARE * disk.total):
            found.append(f"the disk of {home} has {disk.free / 1e9:.1f} GB left; make room before writes fail")
    return found
