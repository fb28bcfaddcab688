"""The benchmarks that the documentation names are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.results import Result, make_tables
from benchmarks.run import Suite
from benchmarks.trace import HOPS, make_table, measure
from tests.support.doctests import check_doctests

ROOT = Path(__file__).parents[2]


def test_command_answers_help():
    """The driver starts and shows the options that the page names."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--help"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout
    assert "--quick" in done.stdout


def test_make_knows_the_words_of_the_page():
    """Each `make` word of the page is in the Makefile."""
    words = {line.split()[1] for line in (ROOT / "docs/performance.md").read_text().splitlines() if line[:5] == "make "}
    assert words == {"bench"}
    assert "\nbench: " in (ROOT / "Makefile").read_text()


def test_cases_have_names():
    """The same cases are listed, quick or whole."""
    names = [list(Suite(None, quick=quick).list_cases()) for quick in (True, False)]  # type: ignore[arg-type]
    assert names[0] == names[1]
    assert {"bag-2", "bag-8", "chain", "fan", "latency", "claims"} <= set(names[0])


def test_tables_put_the_best_first():
    """Less time and more per second come first."""
    slow, fast = (
        Result(name, "c", 1, 1, value, value, value, "ms", "m") for name, value in (("slow", 2.0), ("fast", 1.0))
    )
    table = make_tables([slow, fast])
    assert table.index("| fast |") < table.index("| slow |")


def test_faults_are_found_in_the_log_of_events():
    """What was lost, accepted twice or given out before its parent's end is counted."""
    check_doctests(faults)


@pytest.mark.processes
def test_trace_follows_a_job():
    """The road of a job has all its hops, in order, on a real system."""
    steps = measure(None, 2)
    assert len(steps) == 1
    assert len(steps[0]) == len(HOPS)
    # Only the payload can begin before who started it knows.
    assert all(step >= 0 for step in steps[0][:-1]), steps
    assert make_table(steps).count("\n") == len(HOPS) + 3
