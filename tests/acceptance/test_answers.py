"""How the server's answers travel."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.servers import System


def ask(line: socket.socket, *headers: str, path: str = "/healthz") -> None:
    """Send a request over a kept connection."""
    line.sendall("\r\n".join((f"GET {path} HTTP/1.1", "Host: farm", *headers, "", "")).encode())


def test_an_answer_arrives_in_one_piece(farm: System) -> None:
    """Who waits for an answer wakes up once: its head does not come before its body."""
    with socket.create_connection(("127.0.0.1", farm.port), 10) as line:
        for _ in range(50):
            ask(line)
            head, _, body = line.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b'"ok"' in body


def test_the_last_answer_arrives_whole(farm: System) -> None:
    """What is gathered is sent, also where the connection ends with it."""
    with socket.create_connection(("127.0.0.1", farm.port), 10) as line:
        ask(line, "Connection: close", path="/api/v1/openapi.json")
        answer = b""
        while some := line.recv(65536):
            answer += some
    assert answer.rstrip().endswith(b"}")
    assert len(answer) > 50_000
