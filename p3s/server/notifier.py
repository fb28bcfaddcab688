"""The thread that tells people: nothing else waits for a receiver."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING

from p3s.engine.notices import compose
from p3s.errors import Unavailable
from p3s.notify.send import Message, NotSent, send
from p3s.server.usecases.notices import settle_letter, take_letters

if TYPE_CHECKING:
    from p3s.engine.notices import Letter
    from p3s.notify.rules import Notify
    from p3s.server.usecases.core import Core

__all__ = ["Notifier"]

log = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK = 2.0
#: Seconds after which it is written down how far the event log was read, though there was no news.
KEEP = 60.0


class Notifier(threading.Thread):
    """Looks for troubles and sends what is due, until told to end.

    Several server processes may run one: the book's row is locked while it is changed, and a letter is taken by one.
    """

    def __init__(self, core: Core, notify: Notify) -> None:
        super().__init__(name="notifier", daemon=True)
        self._core, self._notify = core, notify
        self._over = threading.Event()

    def run(self) -> None:
        """Look each `LOOK` seconds."""
        awake_since = last = kept = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            # As for leases: who could not be heard because this process was away, or stalled, was not silent.
            if now - last > LOOK + 5.0:
                awake_since = now
            try:
                keep = now - kept > KEEP
                settled = now - awake_since > self._core.settings.lease
                for letter in take_letters(self._core, self._notify.pace, settled=settled, keep=keep):
                    self._send(letter)
                kept = now if keep else kept
            except Unavailable as error:
                log.warning("notifications put off: %s", error)
            except Exception:
                # As the sweeper, it must outlive any one failure; the next look tries again.
                log.exception("notifications failed")
            # Sending takes time, and that is no stall.
            last = time.monotonic()
            self._over.wait(LOOK)

    def stop(self) -> None:
        """End the thread."""
        self._over.set()

    def _send(self, letter: Letter) -> None:
        subject, text = compose(letter, self._notify.name)
        # The first of its notices names a letter, so that a receiver can tell a repetition.
        first = letter.notices[0]
        ident = str(uuid.uuid5(uuid.NAMESPACE_URL, f"p3s:{letter.channel}:{first.trouble.key}:{first.at}"))
        message = Message(ident, self._notify.name, subject, text, letter.notices)
        try:
            remark = send(self._notify.channels[letter.channel], message)
        except NotSent as error:
            log.warning("notification not sent: %s", error)
            settle_letter(self._core, letter, subject, error.reason)
        else:
            settle_letter(self._core, letter, f"{subject}{remark}")
