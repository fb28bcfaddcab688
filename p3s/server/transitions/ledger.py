"""The one place that writes state columns: guarded moves, each with its event row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from p3s.engine import states
from p3s.server import models
from p3s.server.db import lock_rows, split_batches
from p3s.server.prepared import InsertRows, Prepared, among, has_state, param

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from enum import StrEnum

    from p3s.engine.states import Signal
    from p3s.server.pipeline import Later

    #: What brings moves about: all of them, or each by the id of its row.
    Cause = str | Mapping[int, str]

__all__ = ["Ledger", "Moving", "Preset", "move_where", "prepare_taking"]

_TABLES: dict[str, tuple[sa.Table, Mapping[tuple[Any, Signal], Any]]] = {
    "job": (models.job, states.JOB),
    "attempt": (models.attempt, states.ATTEMPT),
    "dataset": (models.dataset, states.DATASET),
    "workflow": (models.workflow, states.WORKFLOW),
    "pilot": (models.pilot, states.PILOT),
}

_EVENTS = InsertRows(models.event, ("at", "noun", "uuid", "signal", "before", "after", "cause"))


class Preset:
    """Columns that a kind of move sets by expressions, and a condition on the row: a constant of its module.

    Parameters
    ----------
    guard : sqlalchemy condition, optional
        A further condition on the row.
    returned : sequence of sqlalchemy columns
        What else is told of rows that moved, as they are then.
    **values
        Expressions by column. Their parameters, made by `param`, are given with each move.
    """

    def __init__(
        self,
        guard: sa.ColumnElement[bool] | None = None,
        returned: Sequence[sa.ColumnElement[Any]] = (),
        **values: Any,
    ) -> None:
        self.guard, self.returned = guard, tuple(returned)
        self.values = values
        every = [*values.values(), *([] if guard is None else [guard])]
        found = (part for value in every if isinstance(value, sa.ClauseElement) for part in _find_parameters(value))
        #: Names of the parameters.
        self.names = frozenset(found)


def _find_parameters(clause: sa.ClauseElement) -> list[str]:
    return [part.key for part in visitors.iterate(clause) if isinstance(part, sa.BindParameter) and part.value is None]


@cache
def _prepare_move(
    noun: str, before: StrEnum, after: StrEnum, names: tuple[str, ...], preset: Preset | None, *, each: bool
) -> Prepared:
    """Return the guarded move of rows between two states, made once for each kind of move."""
    table = _TABLES[noun][0]
    chosen = table.c.id == param("id_", table.c.id.type) if each else among(table.c.id, "ids")
    values = {name: param(f"v_{name}", table.c[name].type) for name in names}
    statement = (
        sa.update(table)
        .where(chosen, has_state(table, before))
        .values(state=after, **values, **(preset.values if preset else {}))
        .returning(*_list_returned(table), *(preset.returned if preset else ()))
    )
    if preset is not None and preset.guard is not None:
        statement = statement.where(preset.guard)
    return Prepared(statement)


def prepare_taking(
    noun: str, before: StrEnum, signal: Signal, found: sa.Select[Any], preset: Preset, *returned: sa.Column[Any]
) -> Prepared:
    """Return the move of those rows in state `before` that `found` gives the ids of, but for what others have locked.

    Run by `Ledger.move_found`; `returned` is told of rows that moved beside what `preset` says.
    """
    table, transitions = _TABLES[noun]
    free = sa.select(table.c.id).where(table.c.id.in_(found), has_state(table, before))
    # Else PostgreSQL may look more than once, and lock more rows than were asked for.
    taken = lock_rows(free, skip_locked=True).cte("taken").prefix_with("MATERIALIZED", dialect="postgresql")
    return Prepared(
        sa.update(table)
        .where(table.c.id.in_(sa.select(taken.c.id)))
        .values(state=transitions[before, signal], **preset.values)
        .returning(*_list_returned(table), *preset.returned, *returned)
    )


def _list_returned(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    # An attempt that ends leaves the counter of its jobtype, if it stands in one.
    return (table.c.id, table.c.uuid, *((table.c.counted,) if table is models.attempt else ()))


def move_where(noun: str, before: StrEnum, signal: Signal, condition: sa.ColumnElement[bool]) -> sa.Case[Any]:
    """Return what an update sets the state to, so that of its rows in state `before` those move that fit `condition`.

    Who sends such an update has its rows, with their ``id``, ``uuid`` and ``state``, taken in by `Ledger.take_moved`.
    """
    table, transitions = _TABLES[noun]
    moves = sa.and_(has_state(table, before), condition)
    return sa.case((moves, str(transitions[before, signal])), else_=table.c.state)


class Moving:
    """Rows on their way from one state to another: which of them moved is known when the database has answered.

    With `some`, only rows that are in the new state have moved.
    """

    def __init__(
        self,
        ledger: Ledger,
        noun: str,
        step: tuple[StrEnum, Signal, StrEnum],
        sent: Sequence[Later],
        cause: Cause,
        then: Callable[[list[int]], None] | None,
        *,
        some: bool = False,
    ) -> None:
        self._ledger, self._noun, self._step, self._sent, self._then = ledger, noun, step, sent, then
        self._cause, self._some = cause, some
        self._moved: list[int] | None = None

    def find_moved(self) -> list[int]:
        """Return the ids that moved; the first time, their events are noted."""
        if self._moved is None:
            rows = [row for one in self._sent for row in one.rows() if not self._some or row.state == self._step[2]]
            self._moved = self._ledger.note_moved(self._noun, rows, self._step, self._cause)
            if self._then is not None:
                self._then(self._moved)
        return self._moved


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
        Who or what brings the changes about; it stands in each event that is given no cause of its own.
    released : Counter of int
        Per requirement, how many jobs became claimable: pilots to wake after the commit.
    poked : set of int
        Pilots that the server has something to say to after the commit.
    rippling : bool
        Whether successors are left to be told in further transactions.
    ended : set of int
        Workflows of a DAG that became final: their run times are remembered.
    uncounted : set of int
        Attempts that ended and still stand in the counter of their jobtype.
    claimed : int
        Jobs given to pilots.
    """

    connection: sa.Connection
    now: float
    cause: str
    released: Counter[int] = field(default_factory=Counter)
    poked: set[int] = field(default_factory=set)
    rippling: bool = False
    ended: set[int] = field(default_factory=set)
    uncounted: set[int] = field(default_factory=set)
    claimed: int = 0
    _events: list[dict[str, Any]] = field(default_factory=list)
    _pending: list[Callable[[], object]] = field(default_factory=list)

    def move(
        self,
        noun: str,
        ids: Sequence[int],
        signal: Signal,
        /,
        *,
        expected: StrEnum | None = None,
        cause: Cause | None = None,
        guard: sa.ColumnElement[bool] | None = None,
        preset: Preset | None = None,
        take: Callable[[Sequence[Any]], None] | None = None,
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
        cause : str or mapping of int to str, optional
            Stands in the events instead of the ledger's own; one for all, or one for each row id.
        guard : sqlalchemy condition, optional
            A further condition on the row.
        preset : Preset, optional
            Expressions to set, and a condition, of a kind of move that is frequent.
        take : callable, optional
            Given the rows that moved, with what `preset` returns of them.
        **values
            Columns to set with the state, values or expressions; and the parameters of `preset`.
        """
        if not ids:
            return []
        table, transitions = _TABLES[noun]
        is_plain = guard is None and not any(isinstance(value, sa.ClauseElement) for value in values.values())
        moved: list[int] = []
        for after, sources in states.find_sources(transitions, signal).items():
            for before in sources:
                if expected is not None and before is not expected:
                    continue
                left = ids if not moved else sorted(set(ids) - set(moved))
                step = (before, signal, after)
                if is_plain or preset is not None:
                    moved += self._move_prepared(noun, left, step, cause, preset, values, take)
                    continue
                for batch in split_batches(left):
                    moved += self._move_batch(table, noun, batch, step, cause, guard, values)
                if len(moved) == len(ids):
                    return moved
        return moved

    def send(
        self,
        noun: str,
        ids: Sequence[int],
        signal: Signal,
        /,
        *,
        expected: StrEnum,
        cause: Cause | None = None,
        then: Callable[[list[int]], None] | None = None,
        **values: Any,
    ) -> Moving:
        """Move rows as `move` does, all from one state, without waiting for the database.

        Parameters
        ----------
        noun, ids, signal, expected, cause
            As in `move`.
        then : callable, optional
            Told the ids that moved, when the database has said which.
        **values
            Columns to set with the state: values, no expressions.
        """
        names, given = _arrange(values, None)
        after = _TABLES[noun][1][expected, signal]
        statement = _prepare_move(noun, expected, after, names, None, each=False)
        sent = [statement.send(self.connection, ids=list(ids), **given)] if ids else []
        return self._await(Moving(self, noun, (expected, signal, after), sent, cause or self.cause, then))

    def send_each(
        self,
        noun: str,
        signal: Signal,
        rows: Mapping[int, Mapping[str, Any]],
        /,
        *,
        expected: StrEnum,
        cause: Cause | None = None,
        preset: Preset | None = None,
    ) -> Moving:
        """Move rows that are in state `expected`, each with values of its own, without waiting for the database.

        Parameters
        ----------
        noun, signal, expected, cause, preset
            As in `move`.
        rows : mapping of int to mapping
            For each row id the columns to set and the parameters of `preset`; all have the same names.
        """
        after = _TABLES[noun][1][expected, signal]
        sent = []
        # Locked in one order, whoever moves them.
        for ident, values in sorted(rows.items()):
            names, given = _arrange(values, preset)
            statement = _prepare_move(noun, expected, after, names, preset, each=True)
            sent.append(statement.send(self.connection, id_=ident, **given))
        return self._await(Moving(self, noun, (expected, signal, after), sent, cause or self.cause, None))

    def move_held(self, noun: str, ident: int, uuid: str, signal: Signal, /, *, before: StrEnum, cause: str) -> None:
        """Move a row that this transaction has locked and read in state `before`: nobody need wait to see it moved."""
        after = _TABLES[noun][1][before, signal]
        _prepare_move(noun, before, after, (), None, each=True).send(self.connection, id_=ident)
        self.note(noun, uuid, signal, before=before, after=after, cause=cause)

    def take_moved(
        self, noun: str, before: StrEnum, signal: Signal, sent: Sequence[Later], then: Callable[[list[int]], None]
    ) -> None:
        """Have those rows of updates that `move_where` moved taken in, when the database has said which."""
        step = (before, signal, _TABLES[noun][1][before, signal])
        self._await(Moving(self, noun, step, sent, self.cause, then, some=True))

    def move_found(
        self, noun: str, before: StrEnum, signal: Signal, statement: Prepared, /, *, cause: str, **values: Any
    ) -> list[Any]:
        """Run what `prepare_taking` gave, and return the rows that moved."""
        rows = statement.run(self.connection, **values)
        self.settle()
        self.note_moved(noun, rows, (before, signal, _TABLES[noun][1][before, signal]), cause)
        return rows

    def _await(self, moving: Moving) -> Moving:
        self._pending.append(moving.find_moved)
        return moving

    def defer(self, action: Callable[[], object]) -> None:
        """Have `action`, which looks at what was sent before, run when the database is waited for anyway."""
        self._pending.append(action)

    def settle(self) -> None:
        """Take in what moved of all that was sent, and do what was put off."""
        while self._pending:
            pending, self._pending = self._pending, []
            for one in pending:
                one()

    def _move_prepared(
        self,
        noun: str,
        ids: Sequence[int],
        step: tuple[StrEnum, Signal, StrEnum],
        cause: Cause | None,
        preset: Preset | None,
        values: dict[str, Any],
        take: Callable[[Sequence[Any]], None] | None,
    ) -> list[int]:
        before, _, after = step
        names, given = _arrange(values, preset)
        statement = _prepare_move(noun, before, after, names, preset, each=False)
        rows = statement.run(self.connection, ids=list(ids), **given)
        # What was sent before has run as well, and its events come first.
        self.settle()
        if take is not None:
            take(rows)
        return self.note_moved(noun, rows, step, cause)

    def _move_batch(
        self,
        table: sa.Table,
        noun: str,
        ids: Sequence[int],
        step: tuple[StrEnum, Signal, StrEnum],
        cause: Cause | None,
        guard: sa.ColumnElement[bool] | None,
        values: dict[str, Any],
    ) -> list[int]:
        before, _, after = step
        statement = (
            sa.update(table)
            .where(table.c.id.in_(ids), table.c.state == before)
            .values(state=after, **values)
            .returning(*_list_returned(table))
        )
        if guard is not None:
            statement = statement.where(guard)
        rows = self.connection.execute(statement).all()
        self.settle()
        return self.note_moved(noun, rows, step, cause)

    def note_moved(
        self, noun: str, rows: Sequence[Any], step: tuple[StrEnum, Signal, StrEnum], cause: Cause | None
    ) -> list[int]:
        """Note the events of rows that moved, and return their ids."""
        before, signal, after = step
        for row in rows:
            own = cause if cause is None or isinstance(cause, str) else cause[row.id]
            self.note(noun, row.uuid, signal, before=before, after=after, cause=own)
        if noun == "attempt" and after in states.FINAL_ATTEMPT:
            self.uncounted.update(row.id for row in rows if row.counted)
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

    @staticmethod
    def write_events(ledgers: Sequence[Ledger]) -> None:
        """Insert the events of all that one transaction changed; the last act before the commit."""
        for ledger in ledgers:
            ledger.settle()
        events = [event for ledger in ledgers for event in ledger._events]  # noqa: SLF001 - of this class
        if events:
            _EVENTS.run(ledgers[0].connection, events)
        for ledger in ledgers:
            # Each once, also where somebody writes them before the end.
            ledger._events = []  # noqa: SLF001 - of this class


def _arrange(values: Mapping[str, Any], preset: Preset | None) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of the columns among `values`, and the parameters of a prepared move."""
    own = preset.names if preset is not None else frozenset()
    names = tuple(sorted(values.keys() - own))
    return names, {name if name in own else f"v_{name}": value for name, value in values.items()}
