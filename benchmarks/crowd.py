"""Many pilots without payloads, in one thread: real HTTP over kept connections, little work per call."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Crowd", "open_crowd"]

#: Pilots that register at the same time.
REGISTERING = 16


class _Pilot:
    """One pilot that reports each job as done with its next call.

    Attributes
    ----------
    done : int
        Results that the server accepted.
    """

    def __init__(self, crowd: Crowd, slots: int) -> None:
        self.done = 0
        self._crowd, self._slots = crowd, slots
        self._uuid, self._number, self._secret = str(uuid.uuid4()), 0, ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def register(self, token: str) -> None:
        """Make the pilot known to the server."""
        body = {
            "uuid": self._uuid,
            "host": "bench",
            "pid": 1,
            "version": "0",
            "slots": self._slots,
            "cpus": self._slots,
        }
        self._secret = (await self._call("/api/v1/pilots", body, token))["secret"]

    async def work(self, wait: float) -> None:
        """Ask, report and ask again; without `wait` until there is nothing more, else until the crowd ends."""
        jobs: list[dict[str, Any]] = []
        while not self._crowd.over:
            reports = [
                {"attempt": job["attempt"], "token": job["token"], "kind": "succeeded", "exit_code": 0, "wall": 0.01}
                for job in jobs
            ]
            self._crowd.sent.update((job["workflow"], job["job_name"]) for job in jobs if self._crowd.parents)
            self._number += 1
            claim = {"number": self._number, "want": self._slots, "cpus": self._slots}
            body = {"ack": self._number - 1, "claim": claim, "reports": reports, "wait": wait}
            answer = await self._call(f"/api/v1/pilots/{self._uuid}/exchange", body, self._secret)
            jobs = answer["jobs"]
            for job in jobs:
                self._crowd.note_order(job)
            self.done += sum(verdict["verdict"] == "accepted" for verdict in answer["verdicts"])
            if jobs:
                self._crowd.woken.append(time.perf_counter())
            elif not wait and not reports:
                return

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _call(self, path: str, body: dict[str, Any], token: str) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._crowd.host, self._crowd.port)
        reader, writer = self._streams
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._crowd.host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            writer.close()
            self._streams = None
        if not status.startswith("HTTP/1.1 20"):
            raise AssertionError(f"{path} answered {status}: {answer[:500]!r}")
        return json.loads(answer)


class Crowd:
    """Pilots that registered with one server.

    Attributes
    ----------
    woken : list of float
        When an answer with jobs came, by `time.perf_counter`.
    over : bool
        Set to end pilots after their current call.
    parents : dict
        By name of a job, those that it needs, if the order is to be checked.
    sent : set
        Workflows and names of jobs whose success was sent, if the order is checked.
    """

    def __init__(self, url: str, token: str, pilots: int, slots: int = 1) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.woken: list[float] = []
        self.parents: dict[str, list[str]] = {}
        self.sent: set[tuple[str, str]] = set()
        self.over = False
        self._token = token
        self._pilots = [_Pilot(self, slots) for _ in range(pilots)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._waiting: Any = None

    @property
    def done(self) -> int:
        """Results accepted of all pilots."""
        return sum(pilot.done for pilot in self._pilots)

    def note_order(self, job: dict[str, Any]) -> None:
        """Check that the parents of a job that was given out have been reported as done, and the job has not."""
        if not self.parents:
            return
        workflow, name = job["workflow"], job["job_name"]
        early = [parent for parent in self.parents[name] if (workflow, parent) not in self.sent]
        if early or (workflow, name) in self.sent:
            raise AssertionError(f"job {name} of {workflow} was given out twice, or before {early}")

    def register(self) -> None:
        """Make all pilots known."""

        async def run() -> None:
            gate = asyncio.Semaphore(REGISTERING)

            async def one(pilot: _Pilot) -> None:
                async with gate:
                    await pilot.register(self._token)

            await asyncio.gather(*(one(pilot) for pilot in self._pilots))

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(120)

    def work(self) -> None:
        """Work until nothing is left."""
        self._start(0.0).result(300)

    def wait(self, seconds: float = 45.0) -> None:
        """Let all pilots wait for work in the background, in calls of so many seconds."""
        self._waiting = self._start(seconds)

    def _start(self, wait: float) -> Any:
        async def run() -> None:
            await asyncio.gather(*(pilot.work(wait) for pilot in self._pilots))

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def check(self) -> None:
        """Raise what a waiting pilot met."""
        if self._waiting is not None and self._waiting.done():
            self._waiting.result()

    def end(self) -> None:
        """End the thread; calls that the server still holds are dropped."""
        self.over = True
        if self._waiting is not None:
            self._waiting.cancel()
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _hang_up(self) -> None:
        # One round, in which cancelled calls unwind, and one for connections to close.
        await asyncio.sleep(0.1)
        for pilot in self._pilots:
            pilot.close()
        await asyncio.sleep(0.1)


@contextmanager
def open_crowd(url: str, token: str, pilots: int, slots: int = 1) -> Iterator[Crowd]:
    """Register so many pilots, each with so many slots; they end with the block."""
    crowd = Crowd(url, token, pilots, slots)
    try:
        crowd.register()
        yield crowd
    finally:
        crowd.end()
