"""The acting half of the pilot: one loop that hears, asks the brain, and does as told.

The loop never waits for the network or a large file: `p3s.pilot.callers` sends calls and reads what is there, slow work
with files goes to the pool of `p3s.pilot.hands`. All of them answer through one `p3s.pilot.inbox`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from p3s.memory import gather_memory
from p3s.pilot import events
from p3s.pilot.brain import Brain
from p3s.pilot.callers import Callers
from p3s.pilot.guard import Guard
from p3s.pilot.hands import BlobStore, Hands, Staged
from p3s.pilot.inbox import Inbox
from p3s.pilot.outbox import Outbox
from p3s.pilot.reaper import Exit, Reaper
from p3s.pilot.watch import Watcher

if TYPE_CHECKING:
    from p3s.client import Client
    from p3s.pilot.options import PilotOptions
    from p3s.wire import RegisterBody

__all__ = ["Agent"]

#: Seconds between two looks for results that dead pilots left in the same work folder.
ORPHAN_PAUSE = 60.0

log = logging.getLogger("p3s.pilot")

#: An exception is one that no part foresaw; the loop raises it.
Message: TypeAlias = events.Event | Exit | Staged | Exception


class Agent:
    """One pilot at work.

    Parameters
    ----------
    options : PilotOptions
        What it was told.
    client : Client
        The server, with the pilot token.
    body : RegisterBody
        What it says of itself.

    Raises
    ------
    OSError
        If the work folder cannot be used.
    """

    def __init__(self, options: PilotOptions, client: Client, body: RegisterBody) -> None:
        self._options = options
        self._inbox: Inbox[Message] = Inbox()
        self._outbox = Outbox(options.work, options.uuid)
        self._brain = Brain(options, time.monotonic(), random.Random())  # noqa: S311 - spreads pauses, no secret
        self._client = client
        self._callers = Callers(client, body, self._inbox)
        blobs = BlobStore(
            lambda digest: client.fetch_blob(digest, secret=self._callers.secret),
            lambda digest, content: client.store_blob(digest, content, secret=self._callers.secret),
        )
        self._guard = Guard(options.uuid)
        self._reaper = Reaper()
        self._hands = Hands(options, blobs, self._outbox, self._guard, self._inbox.put, log.info)
        self._watcher = Watcher()
        self._orphans_at = time.monotonic()
        self._todo: deque[Message] = deque()

    def interrupt(self) -> None:
        """Drain; the second time, hand back what runs. May be called from a signal handler."""
        self._inbox.put(events.Interrupted())

    def run(self) -> int:
        """Work until there is a reason to leave.

        Returns
        -------
        int
            The exit code (see `p3s.pilot.exits`).
        """
        try:
            with self._reaper.listen(self._inbox.ring):
                while True:
                    leave = self._step()
                    if leave is not None:
                        log.info("leaving: %s", leave.reason)
                        return leave.code
        finally:
            self._hands.close()
            self._callers.close()
            self._inbox.close()
            self._guard.close()
            self._outbox.close()

    def _step(self) -> events.Leave | None:
        now = time.monotonic()
        if now >= self._orphans_at:
            self._orphans_at = now + ORPHAN_PAUSE
            self._todo.extend(self._hands.take_over())
            self._tidy()
        while self._todo:
            for event in self._translate(self._todo.popleft()):
                self._perform(self._brain.handle(event, time.monotonic()))
        now = time.monotonic()
        leave = self._perform(self._brain.plan(now))
        self._hands.write_down()
        if leave is None and not self._todo:
            self._wait(now)
        return leave

    def _tidy(self) -> None:
        if secret := self._callers.secret:
            self._hands.tidy(lambda attempts: self._client.find_leftovers(attempts, secret=secret))

    def _wait(self, now: float) -> None:
        self._guard.flush(now)
        times = [self._brain.find_next_time(now), self._orphans_at, self._watcher.find_next_time()]
        times += [self._guard.find_next_time(), now + self._reaper.pause]
        # What came at the same time is settled in the same call to the server.
        self._todo.extend(self._inbox.take(max(min(times) - now, 0.001)))
        self._todo.extend(self._reaper.collect())
        chunks = self._watcher.read(time.monotonic())
        if chunks:
            self._todo.append(events.LogsRead(tuple(chunks)))

    def _translate(self, message: Message) -> list[events.Event]:
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Exit):
            return self._hands.note_exit(message)
        if isinstance(message, Staged):
            return self._hands.start(message, self._reaper)
        if isinstance(message, events.Registered):
            self._tidy()
            # In a thread of its own, because the first job may be here at once.
            threading.Thread(target=gather_memory, name="memory", daemon=True).start()
        return [message]

    def _perform(self, instructions: list[events.Instruction]) -> events.Leave | None:
        for instruction in instructions:
            match instruction:
                case events.Call():
                    self._callers.call(instruction)
                case events.Launch(order):
                    log.debug("attempt %s of %s/%s begins", order.attempt, order.workflow_name, order.job_name)
                    self._todo.extend(self._hands.launch(order, self._reaper))
                case events.Settle():
                    self._todo.extend(self._hands.settle(instruction))
                case events.Forget(attempt):
                    self._hands.forget(attempt)
                case events.Discard(attempt):
                    self._hands.discard(attempt)
                case events.Stop(attempt, force, reason):
                    log.info("attempt %s: %s: %s", attempt, "SIGKILL" if force else "SIGTERM", reason)
                    self._hands.stop(attempt, force=force)
                case events.Remove(order):
                    self._hands.remove(order)
                case events.Upload(attempt):
                    self._hands.upload(attempt)
                case events.Publish(attempt):
                    self._hands.publish(attempt)
                case events.Refresh(at, lease):
                    self._guard.renew(at + lease - time.monotonic())
                case events.Watch(attempts):
                    works = [self._hands.find_work(attempt) for attempt in attempts]
                    self._watcher.choose([work for work in works if work is not None])
                case events.Register():
                    self._callers.register()
                case events.Note(text):
                    log.info("%s", text)
                case events.Leave():
                    return instruction
        return None
