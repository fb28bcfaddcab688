"""What the pilot's loop waits for: messages of threads and signal handlers, and lines on which answers come."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Inbox"]

Message = TypeVar("Message")


class Inbox(Generic[Message]):
    """Messages in the order in which they came, for one thread that waits for them.

    That thread also waits for sockets: who hears of an answer by way of another thread is woken twice.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._lines: dict[int, tuple[socket.socket, float, Callable[[], Message | None]]] = {}

    def __del__(self) -> None:
        # Not earlier: a thread that still has something to say must not write to whatever got the same number.
        self._bell.close()
        self._rope.close()

    @property
    def ring(self) -> int:
        """A descriptor; whoever waits is woken by a byte that is written to it."""
        return self._rope.fileno()

    def put(self, message: Message) -> None:
        """Add a message; from any thread, and from signal handlers."""
        self._messages.append(message)
        # A bell that takes no more has been rung and not yet heard.
        with suppress(BlockingIOError):
            self._rope.send(b"\0")

    def watch(self, line: socket.socket, until: float, notice: Callable[[], Message | None]) -> None:
        """Have the waiting thread call `notice`, once: when `line` can be read, or at this time (monotonic).

        What it returns is a message. Called by the waiting thread itself.
        """
        self._lines[line.fileno()] = line, until, notice
        self._poll.register(line, select.POLLIN)

    def take(self, seconds: float) -> list[Message]:
        """Return what there is; wait for it, but no longer than this."""
        now = time.monotonic()
        end = min([now + seconds, *(until for _, until, _ in self._lines.values())])
        ready = {number for number, _ in self._poll.poll(max(end - now, 0.0) * 1000)}
        if self._bell.fileno() in ready:
            # Heard before the messages are taken: what comes later rings again.
            self._bell.recv(4096)
        found = []
        while self._messages:
            found.append(self._messages.popleft())
        now = time.monotonic()
        for number in [number for number, (_, until, _) in self._lines.items() if number in ready or until <= now]:
            _, _, notice = self._lines.pop(number)
            self._poll.unregister(number)
            if (message := notice()) is not None:
                found.append(message)
        return found

    def close(self) -> None:
        """Close the lines on which answers were waited for."""
        while self._lines:
            number, (line, _, _) = self._lines.popitem()
            self._poll.unregister(number)
            line.close()
