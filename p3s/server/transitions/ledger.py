"""The one place that writes state columns: guarded moves, each with its event row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine import states
from p3s.server import models
from p3s.server.db import split_batches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import StrEnum

    from p3s.engine.states import Signal

__all__ = ["Ledger"]

_TABLES: dict[str, tuple[sa.Table, Mapping[tuple[Any, Signal], Any]]] = {
    "job": (models.job, states.JOB),
    "attempt": (models.attempt, states.ATTEMPT),
    "dataset": (models.dataset, states.DATASET),
    "workflow": (models.workflow, states.WORKFLOW),
    "pilot": (models.pilot, states.PILOT),
}


@dataclass(slots=True)
class Ledger:
    """The changes of one transaction.

    Attributes
    ----------
    connection : sqlalchemy.Connection
        The open transaction.
    now : float
        The server's clock, read once for the whole transaction.
    cause : str
        Who or what brings the changes about; it stands in each event.
    released : Counter of int
        Per requirement, how many jobs became claimable: pilots to wake after the commit.
    poked : set of int
        Pilots that the server has something to say to after the commit.
    rippling : bool
        Whether successors are left to be told in further transactions.
    ended : set of int
        Workflows that became final.
    """

    connection: sa.Connection
    now: float
    cause: str
    released: Counter[int] = field(default_factory=Counter)
    poked: set[int] = field(default_factory=set)
    rippling: bool = False
    ended: set[int] = field(default_factory=set)
    _events: list[dict[str, Any]] = field(default_factory=list)

    def move(
        self,
        noun: str,
        ids: Sequence[int],
        signal: Signal,
        /,
        *,
        expected: StrEnum | None = None,
        cause: str | None = None,
        guard: sa.ColumnElement[bool] | None = None,
        **values: Any,
    ) -> list[int]:
        """Move the rows `ids` by `signal` where their state admits it, and return the ids that moved.

        Parameters
        ----------
        noun : str
            ``job``, ``attempt``, ``dataset``, ``workflow`` or ``pilot``.
        ids : sequence of int
            Row ids.
        signal : Signal
            What happens; `engine.states` says where it leads.
        expected : StrEnum, optional
            Only from this state.
        cause : str, optional
            Stands in the events instead of the ledger's own.
        guard : sqlalchemy condition, optional
            A further condition on the row.
        **values
            Columns to set with the state; values or expressions.
        """
        table, transitions = _TABLES[noun]
        moved: list[int] = []
        for after, sources in states.find_sources(transitions, signal).items():
            for before in sources:
                if expected is not None and before is not expected:
                    continue
                left = ids if not moved else sorted(set(ids) - set(moved))
                for batch in split_batches(left):
                    moved += self._move_batch(table, noun, batch, (before, signal, after), cause, guard, values)
                if len(moved) == len(ids):
                    return moved
        return moved

    def _move_batch(
        self,
        table: sa.Table,
        noun: str,
        ids: Sequence[int],
        step: tuple[StrEnum, Signal, StrEnum],
        cause: str | None,
        guard: sa.ColumnElement[bool] | None,
        values: dict[str, Any],
    ) -> list[int]:
        before, signal, after = step
        statement = (
            sa.update(table)
            .where(table.c.id.in_(ids), table.c.state == before)
            .values(state=after, **values)
            .returning(table.c.id, table.c.uuid)
        )
        if guard is not None:
            statement = statement.where(guard)
        rows = self.connection.execute(statement).all()
        for row in rows:
            self.note(noun, row.uuid, signal, before=before, after=after, cause=cause)
        return [row.id for row in rows]

    def note(
        self,
        noun: str,
        uuid: str,
        signal: str,
        *,
        before: str = "",
        after: str = "",
        cause: str | None = None,
    ) -> None:
        """Add an event: a move, or something that was refused and changes nothing."""
        self._events.append(
            {
                "at": self.now,
                "noun": noun,
                "uuid": uuid,
                "signal": str(signal),
                "before": str(before),
                "after": str(after),
                "cause": self.cause if cause is None else cause,
            }
        )

    def write_events(self) -> None:
        """Insert the events; the last act before the commit."""
        if self._events:
            self.connection.execute(sa.insert(models.event), self._events)
            self._events = []
