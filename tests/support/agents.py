"""Pilots in this process, with real payloads, against a server in memory."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from p3s.client import Client, Transport
from p3s.pilot.agent import Agent
from p3s.pilot.main import make_register_body
from p3s.pilot.options import PilotOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_options(folder: Path, **fields: Any) -> PilotOptions:
    """Options of a pilot that keeps everything below `folder`."""
    values: dict[str, Any] = {
        "url": "http://127.0.0.1:9",
        "token": "pilot token",
        "data": folder / "data",
        "work": folder / "work",
        "logs": folder / "log",
        "slots": 2,
        "cycles": 1,
        "period": 0.3,
        "grace": 0.5,
        "input_wait": 0.5,
        "register_limit": 5.0,
    }
    return PilotOptions(**(values | fields))


def run_agent(folder: Path, transport: Transport, **fields: Any) -> int:
    """Run a pilot until no more jobs come, and return its exit code."""
    options = make_options(folder, **fields)
    client = Client(options.url, options.token, transport)
    return Agent(options, client, make_register_body(options)).run()


@contextmanager
def start_agent(folder: Path, transport: Transport, **fields: Any) -> Iterator[Agent]:
    """Run a pilot in a thread; at the end it is told to leave twice and must do so."""
    options = make_options(folder, **fields)
    agent = Agent(options, Client(options.url, options.token, transport), make_register_body(options))
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield agent
    finally:
        agent.interrupt()
        agent.interrupt()
        thread.join(20)
        assert not thread.is_alive(), "the pilot did not leave"
