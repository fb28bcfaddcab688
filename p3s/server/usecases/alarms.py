"""What the server sees coming: a sentence for each."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from p3s.clock import read_clock
from p3s.server.queries.troubles import find_silent, find_thin_sites
from p3s.server.usecases.notices import read_book

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
    alarms = []
    if core.paused_by is not None:
        alarms.append(f"the server gives out no jobs: paused by {core.paused_by}; `p3s server resume` lets it go on")
    alarms += find_shortages(core)
    with core.db.read() as connection:
        alarms += [trouble.text for trouble in find_thin_sites(connection)]
        # What was silent while the server was away may not have had the time to speak.
        if time.monotonic() - core.born > core.settings.lease:
            alarms += [trouble.text for trouble in find_silent(connection, read_clock())]
        outlets = read_book(connection).outlets
    alarms += [
        f"notifications by {name} are not sent ({outlet.error}); {len(outlet.owed) + outlet.left_out} wait"
        for name, outlet in outlets.items()
        if outlet.error
    ]
    return alarms


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
