"""Real servers and pilots; what many tests can share is started once for each module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from p3s.server.db import Database
from tests.acceptance.support import Journal, find_tokens
from tests.support.invariants import check_invariants
from tests.support.servers import System, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def farm_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A server on SQLite and one pilot of four slots, for a whole module."""
    system = System(tmp_path_factory.mktemp("farm"))
    try:
        system.start_server()
        system.start_pilot("--slots", "4", "--cpus", "8", "--memory", "8GB", "--label", "fast")
        wait_until(lambda: system.client.list_pilots(live=True).items, 30, "the pilot")
        yield system
    finally:
        system.stop()
    db = Database(f"sqlite:///{system.home / 'p3s.sqlite'}")
    check_invariants(db)
    db.close()
    assert find_tokens(system.folder, ".log", "stdout", "stderr") == {}


@pytest.fixture
def farm(farm_of_module: System) -> Iterator[System]:
    """The module's server and pilot; after each test nothing may be left open, and all invariants hold."""
    yield farm_of_module
    client = farm_of_module.client
    left = [job for state in ("dispatched", "running", "defined") for job in client.list_jobs(state=state).items]
    for job in left:
        # The next test is not to suffer.
        client.cancel_job(job.uuid)
    assert not left, f"the test left jobs open: {[(job.name, job.state) for job in left]}"
    db = Database(f"sqlite:///{farm_of_module.home / 'p3s.sqlite'}")
    check_invariants(db)
    db.close()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal for the payloads of one test."""
    return Journal(tmp_path / "journal")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark all tests here as starting processes, and keep those that share a server on one worker."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.processes)
            if "farm" in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(item.path.stem))
