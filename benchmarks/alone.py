"""A pilot by itself: a real process that runs real payloads for a server in memory, so that its own costs show.

The server is this process: it speaks HTTP over plain sockets, keeps nothing on disk, and gives jobs as fast as they are
asked for. What is measured of the pilot is its CPU time, from /proc, without that of its payloads.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.client import Answer
from p3s.errors import NotFound
from tests.support.fake_server import FakeServer, make_order
from tests.support.servers import P3S, end_process

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Costs", "measure_alone", "open_alone"]

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Costs:
    """What short jobs cost a pilot that has nothing else to wait for; ms per job, and bytes.

    Attributes
    ----------
    wall : float
        From the first claim's answer to the last report, per job.
    cpu : float
        CPU time of the pilot itself, per job.
    payloads : float
        CPU time of what it started, per job.
    """

    wall: float
    cpu: float
    payloads: float


@dataclass
class Server(FakeServer):
    """The server in memory, and when a pilot registered."""

    registered: float = 0.0


def serve(listener: socket.socket, server: Server) -> None:
    """Answer every connection in a thread of its own until the listener closes."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(connection, server), daemon=True).start()


def _answer(connection: socket.socket, server: Server) -> None:
    # The pilot may leave at any moment.
    with suppress(OSError), connection, connection.makefile("rb") as stream:
        while line := stream.readline():
            method, path, _ = line.decode().split()
            headers = {}
            while (field := stream.readline().strip()) != b"":
                name, _, value = field.decode().partition(":")
                headers[name.title()] = value.strip()
            body = stream.read(int(headers.get("Content-Length", "0")))
            if "/sites/" in path:
                error = {"error": NotFound("site", "default").to_dict()}
                answer = Answer(404, json.dumps(error).encode())
            else:
                answer = server.send(method, f"http://fake{path}", headers, body, 0)
                if path.endswith("/pilots"):
                    server.registered = time.perf_counter()
            head = f"HTTP/1.1 {answer.status} X\r\nContent-Type: application/json\r\nContent-Length: {len(answer.body)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + answer.body)


@contextmanager
def open_alone(
    slots: int, *options: str, program: tuple[str, ...] = P3S
) -> Iterator[tuple[Server, subprocess.Popen[bytes]]]:
    """Run a pilot for a server in this process; both end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="p3s-bench-"))
    server = Server(heartbeat=10.0, lease=60.0, poll=50.0, patience=900.0, secret="only")
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    threading.Thread(target=serve, args=(listener, server), daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    folders = [f"--{name}={folder / name}" for name in ("data", "work", "log")]
    size = [f"--slots={slots}", f"--cpus={slots}"]
    process = subprocess.Popen(
        [*program, "pilot", "start", "--server", url, "--allow-root", *size, *folders, *options],
        env=kept | {"HOME": str(folder), "P3S_HOME": str(folder), "P3S_TOKEN": server.secret},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server.wait_for(lambda: server.bodies, 30)
        yield server, process
    finally:
        end_process(process)
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def read_times(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process and of its children that were waited for."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    values = text[text.rindex(")") + 2 :].split()
    user, system, child_user, child_system = (int(value) / _TICK for value in values[11:15])
    return user + system, child_user + child_system


def measure_alone(number: int, slots: int, *options: str, program: tuple[str, ...] = P3S) -> Costs:
    """Return what `number` jobs of ``/bin/true`` cost a pilot; as many before them warm it up as it has slots."""
    with open_alone(slots, *options, program=program) as (server, process):
        server.change(orders=[make_order(payload="/bin/true") for _ in range(slots * 4)])
        server.wait_for(lambda: server.count_finals() == slots * 4)
        time.sleep(0.2)
        own, payloads = read_times(process.pid)
        orders = [make_order(payload="/bin/true") for _ in range(number)]
        begin = time.monotonic()
        server.change(orders=orders)
        server.wait_for(lambda: server.count_finals() == slots * 4 + number, 60)
        wall = time.monotonic() - begin
        own_after, payloads_after = read_times(process.pid)
    per_job = 1000 / number
    return Costs(wall * per_job, (own_after - own) * per_job, (payloads_after - payloads) * per_job)
