"""When a pilot calls the server, with what, and when it leaves. Pure: the time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from p3s.pilot import events
from p3s.pilot.ahead import SHORT, WAIT, Ahead
from p3s.pilot.exits import EXIT_AWAY, EXIT_OK
from p3s.pilot.ledger import Ledger
from p3s.pilot.link import Link
from p3s.pilot.roster import Held, Room, Roster
from p3s.wire import AttemptReport, ExchangeBody

if TYPE_CHECKING:
    from random import Random

    from p3s.pilot.events import Instruction
    from p3s.pilot.options import PilotOptions
    from p3s.wire import Claim, JobOrder, RemovalReport

__all__ = ["GATHER", "Planner"]

#: Seconds that a payload which has just come has to end before the next call: short ones then take one call for
#: start, end and the next claim together, and those that came together are settled together.
GATHER = 0.01
#: Seconds without events after which a full pilot holds a call open, so that stop orders arrive at once.
QUIET = 1.0
#: Seconds after which a claim that offers more than the one that the server holds is repeated, should that one
#: still be held.
NUDGE = 0.5
#: Calls without an answer after which a leaving pilot no longer waits for the server.
LOST_FAREWELLS = 4
#: Calls that a leaving pilot makes at most: a server that never settles a report must not keep it.
FAREWELLS = 100


class Planner:
    """The half of the brain that looks at the clock; `p3s.pilot.brain.Brain` adds what events mean.

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
        self.link = Link(now, random, options.beat)
        self.ledger = Ledger()
        self.roster = Roster(options)
        self.ahead = Ahead()
        self._started = now
        self._registered = False
        self._ever_registered = False
        self._registering = False
        self._goal: tuple[int, str] | None = None
        self._farewells = 0
        self._gone = False
        self._interrupts = 0
        self._broken: set[str] = set()
        self._nonsense = 0
        self._idle_since = now
        self._empty = 0
        self._poll_at = now
        self._nudge_at = now
        self._taken: set[str] = set()
        self._flush_at = float("inf")
        self._activity = now
        self._told = now
        self._logs: list[events.LogsRead] = []
        self._watched: frozenset[str] = frozenset()
        #: Orders to delete files that are being carried out, and what became of those that were.
        self._removing: set[str] = set()
        self._removed: dict[str, RemovalReport] = {}

    def _set_goal(self, code: int, reason: str) -> None:
        if self._goal is None or (code and not self._goal[0]):
            self._goal = code, reason
            self._flush_at = float("-inf")
            self.link.drop_claim()

    def _give_up(self, code: int, reason: str, now: float) -> list[Instruction]:
        self._set_goal(code, reason)
        return self.roster.end_all(reason, now, force=True)

    # Calls ----------------------------------------------------------------------------------------

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
        in_flight = self.link.in_flight
        if "quick" not in in_flight:
            overdue = bool(self.roster) and bool(in_flight) and self._is_heartbeat_due(now)
            decisions += self._plan_quick(now, heartbeat=overdue)
        if "quick" not in in_flight and "held" not in in_flight:
            # A control call may be under way: that the server ends it in time is nothing to rely on.
            decisions += self._plan_claim(now)
        if not in_flight:
            # A call that the server holds says all that a heartbeat would.
            decisions += self._plan_control(now) or self._plan_quick(now, heartbeat=self._is_heartbeat_due(now))
        return decisions

    def _watch_clock(self, now: float) -> list[Instruction]:
        decisions = [*self.ledger.take_retries(now), *self.roster.watch_clock(now, self._lease_end)]
        lifetime, silence = self.options.lifetime, now - self.link.heard
        if lifetime is not None and now >= self._started + lifetime and self._interrupts < 2:
            self._set_goal(EXIT_OK, "its lifetime is over")
            self._interrupts = 2
            decisions += self.roster.end_all("the pilot's lifetime is over", now)
        if silence >= self.link.patience and self._goal is None and self._ever_registered:
            message = f"no answer from the server for {silence:.0f} s"
            decisions += [events.Note(message), *self._give_up(EXIT_AWAY, message, now)]
        return decisions + self._start_waiting(now)

    def _start_waiting(self, now: float) -> list[Instruction]:
        """Launch what there is room for, in the order in which it came, and hand back what waits in vain."""
        overdue = self.ahead.take_overdue(now if self._goal is None else float("inf"), self._lease_end)
        for order in overdue:
            cause = "the pilot is leaving" if self._goal is not None else f"no slot was free for {WAIT:g} s"
            self._return_unstarted(order, "handed-back", cause, now)
        if overdue:
            self.ahead.forget()
        decisions: list[Instruction] = []
        if not self.ahead.waiting:
            return decisions
        room = self.roster.find_room()
        for order, _ in list(self.ahead.waiting.values()):
            # One that is large is not overtaken by small ones for ever.
            if not room.fits(order):
                break
            del self.ahead.waiting[order.attempt]
            self.roster.held[order.attempt] = Held(order, now)
            room = room.take([order])
            decisions.append(events.Launch(order))
        return decisions

    def _return_unstarted(self, order: JobOrder, kind: Literal["handed-back", "stopped"], why: str, now: float) -> None:
        self.ledger.add(AttemptReport(attempt=order.attempt, token=order.token, kind=kind, message=why))
        self._flush_at = min(self._flush_at, now)

    def _say_goodbye(self, now: float) -> list[Instruction] | None:
        if self._goal is None or self.roster:
            return None
        if self.ledger.has_publications():
            # They need no server, and are given up after some tries.
            return []
        lost = self.link.failures >= LOST_FAREWELLS or self._farewells >= FAREWELLS
        if self._gone or lost or not self._registered:
            return [events.Leave(*self._goal)]
        if "quick" in self.link.in_flight or now < self.link.not_before:
            return []
        if self.ledger.has_uploads() or self.ledger.has_due():
            calls = self._plan_quick(now, heartbeat=self._is_heartbeat_due(now))
            self._farewells += len(calls)
            return calls
        self._farewells += 1
        body = ExchangeBody(ack=self.link.ack, running=[], state="leaving", reason=self._goal[1][:1000])
        return [self._send("quick", body, now)]

    def _is_heartbeat_due(self, now: float) -> bool:
        # Compared as `find_next_time` adds, so that rounding never makes the two disagree.
        return now >= self.link.sent + self.link.heartbeat

    def _plan_quick(self, now: float, *, heartbeat: bool) -> list[Instruction]:
        for report in self.roster.take_starts(now, GATHER):
            self.ledger.add(report)
            self._flush_at = min(self._flush_at, now)
        due = self._flush_at <= now and now >= self._find_gathering_end(now)
        has_more = self._has_more()
        if not (due or heartbeat or (has_more and now >= self._nudge_at)):
            return []
        self._flush_at = float("inf")
        reports = self.ledger.take()
        if self.ledger.has_due():
            self._flush_at = now
        chunks = [chunk for read in self._logs for chunk in read.chunks][:1000]
        self._logs.clear()
        body = ExchangeBody(ack=self.link.ack, reports=reports, logs=chunks, state=self._state)
        body.removed = list(self._removed.values())[:1000]
        ahead = self._count_ahead(now) if reports and self.link.can_claim() else 0
        if has_more or ahead or (reports and self._want() and self.link.can_claim()):
            body.claim = self._make_claim(ahead, now)
            body.lifetime = self._find_lifetime(now + WAIT * bool(ahead))
            self._nudge_at = now + NUDGE
        if heartbeat or now - self._told >= self.link.heartbeat:
            body.running, self._told = self._list_running(), now
        return [self._send("quick", body, now)]

    def _plan_claim(self, now: float) -> list[Instruction]:
        if not self._may_claim() or now < max(self._poll_at, self.roster.find_gathering_end(GATHER)):
            return []
        claim = self._make_claim(0, now)
        wait = min(self.options.period, self.link.poll)
        if self.roster:
            wait = min(wait, self.link.heartbeat)
        # Of a claim whose answer was lost only what it brought is asked for where there is no room any more.
        body = self._make_waiting_body(wait if claim.want else 0.0, now)
        body.claim = claim
        body.lifetime = self._find_lifetime(now)
        return [self._send("held", body, now)]

    def _plan_control(self, now: float) -> list[Instruction]:
        if self._may_claim() or not self.roster or now < self._activity + QUIET:
            return []
        return [self._send("control", self._make_waiting_body(self.link.heartbeat, now), now)]

    def _make_waiting_body(self, wait: float, now: float) -> ExchangeBody:
        self._told = now
        heard = sorted(self._watched.union(self.roster.list_ending(), self.ledger.list_stopped(), self._removing))
        running = self._list_running()
        return ExchangeBody(ack=self.link.ack, running=running, heard=heard, state=self._state, wait=wait)

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
        times = [now + link.heartbeat, self.ledger.find_next_retry(), self.roster.find_next_time(self._lease_end)]
        times.append(self.ahead.find_next_time(self._lease_end))
        if self.options.lifetime is not None and self._interrupts < 2:
            times.append(self._started + self.options.lifetime)
        if link.not_before > now:
            times.append(link.not_before)
        elif "quick" not in link.in_flight:
            gathered = self.roster.find_gathering_end(GATHER)
            # What began is reported when it has had its time, whatever else there is to say.
            times += [max(self._flush_at, self._find_gathering_end(now)), gathered if gathered > now else float("inf")]
            if self._has_more():
                times.append(self._nudge_at)
            if self.roster or not link.in_flight:
                times.append(link.sent + link.heartbeat)
            if "held" not in link.in_flight:
                times += [at for at in (self._poll_at, self._activity + QUIET) if at > now]
        return min(times)

    # Facts ----------------------------------------------------------------------------------------

    @property
    def _state(self) -> Literal["working", "draining"]:
        return "working" if self._goal is None else "draining"

    @property
    def _lease_end(self) -> float:
        return self.link.heard + self.link.lease

    def _may_claim(self) -> bool:
        free = self._goal is None and self.link.can_claim()
        return free and (self.link.claim is not None or self._want() > 0)

    def _has_more(self) -> bool:
        """Tell whether more is free than the claim offers that the server holds."""
        held = self.link.in_flight.get("held")
        if held is None or held.claim is None or self.link.claim is None or not self._want():
            return False
        room = self._find_room()
        return (room.memory or 0) > (held.claim.memory or 0) or room.cpus > held.claim.cpus

    def _find_room(self) -> Room:
        """Return what neither payloads nor those that wait take."""
        return self.roster.find_room().take(order for order, _ in self.ahead.waiting.values())

    def _want(self) -> int:
        return 0 if self._goal is not None else max(self._find_room().count_payloads() - self._count_behind(), 0)

    def _count_behind(self) -> int:
        # What was made and not yet brought away fills the disk: beyond one attempt a slot it takes slots.
        return max(len(self.ledger.list_waiting()) - self.options.slots, 0)

    def _count_ahead(self, now: float) -> int:
        """Return how many more jobs than there is room for are asked for, because room will be there soon."""
        if self._goal is not None:
            return 0
        return max(self.ahead.count_wanted(self._find_soon(now).count_payloads()) - self._count_behind(), 0)

    def _find_soon(self, now: float) -> Room:
        """Return what is free when short payloads have ended."""
        return self.roster.find_room(now - SHORT)

    def _find_gathering_end(self, now: float) -> float:
        if not self.ahead.rate:
            return self.roster.find_gathering_end(GATHER)
        # While the slots have work, reports are gathered until the next call is needed to bring more.
        waiting = len(self.ahead.waiting)
        has_work = waiting and waiting > self.ahead.count_needed(self._find_soon(now).count_payloads())
        return self._flush_at + self.ahead.gather if has_work else 0.0

    def _make_claim(self, ahead: int, now: float) -> Claim:
        # A job that comes ahead may need all that those leave which run for longer.
        room = self._find_soon(now) if ahead else self._find_room()
        return self.link.make_claim(self._want() + ahead, room.cpus, room.memory, ahead)

    def _find_lifetime(self, now: float) -> float | None:
        if self.options.lifetime is None:
            return None
        return max(self._started + self.options.lifetime - now, 0.0)

    def _list_running(self) -> list[str]:
        return list(dict.fromkeys([*self.roster.held, *self.ahead.waiting, *self.ledger.list_open()]))
