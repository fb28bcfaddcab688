"""The deciding half of the pilot: events in, instructions out; no clock, no files, no network, no threads.

`Brain.handle` takes in one event, `Brain.plan` then says which calls to make. What is known about payloads lives
here, the line to the server in `p3s.pilot.link`, undelivered reports in `p3s.pilot.ledger`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from p3s.engine.states import PilotStatus, Reason
from p3s.pilot import events
from p3s.pilot.exits import (
    EXIT_AWAY,
    EXIT_BLACK_HOLE,
    EXIT_FAIL,
    EXIT_INCONSISTENT,
    EXIT_NO_ID,
    EXIT_NONSENSE,
)
from p3s.pilot.ledger import Ledger
from p3s.pilot.link import Link
from p3s.wire import AttemptReport, ExchangeBody

if TYPE_CHECKING:
    from random import Random

    from p3s.pilot.events import Event, Instruction
    from p3s.pilot.options import PilotOptions
    from p3s.wire import Claim, JobOrder

__all__ = ["Brain", "Held"]

#: Seconds to wait for a payload's end before its start is reported alone: short payloads take one call, not two.
GATHER = 0.02
#: Seconds without events after which a full pilot holds a call open, through which stop orders arrive at once.
QUIET = 1.0
#: Payloads in a row that cannot be started before the pilot holds itself to be broken.
BLACK_HOLE = 3
#: Answers in a row without sense before the pilot gives up on a server.
NONSENSE = 5
#: Calls without an answer after which a leaving pilot no longer waits for the server.
LOST_FAREWELLS = 4
#: Calls that a leaving pilot makes at most: a server that never settles a report must not keep it.
FAREWELLS = 100
#: Seconds before a report that an answer left without a verdict is sent again.
UNSETTLED_PAUSE = 1.0

#: Why a payload is being ended.
End: TypeAlias = Literal["timelimit", "stopped", "handed-back"]


@dataclass(slots=True)
class Held:
    """One attempt in this pilot's hands.

    Attributes
    ----------
    order : JobOrder
        What the server asked for.
    began : float or None
        When the payload started.
    exited : bool
        Whether its first process has ended.
    end : str or None
        Why it is being ended, if it is.
    kill_at : float
        When SIGKILL follows SIGTERM.
    """

    order: JobOrder
    began: float | None = None
    exited: bool = False
    end: End | None = None
    message: str = ""
    kill_at: float = field(default=float("inf"))

    @property
    def due(self) -> float:
        """When something must be done about it."""
        if self.end is not None or self.began is None or self.exited:
            return self.kill_at
        return self.began + self.order.timelimit


class Brain:
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

    def __init__(self, options: PilotOptions, now: float, random: Random) -> None:
        self.options = options
        self.link = Link(now, random)
        self.ledger = Ledger()
        self.held: dict[str, Held] = {}
        self._started = now
        self._registered = False
        self._ever_registered = False
        self._registering = False
        self._goal: tuple[int, str] | None = None
        self._farewells = 0
        self._gone = False
        self._interrupts = 0
        self._nonstarters = 0
        self._nonsense = 0
        self._idle_since = now
        self._empty = 0
        self._poll_at = now
        self._flush_at = float("inf")
        self._activity = now
        self._told = now
        self._logs: list[events.LogsRead] = []
        self._watched: frozenset[str] = frozenset()

    # Events --------------------------------------------------------------------------------------------------

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
                held = self.held[event.attempt]
                held.exited, held.kill_at, self._activity = True, float("inf"), now
                return [events.Settle(event.attempt, look=held.end is None)]
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
                return [events.Refresh(now, self.link.lease)]
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
                return self.ledger.add(
                    event.report, uploads=event.uploads, publishes=event.publishes, foreign=True
                )
            case events.Interrupted():
                return self._take_interrupt(now)
            case events.LogsRead():
                self._logs.append(event)
                self._flush_at = now
                return []

    def _take_answer(self, event: events.Answered, now: float) -> list[Instruction]:
        reply = event.reply
        self._nonsense = 0
        fits = self.link.note_answer(event, now)
        decisions: list[Instruction] = [events.Refresh(event.sent, self.link.lease)]
        self.ledger.suspicious = False
        for instruction in self.ledger.note_verdicts(event.body.reports, reply.verdicts):
            decisions += self._stop_or(instruction, now)
        if self.ledger.has_due():
            self._flush_at = min(self._flush_at, now + UNSETTLED_PAUSE)
        if event.body.state == "leaving":
            self._gone = True
            return decisions
        if not fits:
            message = f"the server answered claim {reply.number}, which was not asked"
            return decisions + self._give_up(EXIT_INCONSISTENT, message, now)
        decisions += self._take_jobs(event, now)
        for stop in reply.stop:
            if stop.attempt in self.held:
                decisions += self._end(stop.attempt, "stopped", stop.reason or "the server asked for it", now)
        watched = frozenset(reply.watch) & self.held.keys()
        if watched != self._watched:
            self._watched = watched
            decisions.append(events.Watch(watched))
        return decisions + self._take_status(reply.status, reply.message, now)

    def _take_jobs(self, event: events.Answered, now: float) -> list[Instruction]:
        reply = event.reply
        if any(not order.attempt or not order.job for order in reply.jobs):
            return self._give_up(EXIT_NO_ID, "the server sent a job without its id", now)
        new = [order for order in reply.jobs if order.attempt not in self.held]
        if new:
            self._idle_since = self._activity = now
            self._empty = 0
            self._flush_at = min(self._flush_at, now + GATHER)
        elif event.channel == "held" and event.body.claim is not None:
            self._count_empty(event, now)
        decisions: list[Instruction] = []
        for order in new:
            if self._goal is None:
                self.held[order.attempt] = Held(order)
                decisions.append(events.Launch(order))
            else:
                # It came by a claim that was under way when this pilot began to leave.
                report = AttemptReport(
                    attempt=order.attempt,
                    token=order.token,
                    kind="handed-back",
                    message="the pilot is leaving",
                )
                decisions += self.ledger.add(report)
        return decisions

    def _count_empty(self, event: events.Answered, now: float) -> None:
        elapsed, reply = now - event.sent, event.reply
        if elapsed >= event.body.wait * 0.5:
            self._empty = 0
        elif not (reply.stop or reply.watch or reply.verdicts):
            # Answered too early and for nothing; a pause keeps this from becoming a storm of questions.
            self._poll_at = now + min(0.02 * 2.0**self._empty, 2.0)
            self._empty += 1
        if not self.held:
            idle, life = now - self._idle_since, self.options.cycles * self.options.period
            # The server's clock may run a little faster than this one.
            if life and idle >= life * 0.98:
                self._set_goal(0, f"no job came for {idle:.0f} s")

    def _take_status(self, status: PilotStatus, message: str, now: float) -> list[Instruction]:
        match status:
            case PilotStatus.DRAIN:
                self._set_goal(0, message or "the server asked it to drain")
            case PilotStatus.KILL:
                return self._give_up(0, message or "the server asked it to stop", now)
            case PilotStatus.FAIL:
                return self._give_up(EXIT_FAIL, message or "the server said FAIL", now)
            case _:
                pass
        return []

    def _take_start(self, attempt: str, now: float) -> list[Instruction]:
        held = self.held[attempt]
        held.began = self._activity = now
        self._nonstarters = 0
        if held.exited or held.end is not None:
            return []
        self._flush_at = min(self._flush_at, now + GATHER)
        return self.ledger.add(AttemptReport(attempt=attempt, token=held.order.token, kind="started"))

    def _take_end(self, event: events.Ended, now: float) -> list[Instruction]:
        report = event.report
        held = self.held.pop(report.attempt)
        self._activity = self._flush_at = self._idle_since = now
        self._watched -= {report.attempt}
        if report.reason is Reason.NONSTARTER:
            self._nonstarters += 1
            if self._nonstarters >= BLACK_HOLE:
                cause = f"{self._nonstarters} payloads in a row could not be started here: {report.message}"
                self._set_goal(EXIT_BLACK_HOLE, cause)
        if held.end is not None and not (held.end == "handed-back" and report.kind == "succeeded"):
            report = _convert_report(report, held.end, held.message)
            return self.ledger.add(report)
        return self.ledger.add(report, uploads=event.uploads, publishes=event.publishes)

    def _take_failure(self, event: events.CallFailed, now: float) -> list[Instruction]:
        self.link.note_failure(event, now)
        self.ledger.give_back(event.body.reports)
        self._idle_since = now
        if event.body.reports:
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
        self.link.note_trouble(now)
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
        self._set_goal(0, "it was asked to, by a signal")
        if self._interrupts == 1:
            text = f"draining: {len(self.held)} payloads finish; a second signal hands them back"
            return [events.Note(text)]
        decisions: list[Instruction] = [events.Note("handing back what runs")]
        for attempt in list(self.held):
            decisions += self._end(attempt, "handed-back", "the pilot was told to leave", now)
        return decisions

    # Ends ----------------------------------------------------------------------------------------------------

    def _set_goal(self, code: int, reason: str) -> None:
        if self._goal is None or (code and not self._goal[0]):
            self._goal = code, reason
            self._flush_at = float("-inf")
            self.link.drop_claim()

    def _give_up(self, code: int, reason: str, now: float) -> list[Instruction]:
        self._set_goal(code, reason)
        decisions: list[Instruction] = []
        for attempt in list(self.held):
            decisions += self._end(attempt, "handed-back", reason, now, force=True)
        return decisions

    def _stop_or(self, instruction: Instruction, now: float) -> list[Instruction]:
        if isinstance(instruction, events.Discard) and instruction.attempt in self.held:
            # Its payload still runs. That it was stopped is reported, and what it made deleted on the answer.
            return self._end(instruction.attempt, "stopped", "another attempt counts", now, force=True)
        return [instruction]

    def _end(
        self, attempt: str, end: End, message: str, now: float, *, force: bool = False
    ) -> list[Instruction]:
        held = self.held[attempt]
        if held.exited:
            # It only remains to be reported, and the report says what counts more.
            if end == "stopped":
                held.end, held.message = end, message
            return []
        if held.end is None or (end == "stopped" and held.end != "stopped"):
            held.end, held.message = end, message
        elif not force:
            return []
        force = force or self.options.grace <= 0
        held.kill_at = float("inf") if force else now + self.options.grace
        return [events.Stop(attempt, force, message)]

    # Calls ---------------------------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Instruction]:
        """Return what is due: calls to make, payloads whose time is over, the exit.

        Parameters
        ----------
        now : float
            The time.

        Returns
        -------
        list of Instruction
            Empty if there is nothing to do before the next event or `find_next_time`.
        """
        decisions = self._watch_clock(now)
        goodbye = self._say_goodbye(now)
        if goodbye is not None:
            return decisions + goodbye
        if now < self.link.not_before:
            return decisions
        if not self._registered:
            if not self._registering:
                self._registering = True
                decisions.append(events.Register())
            return decisions
        if "quick" not in self.link.in_flight:
            decisions += self._plan_quick(now)
        if "held" not in self.link.in_flight and "quick" not in self.link.in_flight:
            decisions += self._plan_held(now)
        return decisions

    def _watch_clock(self, now: float) -> list[Instruction]:
        decisions: list[Instruction] = [*self.ledger.take_retries(now)]
        lifetime, silence = self.options.lifetime, now - self.link.heard
        if lifetime is not None and now - self._started >= lifetime and self._interrupts < 2:
            self._set_goal(0, "its lifetime is over")
            self._interrupts = 2
            for attempt in list(self.held):
                decisions += self._end(attempt, "handed-back", "the pilot's lifetime is over", now)
        if silence >= self.link.patience and self._goal is None and self._ever_registered:
            message = f"no answer from the server for {silence:.0f} s"
            decisions += [events.Note(message), *self._give_up(EXIT_AWAY, message, now)]
        for attempt, held in list(self.held.items()):
            if held.order.exclusive and held.end is None and silence >= self.link.lease:
                # The server gives such a job out again only because it can trust in this.
                decisions += self._end(
                    attempt, "handed-back", "exclusive, and the lease is over", now, force=True
                )
            if now < held.due:
                continue
            if held.end is None:
                message = f"the time limit of {held.order.timelimit:g} s is over"
                decisions += self._end(attempt, "timelimit", message, now)
            else:
                held.kill_at = float("inf")
                decisions.append(events.Stop(attempt, force=True, reason=held.message))
        return decisions

    def _say_goodbye(self, now: float) -> list[Instruction] | None:
        if self._goal is None or self.held:
            return None
        if self.ledger.has_publications():
            # They need no server, and are given up after some tries.
            return []
        lost = self.link.failures >= LOST_FAREWELLS or self._farewells >= FAREWELLS
        if self._gone or lost or not self._registered:
            return [events.Leave(*self._goal)]
        if "quick" in self.link.in_flight or now < self.link.not_before:
            return []
        self._farewells += 1
        if self.ledger.has_uploads() or self.ledger.has_due():
            return self._plan_quick(now)
        body = ExchangeBody(ack=self.link.ack, running=[], state="leaving", reason=self._goal[1][:1000])
        return [self._send("quick", body, now)]

    def _plan_quick(self, now: float) -> list[Instruction]:
        due = self._flush_at <= now
        heartbeat = now - self.link.sent >= self.link.heartbeat and (
            bool(self.held) or "held" not in self.link.in_flight
        )
        if not (due or heartbeat):
            return []
        self._flush_at = float("inf")
        reports = self.ledger.take()
        if self.ledger.has_due():
            self._flush_at = now
        chunks = [chunk for read in self._logs for chunk in read.chunks][:1000]
        self._logs.clear()
        body = ExchangeBody(ack=self.link.ack, reports=reports, logs=chunks, state=self._state)
        if reports and self._want() and self.link.can_claim():
            body.claim = self._make_claim()
            body.lifetime = self._find_lifetime(now)
        if heartbeat or now - self._told >= self.link.heartbeat:
            body.running, self._told = self._list_running(), now
        return [self._send("quick", body, now)]

    def _plan_held(self, now: float) -> list[Instruction]:
        heard = sorted(self._watched.union(attempt for attempt, held in self.held.items() if held.end))
        body = ExchangeBody(ack=self.link.ack, running=self._list_running(), heard=heard, state=self._state)
        if self._goal is None and self.link.can_claim() and (self._want() or self.link.claim is not None):
            if now < self._poll_at:
                return []
            body.claim = self._make_claim()
            body.lifetime = self._find_lifetime(now)
            wait = min(self.options.period, self.link.poll)
            body.wait = min(wait, self.link.heartbeat) if self.held else wait
        elif self.held and now - self._activity >= QUIET:
            body.wait = self.link.heartbeat
        else:
            return []
        self._told = now
        self._flush_at = float("inf") if not self.ledger.has_due() else self._flush_at
        return [self._send("held", body, now)]

    def _send(self, channel: events.Channel, body: ExchangeBody, now: float) -> Instruction:
        self.link.note_sent(channel, body, now)
        return events.Call(channel, body)

    def find_next_time(self, now: float) -> float:
        """Return when `plan` is to be called again if nothing happens.

        Parameters
        ----------
        now : float
            The time.

        Returns
        -------
        float
            At most one heartbeat ahead.
        """
        link = self.link
        times = [
            now + link.heartbeat,
            self.ledger.find_next_retry(),
            *(held.due for held in self.held.values()),
        ]
        if self.options.lifetime is not None and self._interrupts < 2:
            times.append(self._started + self.options.lifetime)
        if any(held.order.exclusive and held.end is None for held in self.held.values()):
            times.append(link.heard + link.lease)
        if link.not_before > now:
            times.append(link.not_before)
        elif "quick" not in link.in_flight:
            times.append(self._flush_at)
            if self.held or "held" not in link.in_flight:
                times.append(link.sent + link.heartbeat)
            if "held" not in link.in_flight:
                times += [at for at in (self._poll_at, self._activity + QUIET) if at > now]
        return min(times)

    # Facts ---------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> Literal["working", "draining"]:
        return "working" if self._goal is None else "draining"

    def _want(self) -> int:
        if self._goal is not None:
            return 0
        cpus = self.options.total_cpus - sum(held.order.cpus for held in self.held.values())
        if cpus <= 0 or self._find_memory() == 0:
            return 0
        return max(self.options.slots - len(self.held), 0)

    def _find_memory(self) -> int | None:
        if not self.options.memory:
            return None
        return max(self.options.memory - sum(held.order.memory for held in self.held.values()), 0)

    def _make_claim(self) -> Claim:
        cpus = self.options.total_cpus - sum(held.order.cpus for held in self.held.values())
        return self.link.make_claim(self._want(), cpus, self._find_memory())

    def _find_lifetime(self, now: float) -> float | None:
        if self.options.lifetime is None:
            return None
        return max(self._started + self.options.lifetime - now, 0.0)

    def _list_running(self) -> list[str]:
        return list(dict.fromkeys([*self.held, *self.ledger.list_open()]))


def _convert_report(report: AttemptReport, end: End, message: str) -> AttemptReport:
    # What the payload's end looks like is our own doing; what it used and wrote still tells something.
    if end == "timelimit":
        return report.model_copy(
            update={"kind": "failed", "reason": Reason.TIMELIMIT, "message": message, "outputs": []}
        )
    return report.model_copy(update={"kind": end, "reason": None, "message": message, "outputs": []})
