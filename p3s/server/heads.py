"""Requests that begin as the last ones of their connection did, and so need not be read once more.

Most of what HTTP took for a pilot's call was to read and check the same eight lines. They are compared instead;
whatever differs in more than the length of its body is read as ever.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from gunicorn.http import wsgi

if TYPE_CHECKING:
    from collections.abc import Mapping
    from wsgiref.types import WSGIEnvironment

__all__ = ["Heads", "answer_at_once"]

_END = b"\r\n\r\n"
#: The digits of the line that says how long the body is.
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)(?=\r\n|\Z)", re.IGNORECASE)
#: Digits of a length at most: gunicorn has read the same line with others.
_DIGITS = 12


class Heads:
    """What is known of the requests of one connection.

    A head is learned when it comes for the second time in a row: where each request has a line of its own, as behind
    some proxies, nothing could be gained.
    """

    def __init__(self) -> None:
        self._last: tuple[bytes, bytes] | None = None
        self._environ: Mapping[str, Any] | None = None

    def read(self, content: bytes) -> WSGIEnvironment | None:
        """Return what an application is told of a request, if it is all there and its head is known."""
        if self._environ is None or self._last is None:
            return None
        head, _, body = content.partition(_END)
        before, after = self._last
        digits = head[len(before) : len(head) - len(after)]
        if not (head.startswith(before) and head.endswith(after) and digits.isdigit() and len(digits) <= _DIGITS):
            return None
        if int(digits) != len(body):
            return None
        return {**self._environ, "CONTENT_LENGTH": digits.decode(), "wsgi.input": io.BytesIO(body)}

    def note(self, content: bytes, worker: Any, conn: Any) -> None:
        """Take in a request that gunicorn has read and answered.

        Only a POST with a body of known length is learned: other answers may be streams, or have no body.

        Parameters
        ----------
        content : bytes
            What came, from the request's first byte.
        worker : gunicorn.workers.gthread.ThreadWorker
            Who answered.
        conn : gunicorn.workers.gthread.TConn
            The connection, which is kept.
        """
        last, self._last, self._environ = self._last, None, None
        request = conn.parser.mesg
        head, end, _ = content.partition(_END)
        length = _LENGTH.search(head)
        if not end or length is None or request.method != "POST" or request.version != (1, 1):
            return
        # Gunicorn tells such a client to go on when it makes the environment, which here would be after the answer.
        if any(name == "EXPECT" for name, _ in request.headers):
            return
        self._last = head[: length.start(1)], head[length.end(1) :]
        if self._last != last:
            return
        _, environ = wsgi.create(request, conn.sock, conn.client, conn.server, worker.cfg)
        if environ.get("CONTENT_LENGTH") == length[1].decode():
            environ["wsgi.multithread"] = True
            # The answer is gathered first: nobody needs to know how it is written.
            del environ["gunicorn.socket"], environ["wsgi.early_hints"]
            self._environ = environ


def answer_at_once(environ: WSGIEnvironment, worker: Any, conn: Any) -> bool:
    """Have the application answer a request, send that in one piece, and return whether the connection is kept."""
    gathered: Any = _Gathered()
    response = wsgi.Response(conn.parser.mesg, gathered, worker.cfg)
    parts = worker.wsgi(environ, response.start_response)
    try:
        for part in parts:
            response.write(part)
        response.close()
    finally:
        if hasattr(parts, "close"):
            parts.close()
    conn.sock.sendall(b"".join(gathered.pieces))
    return not response.should_close()


class _Gathered:
    """Stands in for the socket that gunicorn writes an answer to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, piece: bytes) -> None:
        self.pieces.append(piece)
