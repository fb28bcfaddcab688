"""A server in memory behind the client's transport: claims are numbered, reports get verdicts, calls are held."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from p3s.client import Answer, Whole
from p3s.engine.states import PilotStatus
from p3s.errors import NoToken
from p3s.wire import (
    AttemptReport,
    ExchangeBody,
    ExchangeReply,
    JobOrder,
    Leftover,
    LeftoversBody,
    LeftoversReply,
    LogChunk,
    RegisterBody,
    RegisterReply,
    StopOrder,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_order(**fields: Any) -> JobOrder:
    """An attempt that runs ``true`` unless told otherwise."""
    attempt = str(uuid.uuid4())
    values: dict[str, Any] = {
        "attempt": attempt,
        "number": 1,
        "token": f"token-of-{attempt}",
        "job": str(uuid.uuid4()),
        "job_name": "job",
        "workflow": str(uuid.uuid4()),
        "workflow_name": "test",
        "owner": "somebody",
        "jobtype": "default",
        "timelimit": 60.0,
    }
    if "payload" not in fields:
        values["run"] = "true"
    return JobOrder(**(values | fields))


@dataclass
class FakeServer(Whole):
    """Holds orders until they are claimed and keeps what is reported."""

    heartbeat: float = 0.2
    lease: float = 5.0
    poll: float = 5.0
    patience: float = 60.0
    orders: list[JobOrder] = field(default_factory=list)
    reports: list[AttemptReport] = field(default_factory=list)
    logs: list[LogChunk] = field(default_factory=list)
    bodies: list[ExchangeBody] = field(default_factory=list)
    registrations: list[RegisterBody] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    leftovers: dict[str, Leftover] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    watched: set[str] = field(default_factory=set)
    status: PilotStatus = PilotStatus.OK
    secret: str = "first secret"
    _tokens: dict[str, str] = field(default_factory=dict)
    _finals: dict[str, str] = field(default_factory=dict)
    _answered: dict[int, list[JobOrder]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waits: int = 0

    def find_final(self, attempt: str) -> AttemptReport:
        """The report of the attempt's end."""
        return next(report for report in self.reports if report.attempt == attempt and report.kind != "started")

    def count_finals(self) -> int:
        """How many attempts have ended."""
        return len(self._finals)

    def change(self, **fields: Any) -> None:
        """Set fields and wake whoever waits."""
        with self._changed:
            for name, value in fields.items():
                setattr(self, name, value)
            self._changed.notify_all()

    def wait_for(self, fact: Any, seconds: float = 20.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < end, "it did not come to be"
            time.sleep(0.01)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
        """Be the transport."""
        path = urlsplit(url).path.removeprefix("/api/v1/")
        if path == "pilots":
            self.registrations.append(RegisterBody.model_validate_json(body or b""))
            terms = {"heartbeat": self.heartbeat, "lease": self.lease, "poll": self.poll, "patience": self.patience}
            return Answer(201, RegisterReply(secret=self.secret, **terms).model_dump_json().encode())
        if headers["Authorization"] != f"Bearer {self.secret}":
            return Answer(401, json.dumps({"error": NoToken("another secret").to_dict()}).encode())
        if path.startswith("blobs/"):
            digest = path.removeprefix("blobs/")
            if method == "PUT":
                self.blobs[digest] = body or b""
                return Answer(204)
            return Answer(200, self.blobs[digest])
        if path == "leftovers":
            asked = LeftoversBody.model_validate_json(body or b"").attempts
            items = [self.leftovers[attempt] for attempt in asked if attempt in self.leftovers]
            return Answer(200, LeftoversReply(items=items).model_dump_json().encode())
        reply = self._exchange(ExchangeBody.model_validate_json(body or b""))
        return Answer(200, reply.model_dump_json().encode())

    def _exchange(self, body: ExchangeBody) -> ExchangeReply:
        with self._changed:
            self.bodies.append(body)
            self.logs += body.logs
            reply = ExchangeReply(status=self.status, heartbeat=self.heartbeat, lease=self.lease)
            reply.verdicts = [self._judge(report) for report in body.reports]
            if body.claim is not None or body.state != "working":
                self._waits += 1
                self._changed.notify_all()
            mine = self._waits
            end = time.monotonic() + (0 if body.reports or body.logs or body.state == "leaving" else body.wait)
            while True:
                self._fill(body, reply)
                orders = {*(stop.attempt for stop in reply.stop), *reply.watch} - {*body.heard}
                left = end - time.monotonic()
                if reply.jobs or orders or self.status != "OK" or left <= 0 or mine != self._waits:
                    return reply
                self._changed.wait(min(left, 0.5))

    def _fill(self, body: ExchangeBody, reply: ExchangeReply) -> None:
        reply.status = self.status
        running = set(self._tokens) - set(self._finals)
        reply.stop = [StopOrder(attempt=one, reason="cancelled") for one in self.stops & running]
        reply.watch = sorted(self.watched & running)
        claim = body.claim
        if claim is None or self.status != "OK":
            return
        reply.number = claim.number
        assert claim.number >= max(self._answered, default=0), "claims must grow"
        if claim.number not in self._answered:
            chosen, self.orders = self.orders[: claim.want], self.orders[claim.want :]
            if chosen:
                self._answered[claim.number] = chosen
                self._tokens |= {order.attempt: order.token for order in chosen}
        reply.jobs = self._answered.get(claim.number, [])

    def _judge(self, report: AttemptReport) -> Verdict:
        self.reports.append(report)
        verdict = "accepted"
        if report.attempt in self.superseded and report.kind != "stopped":
            verdict = "superseded"
        elif report.kind != "started":
            verdict = "repeated" if report.attempt in self._finals else "accepted"
            self._finals[report.attempt] = report.kind
        return Verdict.model_validate({"attempt": report.attempt, "kind": report.kind, "verdict": verdict})
