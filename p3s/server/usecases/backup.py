"""Backup and restore: one file of JSON Lines for either database, read from one snapshot while the server works."""

from __future__ import annotations

import base64
import gzip
import json
import os
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.errors import BadInput, Problem
from p3s.server.migrations import apply_migrations, find_pending
from p3s.server.models import metadata
from p3s.server.transitions.series import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from p3s.server.db import Database

__all__ = ["backup_database", "restore_database"]

BATCH = 500


def backup_database(db: Database, path: Path) -> dict[str, int]:
    """Write the whole database to a compressed file; the server may go on working.

    The file holds hashes of tokens and the server's secret, so only its owner can read it. It appears under its
    name when it is complete.

    Returns
    -------
    dict of str to int
        Rows by table.

    Raises
    ------
    BadInput
        If the file cannot be written.
    """
    counts: dict[str, int] = {}
    temporary = path.with_name(path.name + ".part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.open(raw, "wt", encoding="utf-8") as stream, db.read_snapshot() as connection:
                stream.write(json.dumps({"p3s": 1, "migration": find_pending(db)[0]}) + "\n")
                for table in metadata.sorted_tables:
                    counts[table.name] = 0
                    for row in connection.execution_options(yield_per=BATCH).execute(sa.select(table)):
                        stream.write(json.dumps({"table": table.name, "row": _encode(row)}) + "\n")
                        counts[table.name] += 1
                stream.write(json.dumps({"end": counts}) + "\n")
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        problem = Problem(f"cannot be written ({error.strerror}); choose another place", file=str(path))
        raise BadInput([problem]) from error
    return counts


def restore_database(db: Database, path: Path) -> dict[str, int]:
    """Fill an empty database from a backup, of SQLite or PostgreSQL, in one transaction.

    Raises
    ------
    BadInput
        If the file is no complete backup, is of another version, or the database is not empty.
    """
    current, newest = find_pending(db)
    if current is None:
        apply_migrations(db)

    def action(connection: sa.Connection) -> dict[str, int]:
        _check_empty(connection, path)
        return _fill(connection, path, newest)

    return db.write(action)


def _check_empty(connection: sa.Connection, path: Path) -> None:
    for table in metadata.sorted_tables:
        if table.name != "meta" and connection.execute(sa.select(table).limit(1)).first() is not None:
            message = f"is not restored: the database has rows in {table.name}; give an empty one"
            raise BadInput([Problem(message, file=str(path))])


def _fill(connection: sa.Connection, path: Path, newest: str) -> dict[str, int]:
    counts = dict.fromkeys((table.name for table in metadata.sorted_tables), 0)
    batch: list[dict[str, Any]] = []
    name = ""
    ended: dict[str, int] | None = None
    for line in _read_lines(path, newest):
        if "end" in line:
            ended = line["end"]
            break
        if line["table"] != name or len(batch) == BATCH:
            _insert(connection, name, batch)
            name, batch = line["table"], []
        batch.append({key: _decode(value) for key, value in line["row"].items()})
        counts[name] += 1
    _insert(connection, name, batch)
    if ended != counts:
        raise BadInput([Problem("is cut off or damaged; use another backup", file=str(path))])
    # Numbers of transactions mean nothing in another database, nor does how far its log was added up.
    connection.execute(sa.update(metadata.tables["event"]).values(tx=0))
    connection.execute(sa.delete(metadata.tables["meta"]).where(metadata.tables["meta"].c.key == PLACE))
    # The processes that served the other database are not those of this one.
    connection.execute(sa.delete(metadata.tables["process"]))
    if connection.dialect.name == "postgresql":
        _set_sequences(connection)
    return counts


def _read_lines(path: Path, newest: str) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            head = json.loads(stream.readline() or "{}")
            if not isinstance(head, dict) or head.get("p3s") != 1:
                raise BadInput([Problem("is no backup of p3s", file=str(path))])
            if head.get("migration") != newest:
                message = (
                    f"is of database version {head.get('migration')}, this p3s has {newest}; use the p3s that made it"
                )
                raise BadInput([Problem(message, file=str(path))])
            for line in stream:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise BadInput([Problem(f"cannot be read as a backup ({error})", file=str(path))]) from error


def _insert(connection: sa.Connection, name: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = metadata.tables[name]
    if name == "meta":
        # A server that looked at the empty database may have made a secret; the backup's is the one in use.
        connection.execute(sa.delete(table))
    connection.execute(sa.insert(table), rows)


def _set_sequences(connection: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        if "id" in table.c:
            newest = connection.scalar(sa.select(sa.func.max(table.c.id)))
            if newest is not None:
                sequence = sa.func.pg_get_serial_sequence(table.name, "id")
                connection.execute(sa.select(sa.func.setval(sequence, newest)))


def _encode(row: Any) -> dict[str, Any]:
    return {
        key: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for key, value in row._mapping.items()  # noqa: SLF001 - the documented way
    }


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    return value
