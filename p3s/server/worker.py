"""Gunicorn's worker with threads, in which a thread stays with its connection for a moment, and knows it again.

Gunicorn gives each request to a thread anew, by way of the one that looks after all connections: two wake-ups and two
queues before a request is read, as much time as reading it takes. Pilots that work have their next call ready within
milliseconds, and all their calls begin with the same lines.
"""

from __future__ import annotations

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from p3s.server.heads import Heads, answer_at_once

__all__ = ["StayingWorker"]

#: Milliseconds that a thread waits for the next request on the connection that it has just answered.
STAY = 100
#: Bytes that are read at once: a pilot's call is shorter.
PIECE = 65_536


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
        kept = self._answer(conn)
        # True is neither false nor gunicorn's word for a connection on which nothing has come yet.
        while kept is True and self.alive and self._stay(conn):
            kept = self._answer(conn)
        return kept

    def _answer(self, conn: Any) -> Any:
        """Answer a request; one that begins like that before it is not read by gunicorn."""
        if not conn.initialized or conn.is_http2 or conn.parser.unreader.buf.getbuffer().nbytes:
            return super().handle(conn)
        heads: Heads = vars(conn).setdefault("heads", Heads())
        try:
            conn.sock.setblocking(True)
            content = conn.sock.recv(PIECE)
            if self._may_keep() and (environ := heads.read(content)) is not None:
                self.nr += 1
                return answer_at_once(environ, self, conn)
        except OSError as error:
            self.log.debug("a client has hung up: %s", error)
            return False
        except Exception as error:  # noqa: BLE001 - as gunicorn's own method does
            self.handle_error(conn.parser.mesg, conn.sock, conn.client, error)
            return False
        # Gunicorn finds it there.
        conn.parser.unreader.unread(content)
        kept = super().handle(conn)
        if kept is True:
            heads.note(content, self, conn)
        return kept

    def _may_keep(self) -> bool:
        """Return whether gunicorn would keep a connection that it has answered."""
        return bool(self.alive and len(self.keepalived_conns) < self.max_keepalived)

    def _stay(self, conn: Any) -> bool:
        """Return whether the next request of a connection comes soon; at once if others have requests too."""
        last, self._last = self._last, conn
        if last is not conn:
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(STAY))
