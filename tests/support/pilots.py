"""A pilot without processes: it speaks the protocol to the server's code and decides itself what payloads do."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p3s.server.auth import Role, Who
from p3s.server.secrets import make_token
from p3s.server.usecases.exchange import exchange, register_pilot
from p3s.wire import (
    Accepts,
    AttemptReport,
    Claim,
    ExchangeBody,
    ExchangeReply,
    JobOrder,
    OutputReport,
    RegisterBody,
    Verdict,
)

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core


@dataclass
class ScriptedPilot:
    """A pilot that does what a test says."""

    core: Core
    slots: int = 1
    cpus: int = 8
    memory: int = 0
    labels: list[str] = field(default_factory=list)
    site: str = "default"
    accepts: Accepts = field(default_factory=Accepts)
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    secret: str = ""
    number: int = 0
    acked: int = 0

    def __post_init__(self) -> None:
        self.register()

    def register(self) -> None:
        body = RegisterBody(
            uuid=self.uuid,
            host="testhost",
            pid=1,
            version="0",
            slots=self.slots,
            cpus=self.cpus,
            memory=self.memory,
            labels=self.labels,
            site=self.site,
            accepts=self.accepts,
        )
        self.secret = register_pilot(self.core, body, Who("pilots", Role.PILOT), make_token()).secret

    def call(self, **fields: Any) -> ExchangeReply:
        return exchange(self.core, self.uuid, self.secret, ExchangeBody(**fields))

    def claim(self, want: int | None = None, *, ack: bool = True, **fields: Any) -> list[JobOrder]:
        """Claim, and acknowledge what came unless told otherwise."""
        self.number += 1
        memory = self.memory or None
        wish = Claim(number=self.number, want=want or self.slots, cpus=self.cpus, memory=memory)
        reply = self.call(claim=wish, ack=self.acked, **fields)
        if ack:
            self.acked = self.number
            self.call(ack=self.acked)
        return reply.jobs

    def repeat_claim(self, want: int | None = None) -> list[JobOrder]:
        wish = Claim(number=self.number, want=want or self.slots, cpus=self.cpus, memory=self.memory or None)
        return self.call(claim=wish, ack=self.acked).jobs

    def report(self, order: JobOrder, kind: str, **fields: Any) -> Verdict:
        return self.call(reports=[self.make_report(order, kind, **fields)], ack=self.acked).verdicts[0]

    def make_report(self, order: JobOrder, kind: str, **fields: Any) -> AttemptReport:
        body = {"attempt": order.attempt, "token": order.token, "kind": kind} | fields
        if kind == "succeeded" and "outputs" not in fields:
            body["outputs"] = [
                OutputReport(name=output.name, path=self.place(order, output.path), size=3) for output in order.outputs
            ]
        return AttemptReport(**body)

    @staticmethod
    def place(order: JobOrder, path: str) -> str:
        return f"/data/{order.workflow}/{order.job_name}/{order.attempt}/{path}"

    def succeed(self, order: JobOrder) -> Verdict:
        self.report(order, "started")
        return self.report(order, "succeeded", exit_code=0)

    def fail(self, order: JobOrder, reason: str = "exit-code", exit_code: int | None = 1) -> Verdict:
        self.report(order, "started")
        return self.report(order, "failed", reason=reason, exit_code=exit_code)
