"""The state of the pilot's line to the server: claim numbers, calls in flight, pauses, the lease. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from p3s.wire import Claim

if TYPE_CHECKING:
    from random import Random

    from p3s.pilot.events import Answered, CallFailed, Channel
    from p3s.wire import ExchangeBody, RegisterReply

__all__ = ["Link"]

#: Seconds before the first further try after a failed call; the pause doubles up to `LONGEST_PAUSE` or half a lease:
#: after an outage of its own the server ends no lease for one lease length, within which the next try is to come.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0


class Link:
    """Numbers claims and remembers what is in flight.

    A claim is outstanding from the moment it is first sent until its answer arrives; until then it is repeated
    with the same number, and the server answers the same. Two calls may carry it at the same time: the second one
    offers more than the first. The next number waits until both are over.

    Parameters
    ----------
    now : float
        The time.
    random : Random
        Spreads pauses, so that pilots that lost the same server do not return together.
    beat : float or None
        Seconds between two signs of life; the server may ask for more of them, never for fewer.
    """

    def __init__(self, now: float, random: Random, beat: float | None = None) -> None:
        self._random = random
        self._beat = math.inf if beat is None else beat
        self.number = 0
        self.ack = 0
        #: The claim without an answer yet.
        self.claim: Claim | None = None
        self.in_flight: dict[Channel, ExchangeBody] = {}
        self.heartbeat, self.lease, self.poll, self.patience = 10.0, 60.0, 50.0, 900.0
        #: When the last call that was answered had been sent: the lease holds at least from then.
        self.heard = now
        #: When the last call was sent.
        self.sent = now
        #: No call before this.
        self.not_before = now
        self._pause = FIRST_PAUSE
        self.failures = 0

    def accept_terms(self, reply: RegisterReply, now: float) -> None:
        """Take over the durations that the server dictates."""
        self.heartbeat, self.lease = min(reply.heartbeat, self._beat), reply.lease
        self.poll, self.patience = reply.poll, reply.patience
        self.heard = max(self.heard, now)
        self._end_outage(now)

    def make_claim(self, want: int, cpus: int, memory: int | None, ahead: int = 0) -> Claim:
        """Return the claim to send: of the outstanding one's number, or a new one of the next."""
        if self.claim is None:
            self.number += 1
        self.claim = Claim(number=self.number, want=want, cpus=cpus, memory=memory, ahead=ahead)
        return self.claim

    def can_claim(self) -> bool:
        """Return whether no claim is on its way."""
        return all(body.claim is None for body in self.in_flight.values())

    def drop_claim(self) -> None:
        """Ask no more; what an answer under way still brings is handed back."""
        self.claim = None

    def note_sent(self, channel: Channel, body: ExchangeBody, now: float) -> None:
        """Remember a call that goes out."""
        self.in_flight[channel] = body
        self.sent = now

    def note_answer(self, event: Answered, now: float) -> bool:
        """Take in an answer.

        Returns
        -------
        bool
            Whether it fits what was asked; if not, the server contradicts itself.
        """
        self.in_flight.pop(event.channel, None)
        self.heard = max(self.heard, event.sent)
        self.heartbeat, self.lease = min(event.reply.heartbeat, self._beat), event.reply.lease
        self._end_outage(now)
        asked = event.body.claim
        if asked is None or self.claim is None or asked.number != self.claim.number:
            return event.reply.number in {0, asked.number if asked else 0}
        if event.reply.number == asked.number:
            # Nothing for the one call does not say that there is nothing for the other.
            if event.reply.jobs or self.can_claim():
                self.ack = asked.number
                self.drop_claim()
            return True
        # An answer of number 0 has not touched the claim: it is repeated.
        self.not_before = max(self.not_before, now + FIRST_PAUSE)
        return event.reply.number == 0

    def note_failure(self, event: CallFailed, now: float) -> None:
        """Take in that a call brought nothing, and pause longer than the last time."""
        self.in_flight.pop(event.channel, None)
        self.note_trouble(now, event.pause)

    def note_trouble(self, now: float, asked: float = 0.0) -> None:
        """Put off the next call, at least as long as the server asked; each pause in a row is longer."""
        self.failures += 1
        longest = min(LONGEST_PAUSE, self.lease / 2)
        own = self._pause * self._random.uniform(0.75, 1.25)
        self.not_before = now + max(own, min(asked, longest) * self._random.uniform(1.0, 1.5))
        self._pause = min(self._pause * 2, longest)

    def _end_outage(self, now: float) -> None:
        if self.failures:
            self.failures, self._pause = 0, FIRST_PAUSE
            self.not_before = now
