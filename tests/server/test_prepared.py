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


def test_each_run_gives_its_rows(core: Core) -> None:
    """Several runs in one round trip give the rows of all, and nothing for those that met none."""

    def act(connection: sa.Connection) -> list[tuple[str, str]]:
        INSERT.run(connection, [{"key": f"k{i}", "value": ""} for i in range(3)])
        rows = CHANGE.run_each(connection, [{"name": f"k{i}", "new": str(i)} for i in (2, 7, 1)])
        return [(row.key, row.value) for row in rows]

    assert core.db.write(act) == [("k2", "2"), ("k1", "1")]


def test_an_error_rolls_back_as_elsewhere(core: Core) -> None:
    """What the driver refuses is raised as SQLAlchemy's error, and the transaction leaves nothing behind."""

    def act(connection: sa.Connection) -> None:
        INSERT.run(connection, [{"key": "k", "value": "1"}])
        INSERT.run(connection, [{"key": "k", "value": "2"}])

    with pytest.raises(IntegrityError):
        core.db.write(act)
    with core.db.read() as connection:
        assert FIND.run(connection, keys=["k"]) == []
