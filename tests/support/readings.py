"""A watch on readings: on PostgreSQL what they wrote would be kept."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.server.libpq import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p3s.server.db import Database

_READS = ("SELECT", "WITH")
_WRITES = ("INSERT ", "UPDATE ", "DELETE ", "FOR UPDATE", "FOR SHARE")


@contextmanager
def watch_readings(db: Database) -> Iterator[None]:
    """Fail where a statement of a connection for reading alone writes, or locks rows, in the block."""
    travel = Line.travel

    def check(text: str) -> None:
        words = text.lstrip().upper()
        assert words.startswith(_READS), f"a reading writes: {text}"
        assert not any(word in words for word in _WRITES), f"a reading writes or locks: {text}"

    def look(connection: sa.Connection, _cursor: Any, text: str, *_: Any) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            check(text)

    def look_on_line(line: Line, commands: Any, *, commit: bool) -> Any:
        if line.driver.autocommit:
            for command in commands:
                check(command.text)
        return travel(line, commands, commit=commit)

    sa.event.listen(db.engine, "before_cursor_execute", look)
    Line.travel = look_on_line  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Line.travel = travel  # type: ignore[method-assign]
        sa.event.remove(db.engine, "before_cursor_execute", look)
