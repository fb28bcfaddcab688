"""Plain HTTP/1.1 over kept connections, and no more of it than a p3s server and the proxies before one speak.

A pilot makes a request for each short job. `http.client`, on which the usual libraries stand, reads the head of an
answer with the parser of e-mails; with urllib3 above it, that was a quarter of a pilot's CPU time for short jobs.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from p3s.client.answer import CONNECT_TIMEOUT, Answer, Sent, cut_path, explain_cause
from p3s.errors import BadInput, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PoolTransport"]

#: Idle connections kept.
KEPT = 4
#: Bytes of an answer's head, or of one line of a chunked body, at most.
LARGEST_HEAD = 65_536
_PIECE = 65_536
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: .*)?")
_SIZE = re.compile(r"[0-9A-Fa-f]{1,15}")
#: What would end a line of the head early.
_BREAKS = re.compile(r"[\r\n\0]")


class PoolTransport:
    """Sends over plain sockets, each used again while it is open; nothing is taken from the environment."""

    def __init__(self) -> None:
        self._idle: list[tuple[tuple[str, int], socket.socket]] = []
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
        """Send one request (see `p3s.client.transport.Transport.send`)."""
        return self.begin(method, url, headers, body, timeout).finish()

    def begin(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Sent[Answer]:
        """Send one request as far as that takes no waiting (see `p3s.client.transport.Transport.begin`)."""
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port or 80)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        message = _write_request(method, target, parts.netloc.rpartition("@")[2], headers, body)
        kept, keep = self._take(place), partial(self._keep, place)
        return _Exchange(place, method, url, message, timeout, kept, keep).describe()

    def __del__(self) -> None:
        # Clients are made and dropped without being closed.
        for _, connection in self._idle:
            connection.close()

    def _take(self, place: tuple[str, int]) -> socket.socket | None:
        while True:
            with self._lock:
                index = next((i for i, (there, _) in enumerate(self._idle) if there == place), None)
                if index is None:
                    return None
                _, connection = self._idle.pop(index)
            # Between two requests a server says nothing: what can be read is the end, or nothing to build on.
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    def _keep(self, place: tuple[str, int], connection: socket.socket) -> None:
        with self._lock:
            self._idle.insert(0, (place, connection))
            surplus = [one for _, one in self._idle[KEPT:]]
            del self._idle[KEPT:]
        for one in surplus:
            one.close()


class _Exchange:
    """One request and its answer, on a connection that was kept, or on one that is still to be made.

    Parameters
    ----------
    place : tuple of str and int
        Host and port.
    method, url : str
        For reading the answer, and for messages.
    message : bytes
        The whole request.
    timeout : float
        Seconds to wait for each piece of the answer.
    connection : socket or None
        One that was kept.
    keep : callable
        Takes a connection that can be used again.
    """

    def __init__(
        self,
        place: tuple[str, int],
        method: str,
        url: str,
        message: bytes,
        timeout: float,
        connection: socket.socket | None,
        keep: Callable[[socket.socket], None],
    ) -> None:
        self._place, self._method, self._url, self._timeout = place, method, url, timeout
        self._left, self._connection, self._keep = message, connection, keep
        self._until = time.monotonic() + timeout
        self._came = b""
        if connection is not None:
            connection.setblocking(False)
            # What is wrong shows when the rest is sent, and the answer waited for.
            with contextlib.suppress(OSError):
                self._left = message[connection.send(message) :]

    def describe(self) -> Sent[Answer]:
        """Return what can be done with it."""
        return Sent(self._finish, None if self._left else self._connection, self._look, self._until)

    def _finish(self) -> Answer:
        try:
            connection = self._connection or _connect(self._place)
            try:
                waiting = not (self._left or self._came)
                connection.settimeout(max(self._until - time.monotonic(), 0.001) if waiting else self._timeout)
                # A server that refuses a body closes before it has read all of it, and has said why.
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(self._left)
                answer, again = _Reader(connection.recv, self._came).read_answer(self._method)
            except BaseException:
                connection.close()
                raise
        except (OSError, ValueError) as error:
            raise Unreachable(cut_path(self._url), explain_cause(error)) from error
        self._put_back(connection, again=again)
        return answer

    def _look(self) -> Answer | None:
        assert self._connection is not None
        try:
            self._came += self._connection.recv(_PIECE)
            answer, again = _Reader(_refuse, self._came).read_answer(self._method)
        except (OSError, ValueError):
            # It is not here, or not whole, or none: the whole way finds out which.
            return None
        self._put_back(self._connection, again=again)
        return answer

    def _put_back(self, connection: socket.socket, *, again: bool) -> None:
        if again:
            self._keep(connection)
        else:
            connection.close()


def _refuse(_size: int) -> bytes:
    raise BlockingIOError


def _connect(place: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(place, CONNECT_TIMEOUT)
    # A request goes out in one piece and is waited for: nothing is gained by gathering.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _write_request(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if any(_BREAKS.search(line) for line in lines):
        raise BadInput(["the server's address or the token has a line break in it; correct it"])
    try:
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
    except UnicodeEncodeError as error:
        raise BadInput(
            ["the server's address or the token has characters that HTTP cannot send; correct it"]
        ) from error
    return head + (body or b"")


class _Reader:
    """Reads one answer; what is wrong with it is a `ValueError`, its early end an `OSError`.

    Parameters
    ----------
    receive : callable
        Returns what came, of at most so many bytes.
    rest : bytes
        What has come before.
    """

    def __init__(self, receive: Callable[[int], bytes], rest: bytes) -> None:
        self._take, self._rest = receive, rest

    def read_answer(self, method: str) -> tuple[Answer, bool]:
        """Return the answer, and whether the connection can be used again."""
        while True:
            first, *lines = self._read_to(b"\r\n\r\n").split(b"\r\n")
            found = _STATUS.fullmatch(first)
            if found is None:
                raise ValueError("what answers there does not speak HTTP")
            minor, status = found[1], int(found[2])
            # What comes before the answer proper, such as "100 Continue", has no body.
            if status >= 200:
                break
        headers = _read_headers(lines)
        body, whole = self._read_body(method, status, headers)
        options = headers.get("connection", "").lower()
        keep = whole and not self._rest and "close" not in options and (minor == b"1" or "keep-alive" in options)
        return Answer(status, body, headers), keep

    def _read_body(self, method: str, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        if method == "HEAD" or status in {204, 304}:
            return b"", True
        coding = headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise ValueError(f"the answer is coded as '{coding}', which p3s does not know")
            return self._read_chunks(), True
        length = headers.get("content-length")
        if length is None:
            return self._read_all(), False
        if not (length.isascii() and length.isdigit()):
            raise ValueError(f"the answer's length is said to be '{length}'")
        return self._read_exactly(int(length)), True

    def _read_chunks(self) -> bytes:
        parts = []
        while size := self._read_size():
            parts.append(self._read_exactly(size))
            if self._read_exactly(2) != b"\r\n":
                raise ValueError("the answer's parts do not end where they say")
        while self._read_to(b"\r\n"):
            # Fields after the body say nothing that p3s asks for.
            pass
        return b"".join(parts)

    def _read_size(self) -> int:
        size = self._read_to(b"\r\n").partition(b";")[0].strip().decode("latin-1")
        if _SIZE.fullmatch(size) is None:
            raise ValueError(f"the answer has parts of a size '{size[:20]}'")
        return int(size, 16)

    def _read_to(self, end: bytes) -> bytes:
        while (at := self._rest.find(end)) < 0:
            if len(self._rest) > LARGEST_HEAD:
                raise ValueError("the answer's head does not end")
            self._rest += self._receive()
        found, self._rest = self._rest[:at], self._rest[at + len(end) :]
        return found

    def _read_exactly(self, size: int) -> bytes:
        parts, left = [self._rest[:size]], size - len(self._rest)
        self._rest = self._rest[size:]
        while left > 0:
            piece = self._receive()
            parts.append(piece[:left])
            self._rest = piece[left:]
            left -= len(piece)
        return b"".join(parts)

    def _read_all(self) -> bytes:
        parts, self._rest = [self._rest], b""
        while piece := self._take(_PIECE):
            parts.append(piece)
        return b"".join(parts)

    def _receive(self) -> bytes:
        piece = self._take(_PIECE)
        if not piece:
            raise ConnectionError("the connection ended before the answer did")
        return piece


def _read_headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise ValueError("the answer's head makes no sense")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
