"""What the server sees coming: a sentence for each."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

__all__ = ["find_alarms"]

#: Free space of the home folder below which an alarm is raised: bytes, and a share of the disk.
LEAST_BYTES = 1_000_000_000
LEAST_SHARE = 0.02


def find_alarms(core: Core) -> list[str]:
    """Return the alarms of this server, worst first; empty if all is well."""
    alarms = []
    if core.paused_by is not None:
        alarms.append(f"the server gives out no jobs: paused by {core.paused_by}; `p3s server resume` lets it go on")
    home = core.settings.home.path
    if home.exists():
        disk = shutil.disk_usage(home)
        if disk.free < max(LEAST_BYTES, LEAST_SHARE * disk.total):
            alarms.append(f"the disk of {home} has {disk.free / 1e9:.1f} GB left; make room before writes fail")
    return alarms
