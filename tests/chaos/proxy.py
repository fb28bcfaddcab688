"""A proxy between one pilot and the server that cuts, drops, delays and repeats."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass

#: Seconds after which a silent connection is given up.
SILENCE = 30.0


@dataclass(frozen=True)
class Weather:
    """How often something happens to a request; the rest arrives."""

    drop_request: float = 0.03
    drop_answer: float = 0.04
    repeat: float = 0.04
    delay: float = 0.06


class Proxy:
    """Takes one request from each connection, carries it to the server, and brings the answer, mostly.

    Attributes
    ----------
    port : int
        Where it listens on the loopback address.
    done : Counter of str
        What was done to requests.
    """

    def __init__(self, target: int, weather: Weather, seed: int) -> None:
        self._target = target
        self._weather = weather
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut = False
        self._over = False
        self.done: Counter[str] = Counter()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and every new one at once, until `mend`."""
        with self._lock:
            self._cut = True
            for one in self._open:
                # Whoever reads from it is told by the end of the stream.
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Carry requests again."""
        self._cut = False

    def calm(self) -> None:
        """Carry every request from now on."""
        self._weather = Weather(0, 0, 0, 0)
        self.mend()

    def close(self) -> None:
        """Listen no more."""
        self._over = True
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._hold(connection), contextlib.suppress(OSError):
            request = _read_message(connection)
            if not request or self._cut:
                return
            fault = self._choose()
            if fault == "drop request":
                return
            answer = self._carry(request)
            if fault == "repeat":
                answer = self._carry(request)
            if fault == "drop answer":
                return
            if fault == "delay":
                time.sleep(self._random.uniform(0.1, 2.0))
            connection.sendall(answer)

    def _carry(self, request: bytes) -> bytes:
        with self._hold(socket.create_connection(("127.0.0.1", self._target), timeout=5)) as server:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            parts = []
            while part := server.recv(65536):
                parts.append(part)
            return b"".join(parts)

    @contextlib.contextmanager
    def _hold(self, connection: socket.socket):
        """Keep a connection where `cut` finds it."""
        connection.settimeout(SILENCE)
        with self._lock:
            self._open.add(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _choose(self) -> str:
        with self._lock:
            point = self._random.random()
            for name in ("drop_request", "drop_answer", "repeat", "delay"):
                point -= getattr(self._weather, name)
                if point < 0:
                    fault = name.replace("_", " ")
                    self.done[fault] += 1
                    return fault
        return ""


def _read_message(connection: socket.socket) -> bytes:
    """Return one whole HTTP request, or nothing if the connection ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        part = connection.recv(65536)
        if not part:
            return b""
        body += part
    return head + b"\r\n\r\n" + body
