"""The bounded fault run: real processes are killed, frozen and cut off, and everything that must be zero is."""

from __future__ import annotations

import random

import pytest

from tests.chaos.run import Plan, run_chaos
from tests.chaos.work import EXCLUSIVE, PARENTS, Journal


def run(folder, plan):
    """Run a plan and fail with its whole table."""
    table = run_chaos(folder, plan)
    print(plan)
    print(table)
    assert table.sound, f"{plan}\n{table}"
    # A run in which nothing happened would show nothing.
    assert table.facts["faults injected"] >= 5
    assert table.facts["accepted results"] == plan.workflows * len(PARENTS)


@pytest.mark.processes
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_no_fault_breaks_a_promise_on_postgresql(tmp_path):
    """Under kills, freezes and cuts nothing is lost, accepted twice, out of order or stuck; PostgreSQL itself dies."""
    run(tmp_path, Plan("postgresql", workflows=4, storm=25, calm=200, seed=random.randrange(10_000)))


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_no_fault_breaks_a_promise_on_sqlite(tmp_path):
    """As on PostgreSQL, with the one process that SQLite has."""
    run(tmp_path, Plan("sqlite", workflows=2, storm=15, calm=200, seed=random.randrange(10_000)))


def test_the_journal_tells_overlaps(tmp_path):
    """Two payloads of one job overlap if the first writes a line after the second began."""
    path = tmp_path / "journal"
    path.write_text("start j a 1.0\nstart j b 2.0\nbeat a a 2.5\nend j b 3.0\nbeat j a 4.0\nstart k c 5.0\n")
    journal = Journal(path)
    journal.read()
    assert [(first.attempt, second.attempt) for first, second in journal.find_overlaps()] == [("a", "b")]
    assert journal.runs["b"].ended == 3
    assert journal.runs["a"].ended is None


def test_the_hand_made_graph_is_that_of_the_file(tmp_path):
    """The parents written by hand name the jobs of the DAG."""
    assert set().union(*PARENTS.values()) | {"end"} == set(PARENTS)
    assert set(PARENTS) > EXCLUSIVE
