"""The attempts in a pilot's hands: what they take, when their time is over, why they are being ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from p3s.engine.states import Reason
from p3s.pilot.events import Note, Settle, Stop
from p3s.wire import AttemptReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p3s.pilot.events import Instruction
    from p3s.pilot.options import PilotOptions
    from p3s.wire import JobOrder

__all__ = ["End", "Held", "Room", "Roster"]

#: Why a payload is being ended.
End: TypeAlias = Literal["timelimit", "stopped", "handed-back"]

_NEVER = float("inf")
LEASE_OVER = "exclusive, and the lease is over"


@dataclass(slots=True)
class Held:
    """One attempt in this pilot's hands.

    Attributes
    ----------
    order : JobOrder
        What the server asked for.
    taken : float
        When its turn came.
    began : float or None
        When the payload started.
    told : bool
        Whether its start is reported, or need not be.
    exited : bool
        Whether its first process has ended.
    end : str or None
        Why it is being ended, if it is, with the `message` for people.
    kill_at : float
        When SIGKILL follows SIGTERM.
    """

    order: JobOrder
    taken: float
    began: float | None = None
    told: bool = False
    exited: bool = False
    end: End | None = None
    message: str = ""
    kill_at: float = _NEVER

    @property
    def due(self) -> float:
        """When something must be done about its time."""
        if self.end is not None or self.began is None or self.exited:
            return self.kill_at
        return self.began + self.order.timelimit


class Room(NamedTuple):
    """What payloads may take; a memory of None is bounded by nothing."""

    slots: int
    cpus: int
    memory: int | None

    def fits(self, order: JobOrder) -> bool:
        """Return whether a payload can run in it."""
        return self.slots > 0 and order.cpus <= self.cpus and (self.memory is None or order.memory <= self.memory)

    def take(self, orders: Iterable[JobOrder]) -> Room:
        """Return what is left when these run."""
        room = self
        for order in orders:
            memory = None if room.memory is None else max(room.memory - order.memory, 0)
            room = Room(max(room.slots - 1, 0), max(room.cpus - order.cpus, 0), memory)
        return room

    def count_payloads(self) -> int:
        """Return how many payloads can run in it."""
        return 0 if self.cpus <= 0 or self.memory == 0 else self.slots


class Roster:
    """All attempts in hand.

    Parameters
    ----------
    options : PilotOptions
        With the pilot's slots, cpus and memory.
    """

    def __init__(self, options: PilotOptions) -> None:
        self._options = options
        self.held: dict[str, Held] = {}

    def __bool__(self) -> bool:
        return bool(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def __contains__(self, attempt: str) -> bool:
        return attempt in self.held

    def find_room(self, since: float = _NEVER) -> Room:
        """Return what no attempt takes, or only one that came after `since`."""
        taken = [held.order for held in self.held.values() if held.taken <= since]
        memory = self._options.memory
        return Room(
            max(self._options.slots - len(taken), 0),
            max(self._options.total_cpus - sum(order.cpus for order in taken), 0),
            max(memory - sum(order.memory for order in taken), 0) if memory else None,
        )

    def list_ending(self) -> list[str]:
        """Return the attempts that are being ended."""
        return [attempt for attempt, held in self.held.items() if held.end is not None]

    def end(self, attempt: str, end: End, message: str, now: float, *, force: bool = False) -> list[Instruction]:
        """Begin to end a payload, or press on with it.

        Parameters
        ----------
        attempt : str
            Which.
        end : str
            Why. That the server asked for it outweighs every other cause; else the first one stands.
        message : str
            The same for people.
        now : float
            The time.
        force : bool
            SIGKILL at once.

        Returns
        -------
        list of Instruction
            Empty if it is ending already, or only remains to be reported.
        """
        held = self.held[attempt]
        outweighs = held.end is None or (end == "stopped" and held.end != "stopped")
        if outweighs and not (held.exited and end != "stopped"):
            held.end, held.message = end, message
        elif not force:
            return []
        if held.exited:
            return []
        force = force or self._options.grace <= 0
        held.kill_at = _NEVER if force else now + self._options.grace
        return [Stop(attempt, force, message)]

    def end_all(self, message: str, now: float, *, force: bool = False) -> list[Instruction]:
        """Begin to hand back everything."""
        return [
            instruction
            for attempt in list(self.held)
            for instruction in self.end(attempt, "handed-back", message, now, force=force)
        ]

    def watch_clock(self, now: float, lease_end: float) -> list[Instruction]:
        """End what has no time left.

        Parameters
        ----------
        now : float
            The time.
        lease_end : float
            When the server may begin to hand out exclusive jobs anew.

        Returns
        -------
        list of Instruction
            Stops that are due.
        """
        decisions: list[Instruction] = []
        for attempt, held in self.held.items():
            if held.order.exclusive and held.end is None and now >= lease_end:
                decisions += self.end(attempt, "handed-back", LEASE_OVER, now, force=True)
            elif now >= held.due and held.end is None:
                message = f"the time limit of {held.order.timelimit:g} s is over"
                decisions += [Note(f"attempt {attempt}: {message}"), *self.end(attempt, "timelimit", message, now)]
            elif now >= held.due:
                held.kill_at = _NEVER
                decisions.append(Stop(attempt, force=True, reason=held.message))
        return decisions

    def note_exit(self, attempt: str, now: float, lease_end: float) -> Settle:
        """Take in that a payload's first process ended.

        Parameters
        ----------
        attempt : str
            Which.
        now : float
            The time.
        lease_end : float
            When the keeper began to kill exclusive payloads.

        Returns
        -------
        Settle
            Its outputs may count if it was not ended, or succeeded before its hand-back took hold.
        """
        held = self.held[attempt]
        if held.order.exclusive and held.end is None and now >= lease_end:
            # The keeper was quicker than this pilot, which was cut off or frozen: no fault of the payload.
            held.end, held.message = "handed-back", LEASE_OVER
        held.exited, held.kill_at = True, _NEVER
        return Settle(attempt, look=held.end in {None, "handed-back"}, forced=held.end is not None)

    def find_next_time(self, lease_end: float) -> float:
        """Return when `watch_clock` has something to do; infinity for never."""
        exclusive = any(held.order.exclusive and held.end is None for held in self.held.values())
        return min([lease_end if exclusive else _NEVER, *(held.due for held in self.held.values())])

    def take_starts(self, now: float, gather: float) -> list[AttemptReport]:
        """Return reports of the payloads that have run for `gather` seconds and were not reported yet."""
        reports = []
        for attempt, held in self.held.items():
            if held.told or held.began is None or held.exited or held.end or now < held.began + gather:
                continue
            held.told = True
            reports.append(AttemptReport(attempt=attempt, token=held.order.token, kind="started"))
        return reports

    def find_gathering_end(self, gather: float) -> float:
        """Return when the youngest attempt has had `gather` seconds to end by itself."""
        # From its start on, if it has begun: to start it may have taken longer than that.
        young = [
            (held.taken if held.began is None else held.began) + gather
            for held in self.held.values()
            if not held.told and held.end is None
        ]
        return max(young, default=0.0)

    def remove(self, report: AttemptReport) -> AttemptReport:
        """Let an attempt go and return its report, put right by why it was ended."""
        held = self.held.pop(report.attempt)
        if held.end is None or (held.end == "handed-back" and report.kind == "succeeded"):
            return report
        changes: dict[str, object] = {"outputs": [], "message": held.message, "reason": None, "kind": held.end}
        if held.end == "timelimit":
            changes |= {"kind": "failed", "reason": Reason.TIMELIMIT}
        # What its end looks like is our own doing; what it used and wrote still tells something.
        return report.model_copy(update=changes)
