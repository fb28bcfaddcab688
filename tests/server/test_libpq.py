"""One trip to PostgreSQL: what goes there and comes back, what is prepared, and what goes wrong on the way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from p3s.server.db import Database
from p3s.server.libpq import Command, Line
from p3s.server.prepared import Prepared, param
from p3s.server.usecases.core import Core
from p3s.settings import Home, ServerSettings
from p3s.wire import Claim
from tests.support.pilots import ScriptedPilot
from tests.support.servers import wait_until
from tests.support.workflows import load_text, make_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from p3s.wire import ExchangeReply
    from tests.support.databases import Postgres

pytestmark = pytest.mark.postgres

ONE = Command("SELECT 1", None, tuple)
COUNT = Command("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'p3s%%'", None, tuple)


@pytest.fixture
def line(postgres: Postgres) -> Iterator[Line]:
    """A connection to an empty database, which prepares nothing by itself."""
    address = postgres.make_empty().replace("+psycopg", "")
    with psycopg.connect(address, prepare_threshold=None) as connection:
        yield Line(connection)


def ask(line: Line, text: str, values: Any = None) -> Any:
    """Return the only value that a statement gives."""
    (((value,),),) = line.travel([Command(text, values, tuple)], commit=False)
    return value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BIGINT", 2**62),
        ("BIGINT", -1),
        ("FLOAT8", 0.1),
        ("FLOAT8", 1e-300),
        ("FLOAT8", float("inf")),
        ("BOOL", True),
        ("BOOL", False),
        ("TEXT", 'it\'s 100 % \\ "of" {this}, ${that} \n é \U0001f600'),
        ("TEXT", ""),
        ("TEXT", None),
        ("BYTEA", b"\0\xff\\x41"),
        ("BIGINT[]", [1, -2, 3]),
        ("BIGINT[]", []),
        ("FLOAT8[]", [0.5, None]),
        ("BOOL[]", [True, False, None]),
        ("TEXT[]", ["", "NULL", "null", "{}", 'a "quote", a \\ and, a comma', " blank ", "\n", None]),
        ("BYTEA[]", [b"", b"\0\\", b'"']),
    ],
)
def test_values_come_back_as_they_went(line: Line, kind: str, value: object) -> None:
    """A number, a flag, a text, bytes and flat lists of them arrive byte for byte, named or in their order."""
    assert ask(line, f"SELECT %(value)s::{kind}", {"value": value}) == value
    assert ask(line, f"SELECT %s::{kind}", [value]) == value


def test_json_is_read_as_psycopg_reads_it(line: Line) -> None:
    """What comes back is loaded by psycopg, JSON among it; a doubled percent sign is one."""
    assert ask(line, "SELECT %(a)s::JSON", {"a": '{"x": [1, null]}'}) == {"x": [1, None]}
    assert ask(line, "SELECT 'a' || %(a)s::TEXT LIKE 'a%%' AND %(a)s::TEXT = 'b'", {"a": "b"}) is True


def test_nothing_is_sent_of_a_trip_with_a_value_that_is_none(line: Line) -> None:
    """A text with NUL, a list in a list and an object are refused before anything is sent; the connection is well."""
    refused = [("TEXT", "a\0b"), ("TEXT[]", ["a\0b"]), ("INT[]", [[1]]), ("TEXT", object())]
    for kind, value in refused:
        with pytest.raises((psycopg.DataError, TypeError, AssertionError)):
            line.travel([ONE, Command(f"SELECT %s::{kind}", [value], tuple)], commit=False)
        assert line.driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert ask(line, "SELECT 1") == 1


def test_prepared_once_for_a_connection(line: Line) -> None:
    """A text is prepared at its first use, whatever becomes of the transaction: a rollback does not lose it."""
    for _ in range(3):
        assert line.travel([ONE, ONE, COUNT], commit=False) == [[(1,)], [(1,)], [(2,)]]
        line.driver.rollback()


def test_commit_on_the_same_trip(line: Line) -> None:
    """What was committed along with the last statement is there; what was not, is not."""
    make = Command("CREATE TABLE kept (x INT)", None, None)
    insert = Command("INSERT INTO kept VALUES (%s)", [1], None)
    assert line.travel([make, insert], commit=True) == [[], []]
    assert line.driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    line.travel([insert], commit=False)
    line.driver.rollback()
    assert ask(line, "SELECT count(*) FROM kept") == 1


def test_the_first_error_is_told(line: Line) -> None:
    """Of what comes behind it nothing runs, and all texts can be used afterwards, also those not yet prepared then."""
    late = Command("SELECT 7", None, tuple)
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            line.travel([ONE, Command("SELECT 1 / %s::INT", [0], tuple), late], commit=True)
        line.driver.rollback()
    with pytest.raises(psycopg.errors.UndefinedTable):
        line.travel([ONE, Command("SELECT * FROM nowhere", None, tuple), late], commit=False)
    line.driver.rollback()
    assert line.travel([ONE, late], commit=False) == [[(1,)], [(7,)]]


def test_much_goes_both_ways_at_once(line: Line) -> None:
    """More than the buffers on the way hold does not stop it, though the database answers before it has heard all."""
    texts = [letter * 3_000_000 for letter in "abcd"]
    commands = [Command("SELECT %s::TEXT", [text], tuple) for text in texts]
    assert line.travel(commands, commit=False) == [[(text,)] for text in texts]


def test_a_lost_connection_is_told_and_replaced(postgres: Postgres) -> None:
    """The trip on which it breaks fails as SQLAlchemy tells of it, and the next transaction has another connection."""
    end = Prepared(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid()).label("done")))
    echo = Prepared(sa.select(param("text", sa.Text()).label("text")))
    db = Database(postgres.copy())
    try:
        with pytest.raises(DBAPIError) as caught, db.engine.begin() as connection:
            end.run(connection)
        assert caught.value.connection_invalidated
        runs: list[int] = []

        def act(connection: sa.Connection) -> str:
            runs.append(1)
            if len(runs) == 1:
                end.run(connection)
            return str(echo.run(connection, text="there")[0].text)

        assert db.write(act) == "there"
        assert len(runs) == 2
    finally:
        db.close()


def test_few_trips(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a chain takes two trips to PostgreSQL, a submission to a pilot that waits three, a load fifteen."""
    trips: list[int] = []
    travel = Line.travel

    def count(line: Line, commands: list[Command], *, commit: bool) -> Any:
        trips.append(len(commands))
        return travel(line, commands, commit=commit)

    db = Database(postgres.copy())
    core = Core(db, ServerSettings(database=db.address, home=Home(tmp_path)))
    text = "name: chain\njobs: {a: {run: 'true'}, b: {needs: [a], run: 'true'}, c: {needs: [b], run: 'true'}}"
    load_text(core, text)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    wish = Claim(number=pilot.number + 1, want=1, cpus=8)
    monkeypatch.setattr(Line, "travel", count)
    reply = pilot.call(reports=[pilot.make_report(order, "succeeded", exit_code=0)], claim=wish, ack=pilot.acked)
    assert [order.job_name for order in reply.jobs] == ["b"]
    assert len(trips) == 2
    pilot.number += 1
    pilot.succeed(reply.jobs[0])
    pilot.succeed(pilot.claim()[0])
    pilot.number += 1
    answers: list[ExchangeReply] = []
    wish = Claim(number=pilot.number, want=1, cpus=8)
    held = threading.Thread(target=lambda: answers.append(pilot.call(claim=wish, running=[], wait=30.0)))
    held.start()
    wait_until(lambda: core.hub.count_held() == 1)
    # It looks once more, then it sleeps.
    held.join(0.5)
    trips.clear()
    ident = make_job(core)
    held.join(20)
    assert [order.job for order in answers[0].jobs] == [ident]
    assert len(trips) == 3
    trips.clear()
    load_text(core, text)
    assert len(trips) == 15
    db.close()
