"""The threads that speak with the server, one per channel, so that no answer ever keeps the pilot waiting."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from p3s.errors import BadInput, BadReply, NotFound, NoToken, P3sError, Refused, Unavailable
from p3s.pilot.events import Answered, CallFailed, Registered, RegisterFailed
from p3s.wire import ExchangeReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.client import Client
    from p3s.pilot.events import Call, Channel, Event, Trouble
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
    tell : callable
        Called from the threads with each event.
    """

    def __init__(self, client: Client, body: RegisterBody, tell: Callable[[Event | Exception], None]) -> None:
        self._client, self._body, self._tell = client, body, tell
        self.secret = ""
        self._queues: dict[Channel, SimpleQueue[Callable[[], Event] | None]] = {
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
        """Send an exchange, at once as far as that takes no waiting; a thread waits for the answer."""
        sent = time.monotonic()
        try:
            finish = self._client.begin_exchange(self._body.uuid, self.secret, call.body)
        except P3sError as error:
            self._tell(_make_failure(call, error))
            return
        self._queues[call.channel].put(lambda: self._finish(call, finish, sent))

    def close(self) -> None:
        """Let the threads end when they are done with what they do."""
        for queue in self._queues.values():
            queue.put(None)

    def _run(self, channel: Channel) -> None:
        queue = self._queues[channel]
        if channel == "held":
            # Made when it is used first, which would be when the first job comes, and takes longer than to start it.
            ExchangeReply.model_rebuild()
        while (work := queue.get()) is not None:
            try:
                self._tell(work())
            except Exception as error:  # noqa: BLE001 - raised again by the loop, which else would wait for ever
                self._tell(error)

    def _register(self) -> Event:
        try:
            reply = self._client.register_pilot(self._body)
        except P3sError as error:
            return RegisterFailed(name_trouble(error), str(error), read_pause(error))
        self.secret = reply.secret
        return Registered(reply)

    def _finish(self, call: Call, finish: Callable[[], ExchangeReply], sent: float) -> Event:
        try:
            reply = finish()
        except P3sError as error:
            return _make_failure(call, error)
        return Answered(call.channel, call.body, reply, sent)


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
