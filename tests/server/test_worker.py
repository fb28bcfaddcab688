"""A thread stays with a connection while that one alone keeps the server busy."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from p3s.server.worker import StayingWorker

if TYPE_CHECKING:
    from collections.abc import Iterator


class Line:
    """A connection that gunicorn has not looked at yet: the worker's end, and the client's."""

    initialized = False

    def __init__(self) -> None:
        self.sock, self.client = socket.socketpair()

    def ask(self) -> None:
        """Send a request, here of one byte."""
        self.client.send(b"?")


@pytest.fixture
def lines() -> Iterator[tuple[Line, Line]]:
    """Two connections."""
    both = Line(), Line()
    yield both
    for line in both:
        line.sock.close()
        line.client.close()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker that has not begun, whose requests are single bytes; `answered` has the connections in turn."""

    def handle(self: Any, conn: Line) -> Any:
        assert conn.sock.recv(1) == b"?"
        self.answered.append(conn)
        return self.kept

    monkeypatch.setattr(ThreadWorker, "handle", handle)
    made = StayingWorker.__new__(StayingWorker)
    vars(made).update(answered=[], kept=True, alive=True)
    return made


def test_the_third_request_is_waited_for(worker: Any, lines: tuple[Line, Line]) -> None:
    """Two requests on one connection: the thread looks for a third there, and gives up when none comes."""
    line, _ = lines
    line.ask()
    line.ask()
    line.ask()
    assert worker.handle(line) is True
    assert len(worker.answered) == 1
    assert worker.handle(line) is True
    assert len(worker.answered) == 3


def test_connections_in_turn_are_left_at_once(
    worker: Any, lines: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another one has been answered in between, nothing is waited for, though a request is there."""
    monkeypatch.setattr("p3s.server.worker.select", SimpleNamespace())
    for _ in range(3):
        for line in lines:
            line.ask()
            line.ask()
            worker.handle(line)
    assert worker.answered == [*lines] * 3


@pytest.mark.parametrize("kept", [False, object()], ids=["closed", "deferred"])
def test_a_connection_that_is_not_kept_is_left(worker: Any, lines: tuple[Line, Line], kept: object) -> None:
    """What gunicorn says of a connection is passed on."""
    worker.kept = kept
    for number in range(1, 4):
        lines[0].ask()
        assert worker.handle(lines[0]) is kept
        assert len(worker.answered) == number


def test_a_worker_that_stops_waits_for_nothing(worker: Any, lines: tuple[Line, Line]) -> None:
    """The request that is there is answered; the next one is for whoever looks after kept connections."""
    worker.alive = False
    for _ in range(4):
        lines[0].ask()
    for number in range(1, 4):
        assert worker.handle(lines[0]) is True
        assert len(worker.answered) == number
