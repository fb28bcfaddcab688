"""One trip to PostgreSQL: statements that are sent together and prepared at their first use, by the driver's own libpq.

Psycopg's cursors find out anew at each statement what its parameters are and how it was prepared, which for brief
statements takes longer than all else in the process. Here each is known by its text. What goes out is text whose types
PostgreSQL finds out by itself; what comes in is read by psycopg's loaders, as that of its cursors is.
"""

from __future__ import annotations

import re
import select
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Command", "Line"]

_PLACE = re.compile(r"%(?:\((\w+)\)s|s|%)")


@dataclass(slots=True)
class Command:
    """A statement to be sent.

    Attributes
    ----------
    text : str
        With psycopg's parameters, all of them named or none.
    values : mapping, sequence or None
        Its parameters: None, texts, numbers, flags, bytes, or flat lists of those.
    make_row : callable or None
        Makes a row of a tuple of values; None if the statement gives no rows.
    """

    text: str
    values: Any
    make_row: Callable[[Sequence[Any]], Any] | None


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as the database takes it: ``$1`` for the first of `names`, or of values without names."""

    content: bytes
    names: tuple[str, ...]


@dataclass(slots=True)
class Line:
    """One connection of psycopg, for as long as it is open.

    Attributes
    ----------
    driver : psycopg.Connection
        Nobody else uses it during a trip.
    """

    driver: Any
    #: By text the name that the database knows it by.
    _names: dict[str, bytes] = field(default_factory=dict)
    _made: int = 0
    _transformer: Any = None

    @property
    def known(self) -> int:
        """How many statements the database has prepared for it."""
        return len(self._names)

    def travel(self, commands: Sequence[Command], *, commit: bool) -> list[list[Any]]:
        """Run commands within the open transaction, or a new one, and return the rows of each.

        Parameters
        ----------
        commands : sequence of Command
            In the order in which they run; of those behind one that fails, none does.
        commit : bool
            Whether the transaction is committed behind them.

        Raises
        ------
        psycopg.Error
            What went wrong first.
        """
        from psycopg import errors, pq  # noqa: PLC0415 - installed only where it is used

        connection = self.driver.pgconn
        # All are made before the first is sent: a value that is none leaves nothing half sent.
        texts = [_find_text(command.text) for command in commands]
        values = [_dump_all(command.values, text) for command, text in zip(commands, texts, strict=True)]
        #: For each answer that will come, the place of the command whose rows it has, or None.
        owners: list[int | None] = []
        #: Texts that are prepared on this trip, by the place of their answer.
        fresh: dict[int, str] = {}
        connection.enter_pipeline_mode()
        try:
            if connection.transaction_status == pq.TransactionStatus.IDLE and not self.driver.autocommit:
                connection.send_query_params(_make_begin(self.driver.isolation_level), None)
                owners.append(None)
            for place, (command, text) in enumerate(zip(commands, texts, strict=True)):
                name = self._names.get(command.text)
                if name is None:
                    # Numbers are not used again: who knows what became of one whose transaction failed.
                    self._made += 1
                    name = self._names[command.text] = b"p3s_%d" % self._made
                    connection.send_prepare(name, text.content)
                    fresh[len(owners)] = command.text
                    owners.append(None)
                connection.send_query_prepared(name, values[place])
                owners.append(place)
            if commit:
                connection.send_query_params(b"COMMIT", None)
                owners.append(None)
            connection.pipeline_sync()
            answers = _receive(connection, len(owners) + 1)
            connection.exit_pipeline_mode()
        except BaseException:
            # Nobody could tell whose the answers are that are still to come.
            connection.finish()
            raise
        for place, prepared in fresh.items():
            if answers[place].status != pq.ExecStatus.COMMAND_OK:
                del self._names[prepared]
        failed = next((answer for answer in answers if answer.status == pq.ExecStatus.FATAL_ERROR), None)
        if failed is not None:
            raise errors.error_from_result(failed, self._loader.encoding)
        return self._read(commands, owners, answers)

    def _read(
        self, commands: Sequence[Command], owners: Sequence[int | None], answers: Sequence[Any]
    ) -> list[list[Any]]:
        found: list[list[Any]] = [[] for _ in commands]
        # The last answer is that of the end of the trip.
        for owner, answer in zip(owners, answers[:-1], strict=True):
            if owner is not None and (make_row := commands[owner].make_row) is not None and answer.ntuples:
                self._loader.set_pgresult(answer)
                found[owner] = self._loader.load_rows(0, answer.ntuples, make_row)
        return found

    @property
    def _loader(self) -> Any:
        if self._transformer is None:
            from psycopg.adapt import Transformer  # noqa: PLC0415

            self._transformer = Transformer(self.driver)
        return self._transformer


def _make_begin(level: Any) -> bytes:
    return b"BEGIN" if level is None else b"BEGIN ISOLATION LEVEL " + level.name.replace("_", " ").encode()


def _receive(connection: Any, number: int) -> list[Any]:
    """Send what waits in the process, and return so many answers."""
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN | select.POLLOUT)
    while connection.flush():
        # The database may stop reading until somebody takes what it has to say.
        if poll.poll()[0][1] & ~select.POLLOUT:
            connection.consume_input()
    poll.modify(connection.socket, select.POLLIN)
    answers: list[Any] = []
    while len(answers) < number:
        while connection.is_busy():
            poll.poll()
            connection.consume_input()
        # One that is None stands between the answers of two commands.
        if (answer := connection.get_result()) is not None:
            answers.append(answer)
    return answers


_texts: dict[str, _Text] = {}


def _find_text(text: str) -> _Text:
    found = _texts.get(text)
    if found is None:
        names: list[str] = []
        count = 0

        def number(match: re.Match[str]) -> str:
            nonlocal count
            if match.group() == "%%":
                return "%"
            name = match.group(1)
            if name is None:
                count += 1
                return f"${count}"
            if name not in names:
                names.append(name)
            return f"${names.index(name) + 1}"

        content = _PLACE.sub(number, text)
        assert not (names and count), f"parameters with and without names: {text}"
        found = _texts[text] = _Text(content.encode(), tuple(names))
    return found


def _dump_all(values: Any, text: _Text) -> list[bytes | None]:
    if values is None:
        return []
    return [_dump(values[name]) for name in text.names] if text.names else [_dump(value) for value in values]


def _dump(value: Any) -> bytes | None:
    """Return a value in PostgreSQL's own words."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return ("{" + ",".join([_write_element(element) for element in value]) + "}").encode()
    return _write(value).encode()


def _write(value: Any) -> str:
    if isinstance(value, str):
        return _check_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:d}"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} is no parameter of a prepared statement")


def _write_element(value: Any) -> str:
    if value is None:
        return "NULL"
    assert not isinstance(value, (list, tuple)), "lists are flat"
    text = _write(value)
    if isinstance(value, (str, bytes)):
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    return text


def _check_text(value: str) -> str:
    if "\0" in value:
        from psycopg import DataError  # noqa: PLC0415

        # What lies behind it would be lost on the way.
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return value
