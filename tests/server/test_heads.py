"""A request that begins as the last ones of its connection did is answered as if it were read again."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

from p3s.server.worker import StayingWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

#: Requests whose head is read before it is known: the one that opens the connection, and two more.
LEARNED = 3


def write(
    body: bytes,
    path: str = "/call?a=1",
    *lines: str,
    method: str = "POST",
    version: str = "1.1",
    length: str | None = None,
) -> bytes:
    """Return a request."""
    first = (f"{method} {path} HTTP/{version}", "Host: farm", "Content-Type: application/json")
    size = f"Content-Length: {len(body) if length is None else length}"
    return "\r\n".join((*first, size, "Authorization: Bearer p3s_x", *lines, "", "")).encode() + body


class Desk:
    """A worker that has not begun, with one connection to it; notes what its application is told and what is read."""

    def __init__(self) -> None:
        self.told: list[WSGIEnvironment] = []
        self.bodies: list[bytes] = []
        self.read = 0
        self.answer: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] = answer_plainly
        self.worker = StayingWorker.__new__(StayingWorker)
        vars(self.worker).update(
            cfg=Config(), wsgi=self._work, nr=0, max_requests=1000, alive=True, keepalived_conns=deque()
        )
        vars(self.worker).update(max_keepalived=5, log=Logger(self.worker.cfg))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            line, place = listener.accept()
        # As gunicorn's listener has it: what is sent is there at once.
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.conn = TConn(self.worker.cfg, line, place, self.client.getpeername())

    def _work(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.told.append(environ)
        self.bodies.append(environ["wsgi.input"].read())
        return self.answer(environ, start_response)

    def ask(self, *requests: bytes) -> tuple[bytes, Any]:
        """Send requests at once and have one answered; return what comes back, and whether the connection is kept."""
        self.client.sendall(b"".join(requests))
        kept = self.worker._answer(self.conn)
        return self.drain(), kept

    def drain(self) -> bytes:
        """Return all that has come back; on one machine that is all that was sent."""
        found = b""
        with contextlib.suppress(BlockingIOError):
            while some := self.client.recv(65536, socket.MSG_DONTWAIT):
                found += some
        return found

    def teach(self) -> list[bytes]:
        """Make the usual head known; return the answers."""
        return [self.ask(write(b'{"n":%d}' % number))[0] for number in range(LEARNED)]


def answer_plainly(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the API does."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2"), ("X-Mark", "ö")])
    return [b"{", b"}"]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A worker with a connection."""
    made = Desk()
    read = RequestParser.__next__

    def count(self: RequestParser) -> Any:
        made.read += 1
        return read(self)

    monkeypatch.setattr(RequestParser, "__next__", count)
    yield made
    made.client.close()
    made.conn.sock.close()


def strip(answer: bytes) -> list[bytes]:
    """Return an answer's lines without its time of day."""
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date: ")]


def test_a_head_that_came_twice_is_known(desk: Desk) -> None:
    """What the application is told, and what comes back, is the same; bodies are each request's own."""
    answers = desk.teach()
    assert desk.read == LEARNED
    for number in (5, 10**9):
        answer, kept = desk.ask(write(b'{"n":%d}' % number))
        assert kept is True
        answers.append(answer)
    assert desk.read == LEARNED
    assert desk.worker.nr == len(answers) == 5
    assert [strip(answer) for answer in answers] == [strip(answers[0])] * 5
    assert desk.bodies == [b'{"n":0}', b'{"n":1}', b'{"n":2}', b'{"n":5}', b'{"n":1000000000}']
    lengths = [environ.pop("CONTENT_LENGTH") for environ in desk.told]
    assert lengths == [str(len(body)) for body in desk.bodies]
    own = ("wsgi.input", "wsgi.errors", "gunicorn.socket", "wsgi.early_hints")
    first, *others = [{name: environ[name] for name in environ if name not in own} for environ in desk.told]
    assert others == [first] * 4
    assert first["REMOTE_PORT"] == str(desk.client.getsockname()[1])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(write(b"{}", "/other"), id="another path"),
        pytest.param(write(b"{}", "/call?a=2"), id="another query"),
        pytest.param(write(b"{}", "/call?a=1", "X-More: 1"), id="one line more"),
        pytest.param(write(b"{}").replace(b"p3s_x", b"p3s_y"), id="another token"),
        pytest.param(write(b"{}", method="PUT"), id="another method"),
    ],
)
def test_another_head_is_read(desk: Desk, other: bytes) -> None:
    """One letter that differs, and gunicorn reads it; the next one of the old kind, too."""
    desk.teach()
    for number, request in enumerate([other, write(b"{}")], LEARNED + 1):
        desk.ask(request)
        assert desk.read == number
        assert desk.bodies[-1] == b"{}"
        assert desk.told[-1]["gunicorn.socket"] is desk.conn.sock


