"""Purging: what is old enough goes, or moves into the archive, in many small transactions."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.engine.purging import PurgeKind
from p3s.server.db import lock_rows
from p3s.server.models import (
    archive,
    archive_item,
    archive_job,
    arrival,
    blob,
    dataset,
    event,
    pilot,
)
from p3s.server.queries.purge import (
    GRACE,
    Choice,
    count_chosen,
    find_workflows,
    is_left_behind,
    select_chosen,
)
from p3s.server.transitions.archive import Unready, move_some, select_disposable
from p3s.wire import PurgeCount, PurgeReply

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import PurgeBody

__all__ = ["Purge", "purge"]

#: Seconds that one request purges for.
BUDGET = 5.0
#: Rows that one transaction deletes.
STEP = 500
#: Events that one look goes through.
WINDOW = 5000
#: Workflows that are looked up at a time.
AHEAD = 200


def purge(core: Core, body: PurgeBody, by: str, *, owner: str | None) -> PurgeReply:
    """Say what would go, or let it go, for some seconds.

    Parameters
    ----------
    core : Core
        The server.
    body : PurgeBody
        What was asked for.
    by : str
        Who asked.
    owner : str or None
        Whose things alone; None for all.
    """
    choice = Choice(read_clock() - body.older, body.state, owner, body.name)
    kinds = list(dict.fromkeys(body.what))
    if body.dry_run:
        return PurgeReply(items=[_count(core, kind, choice) for kind in kinds])
    items, left = [], []
    after, more = body.after, False
    end = time.monotonic() + BUDGET
    for kind in kinds:
        work = Purge(core, kind, choice, by, after=body.after)
        # Each kind gets on a little, however long the first ones take.
        begun = False
        while not work.is_over and (time.monotonic() < end or not begun):
            work.step()
            begun = True
        items.append(work.count)
        left += [f"{number} {what}" for what, number in work.left.items()]
        after = max(after, work.after)
        more = more or not work.is_over
    return PurgeReply(items=items, left=left, more=more, after=after)


def _count(core: Core, kind: PurgeKind, choice: Choice) -> PurgeCount:
    with core.db.read() as connection:
        number, jobs, size, estimated = count_chosen(connection, kind, _hold_back(kind, choice))
    return PurgeCount(what=kind, number=number, jobs=jobs, size=size, estimated=estimated)


def _hold_back(kind: PurgeKind, choice: Choice) -> Choice:
    if kind is not PurgeKind.BLOBS:
        return choice
    return Choice(min(choice.before, read_clock() - GRACE), choice.state, choice.owner, choice.name)


class Purge:
    """The purge of one kind, step by step.

    Parameters
    ----------
    core : Core
        The server.
    kind : PurgeKind
        What.
    choice : Choice
        Which of them.
    by : str
        Who purges; it stands in the events.
    after : int
        Up to which event an earlier one has looked.

    Attributes
    ----------
    count : PurgeCount
        What went so far.
    left : Counter of str
        What stays, with the reason, and how many.
    is_over : bool
        Whether all has been looked at.
    """

    def __init__(self, core: Core, kind: PurgeKind, choice: Choice, by: str, *, after: int = 0) -> None:
        self._core, self._kind, self._by = core, kind, by
        self._choice = _hold_back(kind, choice)
        self.count = PurgeCount(what=kind)
        self.left: Counter[str] = Counter()
        self.is_over = False
        self.after = after
        self._queue: list[int] = []
        self._skipped = 0

    def step(self) -> None:
        """Do what one transaction may."""
        match self._kind:
            case PurgeKind.WORKFLOWS | PurgeKind.JOBS:
                self._move()
            case PurgeKind.EVENTS:
                self._look_through_events()
            case PurgeKind.ARCHIVE:
                self._forget()
            case _:
                self._delete()

    def _move(self) -> None:
        if not self._queue:
            with self._core.db.read() as connection:
                self._queue = find_workflows(connection, self._kind, self._choice, skip=self._skipped, limit=AHEAD)[
                    ::-1
                ]
            if not self._queue:
                self.is_over = True
                return
        ident = self._queue[-1]
        try:
            jobs, whole = self._core.change(self._by, lambda ledger: move_some(ledger, ident))
        except Unready as why:
            self.left[f"{self._kind} left: {why}"] += 1
            self._skipped += 1
            self._queue.pop()
            return
        self.count.jobs += jobs
        if whole:
            self.count.number += 1
            self._queue.pop()

    def _delete(self) -> None:
        table, key = {
            PurgeKind.PILOTS: (pilot, pilot.c.id),
            PurgeKind.DATASETS: (dataset, dataset.c.id),
            PurgeKind.ARRIVALS: (arrival, arrival.c.id),
            PurgeKind.BLOBS: (blob, blob.c.digest),
        }[self._kind]
        chosen = select_chosen(self._kind, self._choice)

        def action(ledger: Ledger) -> list[int]:
            ids = ledger.connection.scalars(lock_rows(chosen.limit(STEP), skip_locked=True)).all()
            size = blob.c.size if table is blob else sa.literal(0)
            gone = sa.delete(table).where(key.in_(ids), key.in_(chosen)).returning(size)
            return list(ledger.connection.scalars(gone))

        sizes = self._core.change(self._by, action)
        self.count.number += len(sizes)
        self.count.size += sum(sizes)
        self.is_over = len(sizes) < STEP

    def _look_through_events(self) -> None:
        def action(ledger: Ledger) -> int | None:
            connection = ledger.connection
            window = connection.execute(
                sa.select(event.c.id, event.c.at).where(event.c.id > self.after).order_by(event.c.id).limit(WINDOW)
            ).all()
            old = [row.id for row in window if row.at < self._choice.before]
            if not old:
                return None
            chosen = sa.select(event.c.id).where(
                event.c.id > self.after,
                event.c.id <= old[-1],
                event.c.at < self._choice.before,
                select_disposable(connection),
                is_left_behind(),
            )
            ids = connection.scalars(chosen.order_by(event.c.id).limit(STEP)).all()
            connection.execute(sa.delete(event).where(event.c.id.in_(ids)))
            self._gone = len(ids)
            return int(ids[-1] if len(ids) == STEP else old[-1])

        place = self._core.change(self._by, action)
        if place is None:
            self.is_over = True
            return
        self.after = place
        self.count.number += self._gone

    def _forget(self) -> None:
        def action(ledger: Ledger) -> tuple[int, int, int] | None:
            connection = ledger.connection
            chosen = select_chosen(PurgeKind.ARCHIVE, self._choice).limit(1)
            ident = connection.scalar(lock_rows(chosen))
            if ident is None:
                return None
            row = connection.execute(sa.select(archive).where(archive.c.id == ident)).one()
            gone = {}
            for table in (archive_item, archive_job):
                few = sa.select(table.c.uuid).where(table.c.archive_id == ident).limit(STEP)
                gone[table] = connection.execute(sa.delete(table).where(table.c.uuid.in_(few))).rowcount
            jobs = gone[archive_job]
            if STEP in gone.values():
                return 0, jobs, 0
            connection.execute(sa.delete(archive).where(archive.c.id == ident))
            ledger.note("workflow", row.uuid, "purge", before=row.state)
            return 1, jobs, row.size

        done = self._core.change(self._by, action)
        if done is None:
            self.is_over = True
            return
        number, jobs, size = done
        self.count.number += number
        self.count.jobs += jobs
        self.count.size += size
