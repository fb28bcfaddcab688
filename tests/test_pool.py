"""Plain HTTP over kept connections, against a server that sends what a test says, byte for byte."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from p3s.client import Answer, PoolTransport
from p3s.errors import BadInput, Unreachable
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from p3s.client.answer import Sent


class Server:
    """Answers requests in order, and keeps them; an empty answer ends the connection."""

    def __init__(self, answers: Sequence[bytes], pieces: int) -> None:
        self.answers = list(answers)
        self.pieces = pieces
        self.requests: list[bytes] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self.answers:
            connection, _ = self.listener.accept()
            self.connections += 1
            with connection:
                while self.answers and (request := self._read(connection)):
                    self.requests.append(request)
                    answer = self.answers.pop(0)
                    # In pieces, because nothing promises that an answer comes in one.
                    size = max(len(answer) // self.pieces, 1)
                    with contextlib.suppress(ConnectionError):
                        # The client has heard enough.
                        for start in range(0, len(answer), size):
                            connection.sendall(answer[start : start + size])
                    if b"close" in answer or not (b"\r\nContent-L" in answer or b"chunked" in answer):
                        break

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65536)
            if not piece:
                return b""
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        while len(body) < size:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def serve(*answers: bytes, pieces: int = 10) -> Iterator[Server]:
    """Run a server until it has given all its answers."""
    server = Server(answers, pieces)
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            # What a failed test left unanswered must not keep it waiting.
            server.answers.clear()
            socket.create_connection(server.listener.getsockname()).close()
        server.listener.close()
        server.thread.join(10)


def ask(transport: PoolTransport, server: Server, method: str = "GET", body: bytes | None = None) -> Answer:
    """Send one request."""
    return transport.send(method, f"{server.url}/api/v1/who?a=b", {"Authorization": "Bearer x"}, body, 10.0)


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Two: a\r\nx-two: b\r\n\r\nhello"


def test_kept_connection() -> None:
    """Requests follow each other on one connection; a body goes with its length, a repeated field is joined."""
    with serve(GOOD, GOOD) as server:
        transport = PoolTransport()
        expected = Answer(200, b"hello", {"content-length": "5", "x-two": "a, b"})
        assert [ask(transport, server), ask(transport, server, "POST", b"{}")] == [expected] * 2
        assert server.connections == 1
        first, second = server.requests
        assert first.startswith(b"GET /api/v1/who?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nAuthorization: Bearer x\r\n" in first
        assert b"\r\nContent-Length: 2\r\n" in second
        assert second.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\nA\r\n0123456789\r\n0\r\n:\r\n\r\n",
            b"hello0123456789",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend", b"end"),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_forms_of_answers(answer: bytes, body: bytes) -> None:
    """All ways to say where an answer ends are understood, and the next request is answered, too."""
    with serve(answer, GOOD) as server:
        transport = PoolTransport()
        assert ask(transport, server).body == body
        assert ask(transport, server).body == b"hello"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "ended before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhello", "ended before"),
        (b"SSH-2.0-close\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\nConnection: close\r\n\r\n", "length is said to be '-4'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n", "coded as 'gzip'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n", "parts of a size 'zz'"),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\nConnection: close\r\n\r\n", "makes no sense"),
        (b"HTTP/1.1 200 OK\r\nX: close" + b"x" * 70_000, "does not end"),
    ],
)
def test_no_answer(answer: bytes, message: str) -> None:
    """What is no whole answer is told as a server that cannot be reached, and the next request begins anew."""
    with serve(answer, GOOD) as server:
        transport = PoolTransport()
        with pytest.raises(Unreachable, match=message):
            ask(transport, server)
        assert ask(transport, server).body == b"hello"
        assert server.connections == 2


def test_connection_that_the_server_closed() -> None:
    """A kept connection that ended meanwhile is not used again."""
    with serve(GOOD + b"", GOOD) as server:
        transport = PoolTransport()
        ask(transport, server)
        ((_, connection),) = transport._idle
        connection.shutdown(socket.SHUT_RDWR)
        assert ask(transport, server).body == b"hello"
        assert server.connections == 2


def test_a_request_is_sent_before_its_answer_is_waited_for() -> None:
    """Over a kept connection it leaves at once; without one, when its answer is waited for."""
    with serve(GOOD, GOOD, GOOD) as server:
        transport = PoolTransport()

        def begin(body: bytes) -> Callable[[], Answer]:
            return transport.begin("POST", f"{server.url}/", {}, body, 10.0).finish

        finish = begin(b"first")
        assert server.connections == 0
        assert finish().body == b"hello"
        finish = begin(b"second")
        wait_until(lambda: len(server.requests) == 2, 10, "the request")
        # While one is under way, another has to wait for a connection of its own.
        third = begin(b"third")
        assert finish().body == b"hello"
        assert len(server.requests) == 2
        # The server reads from one connection at a time.
        transport._idle.pop()[1].close()
        assert third().body == b"hello"
        assert [request.rpartition(b"\r\n")[2] for request in server.requests] == [b"first", b"second", b"third"]


def test_a_request_too_large_to_leave_at_once_leaves_later() -> None:
    """What the system takes is sent, the rest when the answer is waited for."""
    body = b"x" * (8 << 20)
    with serve(GOOD, GOOD) as server:
        transport = PoolTransport()
        ask(transport, server)
        assert transport.begin("POST", f"{server.url}/", {}, body, 10.0).finish().body == b"hello"
        assert server.requests[1].endswith(b"\r\n\r\n" + body)
        assert server.connections == 1


def test_a_connection_that_ends_when_a_request_leaves() -> None:
    """Whether the server has acted is not known, so it is said and not sent again."""
    with serve(GOOD) as server:
        transport = PoolTransport()
        ask(transport, server)
        server.thread.join(10)
        transport._take = lambda _place: transport._idle.pop()[1]  # type: ignore[method-assign,assignment]
        sent = transport.begin("POST", f"{server.url}/", {}, b"{}", 10.0)
        assert sent.look() is None
        with pytest.raises(Unreachable):
            sent.finish()
        assert len(server.requests) == 1


def begin_again(transport: PoolTransport, server: Server, timeout: float = 10.0) -> Sent[Answer]:
    """Ask once, so that a connection is kept, and send another request over it."""
    ask(transport, server)
    sent = transport.begin("POST", f"{server.url}/", {}, b"{}", timeout)
    assert sent.line is not None
    return sent


def wait_for_line(sent: Sent[Any]) -> None:
    """Wait until something has come."""
    assert sent.line is not None
    assert select.select([sent.line], [], [], 10)[0]


@pytest.mark.parametrize("answer", [GOOD, b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD])
def test_an_answer_that_is_there_is_taken_without_waiting(answer: bytes) -> None:
    """Whoever waits for the line to be readable takes it, and the connection is used again."""
    with serve(GOOD, answer, GOOD, pieces=1) as server:
        transport = PoolTransport()
        sent = begin_again(transport, server).then(lambda found: found.body)
        wait_for_line(sent)
        assert sent.look() == b"hello"
        assert ask(transport, server).body == b"hello"
        assert server.connections == 1


def test_a_closed_answer_is_taken_and_its_connection_is_not_used_again() -> None:
    """The server says so."""
    with serve(GOOD, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend", GOOD, pieces=1) as server:
        transport = PoolTransport()
        sent = begin_again(transport, server)
        wait_for_line(sent)
        found = sent.look()
        assert found is not None
        assert found.body == b"end"
        assert ask(transport, server).body == b"hello"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [(GOOD[:30], GOOD[30:]), (GOOD[:-2], GOOD[-2:]), (b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"), (b"", GOOD)],
)
def test_an_answer_of_which_a_part_is_there_is_waited_for(first: bytes, second: bytes) -> None:
    """What has been looked at is not lost; before anything has come, a look brings nothing."""
    ours, theirs = socket.socketpair()
    transport = PoolTransport()
    place = ("127.0.0.1", 9)
    transport._keep(place, ours)
    sent = transport.begin("GET", "http://127.0.0.1:9/", {}, None, 10.0)
    assert theirs.recv(65536).startswith(b"GET / HTTP/1.1\r\n")
    theirs.sendall(first)
    assert sent.look() is None
    theirs.sendall(second)
    theirs.close()
    assert sent.finish().body == b"hello"
    ours.close()


def test_an_answer_that_does_not_come_in_time() -> None:
    """The time runs from when the request left, whenever it is waited for."""
    ours, theirs = socket.socketpair()
    transport = PoolTransport()
    transport._keep(("127.0.0.1", 9), ours)
    sent = transport.begin("GET", "http://127.0.0.1:9/", {}, None, 0.2)
    time.sleep(max(sent.until - time.monotonic(), 0))
    with pytest.raises(Unreachable, match="timed out"):
        sent.finish()
    assert ours.gettimeout() == pytest.approx(0.001)
    theirs.close()


def test_line_break_in_a_header() -> None:
    """A token with a line break is refused before anything is sent, and not shown."""
    with pytest.raises(BadInput, match="line break") as caught:
        PoolTransport().send("GET", "http://127.0.0.1:9", {"Authorization": "Bearer a\r\nX: b"}, None, 1.0)
    assert "Bearer" not in str(caught.value)
