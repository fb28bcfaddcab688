"""Fixtures that all tests share: databases, servers, and the invariants checked after each test."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from p3s.server.db import Database
from p3s.settings import Home, ServerSettings
from tests.support.databases import MortalPostgres, Postgres, copy_sqlite, make_sqlite_template
from tests.support.invariants import check_invariants
from tests.support.readings import watch_readings
from tests.support.servers import System

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from p3s.server.usecases.core import Core
    from tests.support.api import Api

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A test run started in the background inherits an ignored SIGINT, and would hand it on to the processes it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

BOTH = [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]
#: Settings with leases of 4 s in place of 60.
HASTY = {"P3S_LEASE": "4", "P3S_HEARTBEAT": "0.5", "P3S_ACK": "2"}


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sqlite_template(tmp_path_factory.mktemp("template") / "template.sqlite")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres(fsync=False)
    yield server
    server.stop()


@pytest.fixture(params=BOTH)
def address(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """The address of an empty, migrated database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        return copy_sqlite(sqlite_template, tmp_path)
    return str(request.getfixturevalue("postgres").copy())


@pytest.fixture
def core(address: str, tmp_path: Path) -> Iterator[Core]:
    """The server's use cases on a database of their own, without HTTP."""
    from p3s.server.usecases.core import Core

    db = Database(address)
    with watch_readings(db):
        yield Core(db, ServerSettings(database=address, home=Home(tmp_path / "home")))
    check_invariants(db)
    db.close()


@pytest.fixture
def make_api(tmp_path: Path, sqlite_template: Path) -> Iterator[Callable[..., Api]]:
    """Make applications on databases of their own, with the settings given, called without a network."""
    from tests.support.api import Api as Application

    made: list[Api] = []

    def make(**given: Any) -> Api:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Application(copy_sqlite(sqlite_template, folder), Home(folder / "home"), **given))
        return made[-1]

    yield make
    for api in made:
        api.db.close()


def _run_system(folder: Path, database: str | None, *options: str, **settings: str) -> Iterator[System]:
    system = System(folder, database, settings=settings)
    system.start_server(*options)
    yield system
    system.stop()
    db = Database(database or f"sqlite:///{system.home / 'p3s.sqlite'}")
    check_invariants(db)
    db.close()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A real server process on embedded SQLite, and room for pilots."""
    yield from _run_system(tmp_path, None)


@pytest.fixture(params=BOTH)
def both_systems(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """As `system`, on SQLite and on PostgreSQL."""
    database = None if request.param == "sqlite" else str(request.getfixturevalue("postgres").copy())
    yield from _run_system(tmp_path, database)


@pytest.fixture(params=BOTH)
def hasty_systems(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """As `both_systems`, with leases of 4 s in place of 60."""
    database = None if request.param == "sqlite" else str(request.getfixturevalue("postgres").copy())
    yield from _run_system(tmp_path, database, **HASTY)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[tuple[System, MortalPostgres]]:
    """Two serving processes with leases of 8 s, on a PostgreSQL of their own that can be killed and revived."""
    postgres = MortalPostgres(fsync=False)
    # On a busy machine it is back for a moment before `revive` knows, and the lease has begun by then.
    settings = HASTY | {"P3S_LEASE": "8"}
    try:
        for system in _run_system(tmp_path, postgres.copy(), "--workers", "2", **settings):
            yield system, postgres
    finally:
        postgres.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark what starts processes, so that `make quick` can leave it out; put the files that take longest first."""
    costs: Counter[Path] = Counter()
    for item in items:
        if {"system", "both_systems", "hasty_systems", "mortal"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.processes)
        limit = item.get_closest_marker("timeout")
        costs[item.path] += limit.args[0] if limit else 30 if item.get_closest_marker("processes") else 1
    # Files are given out whole (`make test`), and in this order: none is left to run alone at the end.
    items.sort(key=lambda item: (-costs[item.path], str(item.path)))
