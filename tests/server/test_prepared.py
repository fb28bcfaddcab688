"""Statements that go to the driver as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from p3s.server.models import meta
from p3s.server.prepared import InsertRows, Prepared, among, param

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

FIND = Prepared(sa.select(meta.c.key, meta.c.value).where(among(meta.c.key, "keys")).order_by(meta.c.key))
CHANGE = Prepared(
    sa.update(meta)
    .where(meta.c.key == param("name", sa.Text()))
    .values(value=param("new", sa.Text()))
    .returning(meta.c.key, meta.c.value)
)
INSERT = InsertRows(meta, ("key", "value"))


def test_rows_come_back_as_written(core: Core) -> None:
    """Any number of rows is inserted by one text and found by a list of any length."""

    def act(connection: sa.Connection) -> list[str]:
        INSERT.run(connection, [{"key": f"k{i}", "value": "it's 100 %"} for i in range(3)])
        assert FIND.run(connection, keys=[]) == []
        return [row.key for row in FIND.run(connection, keys=["k2", "k0", "none"])]

    assert core.db.write(act) == ["k0", "k2"]


def test_each_sent_statement_gives_its_rows(core: Core) -> None:
    """Several statements in one round trip run in their order, and each gives its own rows or none."""

    def act(connection: sa.Connection) -> list[tuple[str, str]]:
        INSERT.run(connection, [{"key": f"k{i}", "value": ""} for i in range(3)])
        sent = [CHANGE.send(connection, name=f"k{i}", new=str(i)) for i in (2, 7, 1)]
        found = FIND.send(connection, keys=["k1"])
        CHANGE.send(connection, name="k1", new="last")
        # What SQLAlchemy sends by itself comes behind all of them.
        assert connection.scalar(sa.select(meta.c.value).where(meta.c.key == "k1")) == "last"
        return [(row.key, row.value) for later in [*sent, found] for row in later.rows()]

    assert core.db.write(act) == [("k2", "2"), ("k1", "1"), ("k1", "1")]


def test_what_nobody_asks_for_is_committed(core: Core) -> None:
    """The end of the transaction sends what still waits; a transaction that is rolled back sends nothing."""

    def act(connection: sa.Connection) -> None:
        INSERT.run(connection, [{"key": "k", "value": "old"}])
        CHANGE.send(connection, name="k", new="new")

    def fail(connection: sa.Connection) -> None:
        CHANGE.send(connection, name="k", new="lost")
        raise RuntimeError

    core.db.write(act)
    with pytest.raises(RuntimeError):
        core.db.write(fail)
    with core.db.read() as connection:
        assert [row.value for row in FIND.run(connection, keys=["k"])] == ["new"]


def test_an_error_of_what_waited_is_raised_where_rows_are_asked_for(core: Core) -> None:
    """It is that of the statement that failed, not of those behind it, and leaves nothing; the pool is well after."""

    def act(connection: sa.Connection) -> None:
        INSERT.run(connection, [{"key": "k", "value": "1"}])
        INSERT.run(connection, [{"key": "k", "value": "2"}])
        FIND.run(connection, keys=["k"])

    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"(?i)unique"):
            core.db.write(act)
    assert core.db.write(lambda connection: FIND.run(connection, keys=["k"])) == []


def test_an_error_rolls_back_as_elsewhere(core: Core) -> None:
    """What the driver refuses is raised as SQLAlchemy's error, and the transaction leaves nothing behind."""

    def act(connection: sa.Connection) -> None:
        INSERT.run(connection, [{"key": "k", "value": "1"}])
        INSERT.run(connection, [{"key": "k", "value": "2"}])

    with pytest.raises(IntegrityError):
        core.db.write(act)
    with core.db.read() as connection:
        assert FIND.run(connection, keys=["k"]) == []
