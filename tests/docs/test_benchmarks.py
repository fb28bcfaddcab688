"""The benchmarks that the documentation names are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import faults, monitor
from benchmarks.filling import fill
from benchmarks.monitor import list_addresses
from benchmarks.results import Result, make_tables
from benchmarks.run import Suite
from benchmarks.scale import JOBS, make_table, run_scale
from benchmarks.trace import HOPS, measure
from benchmarks.trace import make_table as make_trace_table
from p3s.server.auth import Role
from p3s.settings import Home
from tests.support.api import Api
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
    assert words == {"bench", "bench-scale"}
    assert all(f"\n{word}: " in (ROOT / "Makefile").read_text() for word in words)


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


@pytest.mark.postgres
def test_the_monitor_is_asked_for_every_page(postgres, tmp_path):
    """A small database is filled as the large one is, and each address that reads is asked for and answered."""
    address = postgres.copy()
    api = Api(address, Home(tmp_path / "home"))
    fill(api.db, 600, 60)
    client = api.app.test_client()
    headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}", "Accept": "text/html"}

    def get(path):
        answer = client.get(path, headers=headers)
        return answer.status_code, answer.get_data(as_text=True)

    addresses = list_addresses(api.db, get)
    timings = monitor.measure(get, addresses, 1)
    assert len(monitor.make_table(timings).splitlines()) == len(addresses) + 2
    adapter = api.app.url_map.bind("")
    asked = {adapter.match(urlsplit(one).path)[0] for one in addresses}
    reading = {
        rule.endpoint
        for rule in api.app.url_map.iter_rules()
        if rule.endpoint.startswith("monitor.") and "GET" in (rule.methods or ())
    }
    # What the API is like is read from no database, and the form to log in is for those who may not read yet.
    assert reading - asked == {"monitor.content", "monitor.describe_api", "monitor.show_login"}
    api.db.close()


@pytest.mark.processes
def test_scale_run_loses_nothing():
    """Two workflows run through pilots without payloads, while what has ended is archived, and all is accounted for."""
    samples = run_scale(None, 2 * JOBS, pilots=2, slots=8, archiving=True)
    assert samples[-1].done == 2 * JOBS
    assert samples[-1].jobs + samples[-1].archived == 2 * JOBS
    assert make_table(samples).count("\n") == len(samples) + 2


def test_faults_are_found_in_the_log_of_events():
    """What was lost, accepted twice or given out before its parent's end is counted."""
    check_doctests(faults)


@pytest.mark.processes
def test_trace_follows_a_job():
    """The road of a job has all its hops, in order, on a real system."""
    steps = measure(None, 1, 0.3)
    assert len(steps) == 1
    assert len(steps[0]) == len(HOPS)
    # Only the payload can begin before who started it knows.
    assert all(step >= 0 for step in steps[0][:-1]), steps
    assert make_trace_table(steps).count("\n") == len(HOPS) + 3
