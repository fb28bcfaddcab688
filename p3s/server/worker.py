"""Gunicorn's worker with threads, in which a thread stays with its connection for a moment.

Gunicorn gives each request to a thread anew, by way of the one that looks after all connections: two wake-ups and two
queues before a request is read, as much time as reading it takes. Pilots that work have their next call ready within
milliseconds.
"""

from __future__ import annotations

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

__all__ = ["StayingWorker"]

#: Milliseconds that a thread waits for the next request on the connection that it has just answered.
STAY = 100


class StayingWorker(ThreadWorker):
    """A `ThreadWorker` whose thread waits for the next request where it has answered the last two.

    Where requests of many come in turn they are better taken together, which those that come by the long way are.
    """

    #: The connection that was answered last.
    _last: Any = None

    def handle(self, conn: Any) -> Any:
        """Answer a request of a connection, and those that follow if they alone keep the worker busy.

        Parameters
        ----------
        conn : gunicorn.workers.gthread.TConn
            From which a request can be read.

        Returns
        -------
        object
            What gunicorn's own method returns: True if the connection is kept for later.
        """
        kept = super().handle(conn)
        # True is neither false nor gunicorn's word for a connection on which nothing has come yet.
        while kept is True and self.alive and self._stay(conn):
            kept = super().handle(conn)
        return kept

    def _stay(self, conn: Any) -> bool:
        """Return whether the next request of a connection comes soon; at once if others have requests too."""
        last, self._last = self._last, conn
        if last is not conn:
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(STAY))
