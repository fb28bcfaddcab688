"""What a server does when it starts, so that its first job need not wait: all of it, and nothing of it stays."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import psycopg
import sqlalchemy as sa

from p3s.server import libpq
from p3s.server.db import _PLANNED, Database
from p3s.server.models import metadata
from p3s.server.prepared import Prepared, _Form
from p3s.server.queries.find import find_row
from p3s.server.usecases.core import Core
from p3s.server.usecases.load import start_workflow
from p3s.server.usecases.rehearsal import LENGTH, TEXT, rehearse
from p3s.settings import Home, ServerSettings
from tests.support.pilots import ScriptedPilot
from tests.support.servers import wait_until
from tests.support.workflows import load_text, make_job


def read_rows(db):
    """Return all rows of all tables."""
    with db.read() as connection:
        return {table.name: connection.execute(sa.select(table)).all() for table in metadata.sorted_tables}


def test_all_jobs_end_and_nothing_is_kept(core):
    """The jobs of the rehearsal are claimed, run and end; no row, no requirement and no held call is left."""
    make_job(core)
    pilot = ScriptedPilot(core)
    before, known = read_rows(core.db), dict(core.requirements)
    assert rehearse(core.db, core.settings) == LENGTH
    assert read_rows(core.db) == before
    assert dict(core.requirements) == known
    assert core.db.count_used() == 0
    assert len(pilot.claim()) == 1


def test_the_first_workflow_compiles_nothing(core, monkeypatch):
    """What a workflow of the same kind needs was compiled before it came."""
    pilot = ScriptedPilot(core)
    # As in a process that has just begun.
    for prepared in [one for one in gc.get_objects() if isinstance(one, Prepared)]:
        prepared._forms.clear()
    assert rehearse(core.db, core.settings) == LENGTH
    made = []
    monkeypatch.setattr(_Form, "__init__", lambda *_: made.append(1))
    ident = load_text(core, TEXT.format(jobtype="first"), hold=True).uuid
    with core.db.read() as connection:
        row = find_row(connection, "workflow", ident)
    with ThreadPoolExecutor(1) as pool:
        # The start gives its first job to a pilot that waits.
        held = pool.submit(pilot.claim, wait=20)
        wait_until(lambda: any(waiter.resting for waiter in core.hub._waiters.values()), 20, "the held call")
        start_workflow(core, row.id, "ann")
        orders = held.result(30)
    for _ in range(LENGTH):
        pilot.succeed(orders[0])
        orders = pilot.claim()
    assert orders == []
    assert made == []


def test_what_goes_wrong_is_logged_and_stops_nothing(core, monkeypatch, caplog):
    """A server whose rehearsal fails serves all the same."""

    def fail(*_args):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("p3s.server.usecases.rehearsal.load_workflow", fail)
    assert rehearse(core.db, core.settings) == 0
    assert "the rehearsal failed" in caplog.text
    make_job(core)
    assert len(ScriptedPilot(core).claim()) == 1


def test_no_table_is_read_whole_while_postgresql_takes_it_for_empty(postgres, tmp_path, monkeypatch):
    """What is looked for is found by an index, in plans that are made on empty tables and kept as these grow."""
    monkeypatch.setattr(libpq, "_texts", {})
    address = postgres.copy()
    db = Database(address)
    core = Core(db, ServerSettings(database=address, home=Home(tmp_path)))
    assert rehearse(db, core.settings) == LENGTH
    # Jobs of several requirements, that fit together and that may not.
    for cpus in ("1", "2", "3"):
        make_job(core, resources={"cpus": cpus})
    assert len(ScriptedPilot(core, slots=2, cpus=8).claim()) == 2
    assert len(ScriptedPilot(core, slots=2, cpus=3).claim()) == 1
    db.close()
    whole = []
    plans = 0
    with psycopg.connect(postgres.copy(), autocommit=True) as connection:
        connection.execute(_PLANNED.replace("true)", "false)"))
        for text in libpq._texts.values():
            if b" WHERE " not in text.content.replace(b"\n", b" ") or text.content.startswith(b"INSERT"):
                continue
            told = connection.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN, COSTS OFF) " + text.content)
            lines = [(told.get_value(place, 0) or b"").decode() for place in range(told.ntuples)]
            assert lines, told.error_message
            plans += 1
            # An index that is gone through without a condition is as good as none.
            followed = zip(lines, [*lines[1:], ""], strict=True)
            if any(
                "Seq Scan" in one or ("Index" in one and "Scan" in one and "Cond" not in two) for one, two in followed
            ):
                whole.append((text.content, "\n".join(lines)))
    assert plans > 20
    assert whole == []
