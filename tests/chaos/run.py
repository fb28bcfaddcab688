"""The run: work is submitted while everything is killed, frozen and cut; then all must come to its end."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.client import Client
from p3s.errors import P3sError
from p3s.server.db import Database
from p3s.server.models import workflow
from p3s.submit import prepare_load
from tests.chaos.faults import DURATIONS, Stage
from tests.chaos.report import Table, make_table, read_rows
from tests.chaos.work import FILE, Journal
from tests.support.databases import MortalPostgres
from tests.support.servers import System

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from p3s.wire import LoadBody


@dataclass(frozen=True)
class Plan:
    """How much, how long, and on what."""

    database: str = "postgresql"
    workflows: int = 17
    pilots: int = 4
    #: Seconds during which faults are injected.
    storm: float = 120.0
    #: Seconds that the work may take afterwards.
    calm: float = 180.0
    seed: int = 0


def run_chaos(folder: Path, plan: Plan, tell: Callable[[str], None] = print) -> Table:
    """Run the plan in a folder and return what came of it."""
    choose = random.Random(plan.seed)
    postgres = MortalPostgres() if plan.database == "postgresql" else None
    system = System(folder, postgres.copy() if postgres else None, settings=DURATIONS)
    stage = Stage(system, postgres, choose)
    db = Database(system.database or f"sqlite:///{system.home / 'p3s.sqlite'}")
    journal = Journal(folder / "journal")
    journal.path.touch()
    try:
        stage.start(plan.pilots)
        bodies = [prepare_load(FILE, {"journal": str(journal.path)}) for _ in range(plan.workflows)]
        submitter = threading.Thread(target=_submit_all, args=(stage, bodies, plan))
        submitter.start()
        _storm(stage, plan, tell)
        submitter.join(60)
        tell("calm: waiting for the rest")
        _await_end(stage, db, plan)
        journal.read()
        return make_table(
            read_rows(db), journal, [body.uuid for body in bodies], stage.faults, stage.departures, stage.count_faults()
        )
    finally:
        stage.stop()
        db.close()
        if postgres is not None:
            postgres.stop()


def _submit_all(stage: Stage, bodies: list[LoadBody], plan: Plan) -> None:
    """Submit through a proxy while the storm goes on; a request without an answer is sent again as it is."""
    url = f"http://127.0.0.1:{stage.pilots[0].proxy.port}"
    client = Client(url, (stage.system.home / "admin.token").read_text().strip())
    end = time.monotonic() + plan.storm + plan.calm
    for number, body in enumerate(bodies):
        while time.monotonic() < end:
            with contextlib.suppress(P3sError):
                client.load_workflow(body)
                break
            time.sleep(0.5)
        # The first third is there at once, the rest comes in the course of the storm.
        if number > len(bodies) // 3:
            time.sleep(min(2.0, plan.storm / len(bodies)))


def _storm(stage: Stage, plan: Plan, tell: Callable[[str], None]) -> None:
    end = time.monotonic() + plan.storm
    following = time.monotonic() + 3
    told = 0
    while time.monotonic() < end:
        stage.repair()
        if time.monotonic() > following:
            stage.act()
            following = time.monotonic() + stage.random.uniform(0.5, 2.0)
        for fault in stage.faults[told:]:
            tell(f"{end - time.monotonic():6.1f} s left: {fault.kind} {fault.pilot or ''}")
        told = len(stage.faults)
        time.sleep(0.05)
    stage.calm()


def _await_end(stage: Stage, db: Database, plan: Plan) -> None:
    """Wait until all workflows are final; what the faults made fail for good is retried, as its user would."""
    end = time.monotonic() + plan.calm
    client = Client(stage.system.url, (stage.system.home / "admin.token").read_text().strip())
    while time.monotonic() < end:
        stage.repair()
        with db.read() as connection:
            rows = connection.execute(sa.select(workflow.c.uuid, workflow.c.state)).all()
        if len(rows) == plan.workflows and all(row.state == "finished" for row in rows):
            return
        for row in rows:
            if row.state == "failed":
                with contextlib.suppress(P3sError):
                    client.retry_workflow(row.uuid)
        time.sleep(0.5)
