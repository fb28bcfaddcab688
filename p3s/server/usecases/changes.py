"""The frame of a change: one transaction, what closes it, and what is committed along with it.

Changes that are small and arrive together are committed together, where one writes at a time anyway: a commit waits
for the disk, so those that come meanwhile wait for the next one, which takes all of them. Held calls that a change
makes work for are answered in its transaction, too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

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

#: Changes that are committed together.
TOGETHER = 32


class Change:
    """One change, before and after its commit.

    Parameters
    ----------
    cause : str
        Stands in its events.
    action : callable
        Makes it.
    keyed : Keyed, optional
        The request that it is made for, if that has a key.

    Attributes
    ----------
    ledger : Ledger
        Of its last run.
    result : object
        What its action returned.
    left : mapping of int to int
        Jobs that it released and that no held call was answered with, by requirement.
    """

    ledger: Ledger

    def __init__(self, cause: str, action: Callable[[Ledger], Any], keyed: Keyed | None = None) -> None:
        self.cause, self.action, self.keyed = cause, action, keyed
        self.result: Any = None
        self.left: Mapping[int, int] = {}
        #: Its thread sleeps on this while another commits for it.
        self.turn = threading.Lock()
        self.done = False
        #: What kept the transaction that it went along with from its commit.
        self.error: BaseException | None = None

    def run(self, connection: sa.Connection, now: float) -> None:
        """Act within an open transaction."""
        self.ledger = ledger = Ledger(connection, now, self.cause)
        if self.keyed is not None:
            note_key(ledger, self.keyed)
        self.result = self.action(ledger)
        ledger.settle()
        record_runtimes(connection, ledger.ended)
        if ledger.uncounted:
            give_back(ledger)
        self.left = ledger.released


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
        if not small or not self._db.is_sqlite:
            # PostgreSQL syncs once for all who commit at a time, and many servers may lock rows there: what locks the
            # rows of several calls in one transaction may wait in a circle with another that does.
            self._transact(lambda: [change], planned=small)
            return
        change.turn.acquire()
        with self._lock:
            self._queue.append(change)
            leads, self._led = not self._led, True
        if not leads:
            # Woken when it is done, or, as the first of those that are left, to commit the next ones.
            change.turn.acquire()
        if not change.done:
            self._lead(change)
        if isinstance(change.error, Unavailable):
            raise change.error
        if change.error is not None:
            # What went wrong in company, perhaps by the fault of another, runs once more alone.
            self._transact(lambda: [change])

    def _lead(self, own: Change) -> None:
        """Commit for all that have queued by the time that the database can be written."""
        batch: list[Change] = []

        def gather() -> list[Change]:
            with self._lock:
                while not batch or (self._queue and len(batch) < TOGETHER):
                    batch.append(self._queue.popleft())
            return batch

        error: BaseException | None = None
        try:
            self._transact(gather)
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

    def _transact(self, gather: Callable[[], Sequence[Change]], *, planned: bool = False) -> None:
        taken: list[tuple[Waiter, Change]] = []
        begin = time.monotonic()

        def run(connection: sa.Connection, *, answering: bool = True) -> list[Change]:
            # Of an earlier run, which was rolled back.
            _ring(taken)
            changes = list(gather())
            now = read_clock()
            for change in changes:
                change.run(connection, now)
            for change in changes:
                if answering and change.left:
                    waiters, change.left = self._take(change.left)
                    taken.extend((waiter, Change(waiter.cause, waiter.look)) for waiter in waiters)
            for _, look in taken:
                try:
                    look.run(connection, now)
                except Exception as error:
                    raise _Disturbed from error
                changes.append(look)
            Ledger.write_events([change.ledger for change in changes])
            return changes

        try:
            try:
                changes = self._db.write(run, planned=planned)
            except _Disturbed:
                changes = self._db.write(partial(run, answering=False), planned=planned)
        except BaseException:
            _ring(taken)
            raise
        for waiter, look in taken:
            waiter.deliver(look.result)
        if any(change.ledger.claimed for change in changes):
            self._observe(time.monotonic() - begin)


class _Disturbed(Exception):
    """A held call could not be answered within the transaction of another."""


def _ring(taken: list[tuple[Waiter, Change]]) -> None:
    """Let calls that were taken look for themselves."""
    while taken:
        taken.pop()[0].deliver(None)
