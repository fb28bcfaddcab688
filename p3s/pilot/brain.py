"""The deciding half of the pilot: events in, instructions out; no clock, no files, no network, no threads.

`Brain.handle` takes in one event, `Brain.plan` then says which calls to make. It rests on three tables: the line
to the server (`p3s.pilot.link`), attempts in hand (`p3s.pilot.roster`), reports (`p3s.pilot.ledger`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s.engine.states import PilotStatus, Reason
from p3s.pilot import events
from p3s.pilot.exits import (
    EXIT_AWAY,
    EXIT_BLACK_HOLE,
    EXIT_FAIL,
    EXIT_INCONSISTENT,
    EXIT_NO_ID,
    EXIT_NONSENSE,
    EXIT_OK,
)
from p3s.pilot.planner import GATHER, Planner
from p3s.wire import RemovalReport

if TYPE_CHECKING:
    from p3s.pilot.events import Event, Instruction

__all__ = ["Brain"]

#: Different jobs in a row that cannot be started before the pilot holds itself to be broken; one job that comes
#: again and again may be broken itself.
BLACK_HOLE = 3
#: Answers in a row without sense before the pilot gives up on a server.
NONSENSE = 5
#: Seconds before a report that an answer left without a verdict is sent again.
UNSETTLED_PAUSE = 1.0


class Brain(Planner):
    """Decides for one pilot.

    Parameters
    ----------
    options : PilotOptions
        What the pilot was told.
    now : float
        The time, of any clock that never goes back; all further times are of the same.
    random : Random
        For pauses only.
    """

    # Events ---------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in what happened.

        Parameters
        ----------
        event : Event
            What happened.
        now : float
            The time.

        Returns
        -------
        list of Instruction
            What to do about it, in order.
        """
        match event:
            case events.Answered():
                return self._take_answer(event, now)
            case events.Exited():
                self._activity = now
                return [self.roster.note_exit(event.attempt, now, self._lease_end)]
            case events.Ended():
                return self._take_end(event, now)
            case events.Began():
                return self._take_start(event.attempt, now)
            case events.CallFailed():
                return self._take_failure(event, now)
            case events.Registered():
                self._registered = self._ever_registered = True
                self._registering = False
                self._idle_since = now
                self.link.accept_terms(event.reply, now)
                return [events.Refresh(self.link.heard, self.link.lease)]
            case events.RegisterFailed():
                return self._take_refusal(event, now)
            case events.Uploaded():
                self.ledger.note_upload(event.attempt)
                self._flush_at = now
                return []
            case events.UploadFailed():
                note = events.Note(f"attempt {event.attempt}: results not uploaded: {event.message}")
                if event.report is not None:
                    self.ledger.replace(event.report)
                    self._flush_at = now
                    return [note]
                return [note, *self.ledger.retry(events.Upload(event.attempt), now)]
            case events.Published():
                return self.ledger.note_published(event.attempt)
            case events.PublishFailed():
                note = events.Note(f"attempt {event.attempt}: not published: {event.message}")
                return [note, *self.ledger.retry(events.Publish(event.attempt), now)]
            case events.Recovered():
                self._flush_at = now
                if event.accepted:
                    return self.ledger.resume_publication(event.report.attempt)
                return self.ledger.add(event.report, uploads=event.uploads, publishes=event.publishes, foreign=True)
            case events.Removed():
                self._removed[event.uuid] = RemovalReport(uuid=event.uuid, message=event.message)
                self._flush_at = now
                return []
            case events.Interrupted():
                return self._take_interrupt(now)
            case events.LogsRead():
                self._logs.append(event)
                self._flush_at = now
                return []

    def _take_answer(self, event: events.Answered, now: float) -> list[Instruction]:
        reply = event.reply
        self._nonsense = 0
        is_newest = event.body.claim == self.link.claim
        fits = self.link.note_answer(event, now)
        # What ended while the call was under way is gathered from now on.
        self._flush_at = max(self._flush_at, now)
        if event.body.reports:
            self.ahead.note_call(now - event.sent)
        # A call that the server held may be answered after later ones: it renews nothing.
        decisions: list[Instruction] = [events.Refresh(self.link.heard, self.link.lease)]
        for removal in event.body.removed:
            # A server that did not take it asks again.
            self._removed.pop(removal.uuid, None)
            self._removing.discard(removal.uuid)
        self.ledger.suspicious = False
        settled = self.ledger.note_verdicts(event.body.reports, reply.verdicts)
        after = [decision for instruction in settled for decision in self._stop_or(instruction, now)]
        if self.ledger.has_due():
            self._flush_at = min(self._flush_at, now + UNSETTLED_PAUSE)
        if event.body.state == "leaving":
            self._gone = True
            return decisions + after
        if not fits:
            message = f"the server answered claim {reply.number}, which was not asked"
            return decisions + after + self._give_up(EXIT_INCONSISTENT, message, now)
        # What is over is cleared away while the new payloads run.
        decisions += self._take_jobs(event, now, is_newest=is_newest) + after
        for stop in reply.stop:
            if stop.attempt in self.ahead.waiting:
                order, _ = self.ahead.waiting.pop(stop.attempt)
                self._return_unstarted(order, "stopped", stop.reason, now)
            elif stop.attempt in self.roster:
                decisions += self.roster.end(stop.attempt, "stopped", stop.reason or "the server asked for it", now)
            else:
                decisions += self.ledger.stop(stop.attempt, stop.reason, now)
        fresh = [order for order in reply.removals if order.uuid not in self._removing]
        self._removing.update(order.uuid for order in fresh)
        decisions += [events.Remove(order) for order in fresh]
        watched = frozenset(reply.watch) & self.roster.held.keys()
        if watched != self._watched:
            self._watched = watched
            decisions.append(events.Watch(watched))
        return decisions + self._take_status(reply.status, reply.message, now)

    def _take_jobs(self, event: events.Answered, now: float, *, is_newest: bool) -> list[Instruction]:
        reply = event.reply
        if any(not order.attempt or not order.job for order in reply.jobs):
            return self._give_up(EXIT_NO_ID, "the server sent a job without its id", now)
        # What was reported has run.
        reported = {report.attempt for report in event.body.reports}
        known = self.roster.held.keys() | self.ahead.waiting.keys() | self._taken | reported
        new = [order for order in reply.jobs if order.attempt not in known]
        # Another call with the same claim may bring them again, even when they have ended.
        self._taken = set() if self.link.can_claim() else self._taken.union(order.attempt for order in new)
        if new:
            self._idle_since = self._activity = now
            self._empty = 0
            self._flush_at = min(self._flush_at, now + GATHER)
        elif event.channel == "held" and is_newest:
            self._count_empty(event, now)
        # Those that come by a claim which was under way when this pilot began to leave go back at once.
        self.ahead.waiting |= {order.attempt: (order, now) for order in new}
        return self._start_waiting(now)

    def _count_empty(self, event: events.Answered, now: float) -> None:
        elapsed, reply = now - event.sent, event.reply
        if elapsed >= event.body.wait * 0.5:
            self._empty = 0
        elif not (reply.stop or reply.watch or reply.verdicts or reply.removals):
            # Answered too early and for nothing; a pause keeps this from becoming a storm of questions.
            self._poll_at = now + min(0.02 * 2.0**self._empty, 2.0)
            self._empty += 1
        if not self.roster:
            idle, life = now - self._idle_since, self.options.cycles * self.options.period
            # The server's clock may run a little faster than this one.
            if life and idle >= life * 0.98:
                self._set_goal(EXIT_OK, f"no job came for {idle:.0f} s")

    def _take_status(self, status: PilotStatus, message: str, now: float) -> list[Instruction]:
        match status:
            case PilotStatus.DRAIN:
                self._set_goal(EXIT_OK, message or "the server asked it to drain")
            case PilotStatus.KILL:
                return self._give_up(EXIT_OK, message or "the server asked it to stop", now)
            case PilotStatus.FAIL:
                return self._give_up(EXIT_FAIL, message or "the server said FAIL", now)
            case _:
                pass
        return []

    def _take_start(self, attempt: str, now: float) -> list[Instruction]:
        self.roster.held[attempt].began = self._activity = now
        self._broken.clear()
        return []

    def _take_end(self, event: events.Ended, now: float) -> list[Instruction]:
        held = self.roster.held[event.report.attempt]
        report = self.roster.remove(event.report)
        self._activity = self._idle_since = now
        self._flush_at = min(self._flush_at, now)
        self._watched -= {report.attempt}
        if report.reason is Reason.NONSTARTER:
            self._broken.add(held.order.job)
            if len(self._broken) >= BLACK_HOLE:
                cause = f"{len(self._broken)} jobs in a row could not be started here: {report.message}"
                self._set_goal(EXIT_BLACK_HOLE, cause)
        counts = report.kind == "succeeded"
        if counts:
            self.ahead.note_run(now - held.taken)
        else:
            self.ahead.forget()
        decisions = self.ledger.add(report, uploads=event.uploads and counts, publishes=event.publishes and counts)
        return decisions + self._start_waiting(now)

    def _take_failure(self, event: events.CallFailed, now: float) -> list[Instruction]:
        self.link.note_failure(event, now)
        self.ledger.give_back(event.body.reports)
        self._idle_since = now
        if event.body.reports or event.body.removed:
            self._flush_at = min(self._flush_at, now)
        note = events.Note(f"no exchange with the server: {event.message}")
        first = [note] if self.link.failures == 1 else []
        match event.trouble:
            case "forgotten":
                self._registered = False
                self.link.not_before = now
            case "rejected" if len(event.body.reports) == 1:
                return [*first, *self.ledger.refuse(event.body.reports[0], event.message)]
            case "rejected":
                self.ledger.suspicious = bool(event.body.reports)
                if not event.body.reports:
                    return [note, *self._give_up(EXIT_INCONSISTENT, event.message, now)]
            case "nonsense":
                self._nonsense += 1
                if self._nonsense >= NONSENSE:
                    return [note, *self._give_up(EXIT_NONSENSE, event.message, now)]
            case "refused":
                return [note, *self._give_up(EXIT_FAIL, event.message, now)]
            case "away":
                pass
        return [*first]

    def _take_refusal(self, event: events.RegisterFailed, now: float) -> list[Instruction]:
        self._registering = False
        self.link.note_trouble(now, event.pause)
        note = events.Note(f"not registered: {event.message}")
        first: list[Instruction] = [note] if self.link.failures == 1 else []
        if event.trouble in {"refused", "rejected", "forgotten"}:
            return [note, *self._give_up(EXIT_FAIL, event.message, now)]
        if event.trouble == "nonsense":
            self._nonsense += 1
            if self._nonsense >= NONSENSE or not self._ever_registered:
                return [note, *self._give_up(EXIT_NONSENSE, event.message, now)]
        if not self._ever_registered and now - self._started >= self.options.register_limit:
            return [note, *self._give_up(EXIT_AWAY, event.message, now)]
        return first

    def _take_interrupt(self, now: float) -> list[Instruction]:
        self._interrupts += 1
        self._set_goal(EXIT_OK, "it was asked to, by a signal")
        if self._interrupts == 1:
            text = f"draining: {len(self.roster)} payloads finish; a second signal hands them back"
            return [events.Note(text)]
        # The third one is from somebody who will not wait for payloads that ignore SIGTERM.
        stops = self.roster.end_all("the pilot was told to leave", now, force=self._interrupts > 2)
        for attempt in self.ledger.list_waiting():
            stops += self.ledger.stop(attempt, "the pilot was told to leave", now)
        return [events.Note("handing back what runs"), *stops]

    # Ends -----------------------------------------------------------------------------------------

    def _stop_or(self, instruction: Instruction, now: float) -> list[Instruction]:
        if not isinstance(instruction, events.Stop):
            return [instruction]
        if instruction.attempt not in self.roster:
            return []
        # That it was stopped is reported, and what it made deleted on the answer.
        return self.roster.end(instruction.attempt, "stopped", instruction.reason, now, force=instruction.force)
