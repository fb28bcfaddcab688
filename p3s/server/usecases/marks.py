"""Marks of server processes: each leaves one while it runs, so that another can tell when it was killed."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.server.models import process
from p3s.server.prepared import Prepared, param

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = ["LOST", "Mark"]

#: Seconds between two signs of life, where several processes may run.
PERIOD = 2.0
#: Seconds without a sign after which a process is gone: if this host has no such process, and in any case.
GONE, SILENT = 5.0, 20.0
#: Seconds for which one that was killed is told of.
LOST = 600.0
_OTHERS = Prepared(sa.select(process).where(process.c.id != param("mine", sa.BigInteger())))


class Mark:
    """The mark of this process.

    Parameters
    ----------
    core : Core
        The server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._host = socket.gethostname()
        self._ident: int | None = None
        self._seen = 0.0

    def keep(self) -> None:
        """Show that this process lives, and look whether others do."""
        now = read_clock()
        if self._ident is None:
            self._ident = self._core.change("start", self._leave)
        elif not self._core.db.is_sqlite and now - self._seen >= PERIOD:
            self._core.change("sign of life", self._sign)
        with self._core.db.read() as connection:
            others = _OTHERS.run(connection, mine=self._ident)
        lost = [row.id for row in others if row.lost is None and self._is_gone(row, now)]
        old = [row.id for row in others if row.lost is not None and row.lost < now - LOST]
        if lost or old:
            self._core.change("found gone", lambda ledger: _note_lost(ledger, lost, old))

    def take_away(self) -> None:
        """Say that this process ends as it should."""
        if self._ident is not None:
            self._core.change("stop", lambda ledger: _delete(ledger, [self._ident]))

    def _leave(self, ledger: Ledger) -> int:
        self._seen = ledger.now
        row = {"host": self._host, "pid": os.getpid(), "started": ledger.now, "seen": ledger.now}
        return int(ledger.connection.scalar(sa.insert(process).values(row).returning(process.c.id)) or 0)

    def _sign(self, ledger: Ledger) -> None:
        self._seen = ledger.now
        # One that was thought dead and speaks again was only slow.
        mine = sa.update(process).where(process.c.id == self._ident)
        ledger.connection.execute(mine.values(seen=ledger.now, lost=None))

    def _is_gone(self, row: Any, now: float) -> bool:
        # SQLite is served by exactly one process, which is this one.
        silence = now - row.seen
        here = row.host == self._host and not _is_running(row.pid)
        return self._core.db.is_sqlite or silence > SILENT or (here and silence > GONE)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _note_lost(ledger: Ledger, lost: list[int], old: list[int]) -> None:
    rows = ledger.connection.execute(
        sa.update(process)
        .where(process.c.id.in_(lost), process.c.lost.is_(None))
        .values(lost=ledger.now)
        .returning(process.c.host, process.c.pid)
    ).all()
    for row in rows:
        ledger.note("server", "", "lost", cause=f"process {row.pid} on {row.host} ended without saying so")
    _delete(ledger, old)


def _delete(ledger: Ledger, ids: Sequence[int | None]) -> None:
    ledger.connection.execute(sa.delete(process).where(process.c.id.in_(ids)))
