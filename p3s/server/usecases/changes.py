"""The frame of a change: one transaction, what closes it, and what is committed along with it.

Changes that are small and arrive together are committed together: a commit waits for the disk, so those that come
meanwhile wait for the next one, which takes all of them. The calls of pilots are even made in one go (`Part`), so that
several cost little more than one. Held calls that a change makes work for are answered in its transaction, too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from p3s.clock import read_clock
from p3s.errors import Unavailable
from p3s.server.queries.runtimes import record_runtimes
from p3s.server.transitions.ledger import Ledger
from p3s.server.transitions.limits import give_back
from p3s.server.transitions.repeats import note_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa

    from p3s.server.db import Database
    from p3s.server.transitions.repeats import Keyed
    from p3s.server.usecases.wakeups import Waiter

__all__ = ["Change", "Changes"]

#: Changes that are committed together, and how many jobs they concern.
TOGETHER, WEIGHT = 32, 128
#: Seconds in which the answers of held calls are written.
WAY = 0.001
#: Names that the cause of what several did together has.
NAMED = 3


class Part(Protocol):
    """What may be done for several at once."""

    @property
    def cause(self) -> str:
        """Stands in its events."""

    @property
    def key(self) -> str:
        """Those with the same one are not done at once, but one after the other."""

    @property
    def weight(self) -> int | None:
        """How many jobs it concerns; None for one that does not go along with others."""

    @staticmethod
    def act(ledger: Ledger, parts: Sequence[Any]) -> Sequence[Any]:
        """Do it for all, and return the result of each; None for one that needs a transaction of its own."""


class Change:
    """One change, before and after its commit.

    Parameters
    ----------
    cause : str
        Stands in its events.
    action : callable
        Makes it, given the ledger.
    keyed : Keyed, optional
        The request that it is made for, if that has a key.

    Attributes
    ----------
    result : object
        What its action returned.
    left : mapping of int to int
        Jobs released that no held call was answered with, by requirement. Of changes made in one go the first has it
        for all, as it has what follows.
    poked : set of int
        Pilots that the server has something to say to.
    rippling : bool
        Whether successors are left to be told in further transactions.
    """

    #: What others may be done along with.
    part: Part | None = None

    def __init__(self, cause: str, action: Callable[[Ledger], Any], keyed: Keyed | None = None) -> None:
        self.cause, self.action, self.keyed = cause, action, keyed
        self.result: Any = None
        self.left: Mapping[int, int] = {}
        self.poked: set[int] = set()
        self.rippling = False
        #: Its thread sleeps on this while another commits for it.
        self.turn = threading.Lock()
        self.done = False
        #: What kept the transaction that it went along with from its commit.
        self.error: BaseException | None = None

    @property
    def waits(self) -> bool:
        """Whether it was left out of the transaction that it went along with."""
        return self.part is not None and self.result is None

    @classmethod
    def of(cls, part: Part) -> Change:
        """Return a change that may be made in one go with others."""
        change = cls(part.cause, lambda ledger: part.act(ledger, [part])[0])
        change.part = part
        return change

    def fits(self, others: Sequence[Change]) -> bool:
        """Return whether it can go along with others that do."""
        parts = [other.part for other in others if other.part is not None]
        if self.part is None or not parts:
            return len(others) < TOGETHER
        weight = sum(part.weight or 0 for part in (*parts, self.part))
        return len(others) < TOGETHER and weight <= WEIGHT and self.part.key not in {part.key for part in parts}


class _Run:
    """Changes that share a ledger: one, or several that are made in one go."""

    def __init__(self, connection: sa.Connection, now: float, changes: Sequence[Change]) -> None:
        self.ledger = ledger = Ledger(connection, now, _name([change.cause for change in changes]))
        for change in changes:
            if change.keyed is not None:
                note_key(ledger, change.keyed)
        parts = [change.part for change in changes if change.part is not None]
        results = parts[0].act(ledger, parts) if parts else [change.action(ledger) for change in changes]
        for change, result in zip(changes, results, strict=True):
            change.result = result
        ledger.settle()
        record_runtimes(connection, ledger.ended)
        if ledger.uncounted:
            give_back(ledger)
        #: Sees to what follows, for all of them.
        self.first = next((change for change in changes if not change.waits), changes[0])
        self.first.left, self.first.poked, self.first.rippling = +ledger.released, ledger.poked, ledger.rippling


def _name(causes: Sequence[str]) -> str:
    """Return what brings about what several did together."""
    named = causes if len(causes) <= NAMED else [*causes[: NAMED - 1], f"{len(causes) - NAMED + 1} more"]
    return ", ".join(named)


def _run_all(connection: sa.Connection, now: float, changes: Sequence[Change]) -> list[_Run]:
    """Act within an open transaction; all parts are of one kind."""
    joint = [change for change in changes if change.part is not None]
    groups = [[change] for change in changes if change.part is None] + ([joint] if joint else [])
    return [_Run(connection, now, group) for group in groups]


class Changes:
    """Commits the changes of one server process.

    Parameters
    ----------
    db : Database
        Where to.
    take : callable
        Takes held calls for jobs released, and returns them with the jobs left for others.
    observe : callable
        Told the seconds of a transaction that gave out jobs.
    """

    def __init__(
        self,
        db: Database,
        take: Callable[[Mapping[int, int]], tuple[list[Waiter], Mapping[int, int]]],
        observe: Callable[[float], None],
    ) -> None:
        self._db, self._take, self._observe = db, take, observe
        self._lock = threading.Lock()
        self._queue: deque[Change] = deque()
        #: Whether a thread commits for those that queue.
        self._led = False

    def commit(self, change: Change, *, small: bool) -> None:
        """Make a change durable; a small one perhaps together with others.

        Raises
        ------
        Unavailable
            If the database cannot be written now; nothing was changed.
        """
        if not small or not (self._db.is_sqlite or change.part is not None):
            # PostgreSQL syncs once for all who commit at a time, and many servers may lock rows there: what locks the
            # rows of several changes, one after the other, may wait in a circle with another that does.
            _give_way(self._transact(lambda: [change], planned=small))
            return
        change.turn.acquire()
        with self._lock:
            self._queue.append(change)
            leads, self._led = not self._led, True
        if not leads:
            # Woken when it is done, or, as the first of those that are left, to commit the next ones.
            change.turn.acquire()
        if not change.done:
            _give_way(self._lead(change))
        if isinstance(change.error, Unavailable):
            raise change.error
        if change.error is not None or change.waits:
            # What went wrong in company, perhaps by the fault of another, runs once more alone.
            _give_way(self._transact(lambda: [change]))

    def _lead(self, own: Change) -> int:
        """Commit for all that have queued by the time that the database can be written; return as `_transact` does."""
        batch: list[Change] = []
        given = 0

        def gather() -> list[Change]:
            with self._lock:
                while not batch or (self._queue and self._queue[0].fits(batch)):
                    batch.append(self._queue.popleft())
            return batch

        error: BaseException | None = None
        try:
            given = self._transact(gather, planned=True)
        except BaseException as caught:
            error = caught
            if len(batch) < 2 or not isinstance(caught, Exception):
                raise
        finally:
            with self._lock:
                if not batch:
                    # The database could not even be opened.
                    batch.append(self._queue.popleft())
                following = self._queue[0] if self._queue else None
                self._led = following is not None
            for change in batch:
                change.done, change.error = True, error
                if change is not own:
                    change.turn.release()
            if following is not None:
                following.turn.release()
        return given

    def _transact(self, gather: Callable[[], Sequence[Change]], *, planned: bool = False) -> int:
        """Make changes in one transaction, and return how many held calls it has answered."""
        taken: list[tuple[Waiter, Change]] = []
        begin = time.monotonic()

        def run(connection: sa.Connection, *, answering: bool = True) -> list[_Run]:
            # Of an earlier run, which was rolled back.
            _ring(taken)
            now = read_clock()
            runs = _run_all(connection, now, gather())
            for change in [one.first for one in runs]:
                if answering and change.left:
                    waiters, change.left = self._take(change.left)
                    taken.extend((waiter, Change.of(waiter.look)) for waiter in waiters)
            try:
                runs += _run_all(connection, now, [look for _, look in taken])
            except Exception as error:
                raise _Disturbed from error
            Ledger.write_events([one.ledger for one in runs])
            return runs

        try:
            try:
                runs = self._db.write(run, planned=planned)
            except _Disturbed:
                runs = self._db.write(partial(run, answering=False), planned=planned)
        except BaseException:
            _ring(taken)
            raise
        for waiter, look in taken:
            waiter.deliver(look.result)
        if any(one.ledger.claimed for one in runs):
            self._observe(time.monotonic() - begin)
        return len(taken)


class _Disturbed(Exception):
    """A held call could not be answered within the transaction of another."""


def _give_way(given: int) -> None:
    """Let held calls that were answered go first: whoever holds Python's lock keeps it for half a millisecond else."""
    if given:
        time.sleep(WAY)


def _ring(taken: list[tuple[Waiter, Change]]) -> None:
    """Let calls that were taken look for themselves."""
    while taken:
        taken.pop()[0].deliver(None)
