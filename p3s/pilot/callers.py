"""Who speaks with the server, so that no answer ever keeps the pilot waiting.

The loop sends each call, and reads each answer that is there at once and whole. For all else there is a thread for each
channel: for connections that are still to be made, for TLS, and for what comes in pieces.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from p3s.errors import BadInput, BadReply, NotFound, NoToken, P3sError, Refused, Unavailable
from p3s.pilot.events import Answered, CallFailed, Registered, RegisterFailed
from p3s.wire import AttemptReport, ExchangeReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.client import Client
    from p3s.pilot.events import Call, Channel, Event, Trouble
    from p3s.pilot.inbox import Inbox
    from p3s.wire import RegisterBody

__all__ = ["Callers", "name_trouble", "read_pause"]


class Callers:
    """Carries out calls, each channel's in order.

    Parameters
    ----------
    client : Client
        With the pilot token.
    body : RegisterBody
        What the pilot says of itself.
    inbox : Inbox
        Takes each event, and waits for answers.
    """

    def __init__(self, client: Client, body: RegisterBody, inbox: Inbox[Any]) -> None:
        self._client, self._body, self._inbox = client, body, inbox
        self.secret = ""
        self._queues: dict[Channel, SimpleQueue[Callable[[], Event | None] | None]] = {
            "quick": SimpleQueue(),
            "held": SimpleQueue(),
            "control": SimpleQueue(),
        }
        for channel in self._queues:
            # A call that the server holds must not keep the pilot from leaving: the threads are daemons.
            threading.Thread(target=self._run, args=(channel,), name=f"caller-{channel}", daemon=True).start()

    def register(self) -> None:
        """Ask the server to know this pilot."""
        self._queues["quick"].put(self._register)

    def call(self, call: Call) -> None:
        """Send an exchange, at once as far as that takes no waiting."""
        at = time.monotonic()
        try:
            sent = self._client.begin_exchange(self._body.uuid, self.secret, call.body)
        except P3sError as error:
            self._inbox.put(_make_failure(call, error))
            return

        def finish() -> None:
            self._queues[call.channel].put(lambda: _hear(call, sent.finish, at))

        def look() -> Event | None:
            event = _hear(call, sent.look, at)
            if event is None:
                finish()
            return event

        if sent.line is None:
            finish()
        else:
            self._inbox.watch(sent.line, sent.until, look)

    def close(self) -> None:
        """Let the threads end when they are done with what they do."""
        for queue in self._queues.values():
            queue.put(None)

    def _run(self, channel: Channel) -> None:
        queue = self._queues[channel]
        if channel == "held":
            # Made when they are used first, which would be at the first job, and take longer than to start it.
            ExchangeReply.model_rebuild()
            AttemptReport.model_rebuild()
        while (work := queue.get()) is not None:
            try:
                self._inbox.put(work())
            except Exception as error:  # noqa: BLE001 - raised again by the loop, which else would wait for ever
                self._inbox.put(error)

    def _register(self) -> Event:
        try:
            reply = self._client.register_pilot(self._body)
        except P3sError as error:
            return RegisterFailed(name_trouble(error), str(error), read_pause(error))
        self.secret = reply.secret
        return Registered(reply)


def _hear(call: Call, read: Callable[[], ExchangeReply | None], at: float) -> Event | None:
    """Return what an answer, or its want, means to a call that was sent at this time; None if it is not here."""
    try:
        reply = read()
    except P3sError as error:
        return _make_failure(call, error)
    return None if reply is None else Answered(call.channel, call.body, reply, at)


def _make_failure(call: Call, error: P3sError) -> CallFailed:
    return CallFailed(call.channel, call.body, name_trouble(error), str(error), read_pause(error))


def read_pause(error: P3sError) -> float:
    """Return the seconds for which a server that is overloaded asks to be left alone."""
    return error.retry_after if isinstance(error, Unavailable) else 0.0


def name_trouble(error: P3sError) -> Trouble:
    """Return what an error means to a pilot."""
    match error:
        case NoToken() | NotFound():
            return "forgotten"
        case BadInput():
            return "rejected"
        case BadReply():
            return "nonsense"
        case Refused():
            return "refused"
        case _:
            # No answer, the server's own error, or a pause it asks for: it may be well again soon.
            return "away"
