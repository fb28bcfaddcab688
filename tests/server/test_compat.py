"""Pilots and clients one minor version older keep working: their bodies are taken, and they find what they read."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple

from p3s.server.auth import Role, Who
from p3s.server.secrets import make_token
from p3s.server.usecases import holds
from p3s.server.usecases.alarms import find_alarms
from p3s.server.usecases.exchange import exchange, register_pilot
from p3s.wire import ExchangeBody, ExchangeReply, JobOrder, RegisterBody
from tests.support.workflows import make_job

#: Bodies as a pilot of 0.1 sends them; a change that refuses them, or drops a field below, breaks running farms.
REGISTER = """{"uuid": "11111111-2222-4333-8444-555555555555", "host": "h", "pid": 7, "version": "0.1.0",
  "slots": 2, "cpus": 2}"""
CLAIM = '{"ack": 0, "claim": {"number": 1, "want": 1, "cpus": 2}, "wait": 0, "running": []}'
DONE = """{"ack": 1, "reports": [
  {"attempt": "%s", "token": "%s", "kind": "started"},
  {"attempt": "%s", "token": "%s", "kind": "succeeded", "exit_code": 0, "wall": 0.5,
   "stdout": "aGkK", "stdout_size": 3}]}"""
ORDER_FIELDS = {
    "attempt",
    "number",
    "token",
    "job",
    "job_name",
    "workflow",
    "run",
    "payload",
    "env",
    "outputs",
    "timelimit",
}


def test_bodies_of_an_older_pilot_are_taken(core):
    """Register, claim and report as an older pilot writes them."""
    make_job(core)
    body = RegisterBody.model_validate_json(REGISTER)
    registered = json.loads(register_pilot(core, body, Who("pilots", Role.PILOT), make_token()).model_dump_json())
    assert registered.keys() >= {"secret", "heartbeat", "lease", "poll", "patience"}
    reply = exchange(core, body.uuid, registered["secret"], ExchangeBody.model_validate_json(CLAIM))
    seen = json.loads(reply.model_dump_json())
    assert seen.keys() >= {"status", "number", "jobs", "verdicts", "stop", "heartbeat", "lease"}
    order = seen["jobs"][0]
    assert order.keys() >= ORDER_FIELDS
    done = DONE % ((order["attempt"], order["token"]) * 2)
    reply = exchange(core, body.uuid, registered["secret"], ExchangeBody.model_validate_json(done))
    assert [verdict.verdict for verdict in reply.verdicts] == ["accepted", "accepted"]


def test_replies_with_more_fields_are_read():
    """A reply of a newer server, with fields that this version does not know, is read."""
    reply = {"status": "OK", "heartbeat": 1, "lease": 2, "jobs": [], "moon": "full"}
    assert ExchangeReply.model_validate(reply).lease == 2
    order = dict.fromkeys(("attempt", "token", "job", "job_name", "workflow", "workflow_name", "owner", "jobtype"), "x")
    assert JobOrder.model_validate(order | {"number": 1, "timelimit": 3, "moon": "full"}).number == 1


def test_alarms_name_what_is_wrong(core, monkeypatch):
    """A paused server and a nearly full disk are alarms; otherwise there is none."""
    core.settings.home.path.mkdir(parents=True)
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 0, 10**12))
    assert find_alarms(core) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, 10**8))
    holds.pause_server(core, "ann")
    paused, disk = find_alarms(core)
    assert "paused by ann" in paused
    assert "0.1 GB left" in disk
