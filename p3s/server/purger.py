"""The thread that purges by itself, once a day, what the server's policy names."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.errors import Unavailable
from p3s.server.models import meta
from p3s.server.queries.purge import Choice
from p3s.server.usecases.purge import Purge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.engine.purging import PurgeKind
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = ["Purger"]

log = logging.getLogger(__name__)

#: Seconds between two purges.
DAY = 86400.0
#: Seconds after the start before the first look.
FIRST = 5.0
#: Seconds between two looks whether a day has passed.
LOOK = 60.0
#: Of each second, the share that is left to others.
REST = 0.75
#: The key of `meta` under which stands when the last purge began.
KEY = "purged"


class Purger(threading.Thread):
    """Purges daily until told to end. Of several server processes, the one that notes the day first does it.

    Parameters
    ----------
    core : Core
        The server.
    policy : mapping
        How many seconds old each kind must be.
    """

    def __init__(self, core: Core, policy: Mapping[PurgeKind, float]) -> None:
        super().__init__(name="purger", daemon=True)
        self._core, self._policy = core, policy
        self._over = threading.Event()

    def run(self) -> None:
        """Look each `LOOK` seconds whether a day has passed."""
        # Not at once: a server that has just come up has more urgent things to do.
        wait = FIRST
        while not self._over.wait(wait):
            wait = LOOK
            try:
                if self._core.change("purge", self._take):
                    self._purge()
            except Unavailable as error:
                log.warning("purge put off: %s", error)
            except Exception:
                # As the sweeper, it must outlive any one failure; the next day tries again.
                log.exception("purge failed")

    def stop(self) -> None:
        """End the thread after its current step."""
        self._over.set()

    def _take(self, ledger: Ledger) -> bool:
        """Return whether a day has passed, and note that it is taken."""
        connection = ledger.connection
        last = connection.scalar(sa.select(meta.c.value).where(meta.c.key == KEY).with_for_update())
        if last is not None and ledger.now - float(last) < DAY:
            return False
        if last is None:
            connection.execute(sa.insert(meta).values(key=KEY, value=str(ledger.now)))
        else:
            connection.execute(sa.update(meta).where(meta.c.key == KEY).values(value=str(ledger.now)))
        return True

    def _purge(self) -> None:
        for kind, age in self._policy.items():
            work = Purge(self._core, kind, Choice(read_clock() - age), "purge")
            while not work.is_over and not self._over.is_set():
                begin = time.monotonic()
                work.step()
                self._over.wait((time.monotonic() - begin) * REST / (1 - REST))
            log.info("purged %d %s", work.count.number, kind)
            for what, number in work.left.items():
                log.info("%d %s", number, what)