@pytest.mark.parametrize("length", ["+2", "0x2", "9" * 5000, "-2"])
def test_a_length_that_is_none_is_refused_by_gunicorn(desk: Desk, length: str) -> None:
    """Where a request ends is gunicorn's to say, whatever is known of its other lines."""
    desk.teach()
    desk.client.sendall(write(b"{}", length=length))
    desk.client.shutdown(socket.SHUT_WR)
    desk.worker._answer(desk.conn)
    assert desk.read == LEARNED + 1
    assert b"HTTP/1.1 200" not in desk.drain()


def test_a_head_that_cannot_be_learned_is_read_each_time(desk: Desk) -> None:
    """Requests without a body, of old clients, and in pieces are gunicorn's; their answers come all the same."""
    pieces = write(b"2\r\n{}\r\n0\r\n\r\n").replace(b"Content-Length: 12", b"Transfer-Encoding: chunked")
    requests = [write(b"", method="GET"), write(b"{}", "/call", "Connection: keep-alive", version="1.0"), pieces]
    for number, request in enumerate(requests, 1):
        for _ in range(5):
            answer, kept = desk.ask(request)
            assert answer.endswith(b"\r\n\r\n{}")
            assert kept is True
        assert desk.read == 5 * number


def test_a_client_that_asks_before_it_sends_is_told_once(desk: Desk) -> None:
    """Each request that expects a word is gunicorn's, and its answer is the last that comes."""
    for number in range(1, 6):
        answer, kept = desk.ask(write(b"{}", "/call", "Expect: 100-continue"))
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n{}")
        assert kept is True
        assert desk.read == number


def test_a_body_that_is_not_all_there_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is given back to gunicorn, which reads on."""
    desk.teach()
    whole = write(b'{"long": true}')
    desk.client.sendall(whole[:-5])
    line, recv = desk.conn.sock, desk.conn.sock.recv

    class Late:
        """A line on which the rest comes when it is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(line, name)

        def recv(self, size: int) -> bytes:
            found = recv(size)
            desk.client.sendall(whole[-5:])
            return found

    monkeypatch.setattr(desk.conn, "sock", Late())
    assert desk.worker._answer(desk.conn) is True
    assert desk.read == LEARNED + 1
    assert desk.bodies[-1] == b'{"long": true}'


def test_two_requests_at_once_are_answered_in_turn(desk: Desk) -> None:
    """Gunicorn keeps what comes behind a request, and answers it next."""
    desk.teach()
    desk.ask(write(b"{1}"), write(b"{2}", "/other"))
    assert desk.bodies[-1] == b"{1}"
    assert desk.worker._answer(desk.conn) is True
    assert desk.bodies[-1] == b"{2}"
    assert desk.told[-1]["PATH_INFO"] == "/other"


def test_a_worker_that_stops_keeps_no_connection(desk: Desk) -> None:
    """Told to stop, or with too many kept ones, it answers by gunicorn's way, which says that it closes."""
    desk.teach()
    desk.worker.keepalived_conns.extend([desk.conn] * 5)
    answer, kept = desk.ask(write(b"{}"))
    assert b"Connection: close" in answer
    assert kept is False


def test_an_answer_without_a_length_comes_whole(desk: Desk) -> None:
    """The application may leave it to gunicorn to say where an answer ends."""
    desk.teach()

    def stream(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("201 Created", [("Content-Type", "text/plain")])
        yield b"some"
        yield b"more"

    desk.answer = stream
    answer, kept = desk.ask(write(b"{}"))
    assert answer.endswith(b"\r\n\r\n4\r\nsome\r\n4\r\nmore\r\n0\r\n\r\n")
    assert (kept, desk.read) == (True, LEARNED)


def test_what_an_application_raises_is_an_error_of_the_server(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """It is answered and logged as gunicorn does it."""
    desk.teach()

    def fail(*_: object) -> Iterable[bytes]:
        raise KeyError("on purpose")

    desk.answer = fail
    with caplog.at_level("ERROR", "gunicorn.error"):
        answer, kept = desk.ask(write(b"{}"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert kept is False
    assert desk.read == LEARNED


def test_a_client_that_has_gone_is_left(desk: Desk) -> None:
    """Its connection ends, before a request and in the middle of an answer."""
    desk.teach()
    request = write(b"{}")
    desk.client.sendall(request)

    def hang_up(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        desk.client.close()
        start_response("200 OK", [("Content-Length", str(1 << 22))])
        return [b"x" * (1 << 22)]

    desk.answer = hang_up
    assert desk.worker._answer(desk.conn) is False
    assert desk.worker._answer(desk.conn) is False
