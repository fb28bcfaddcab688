"""`p3s event` against a real server."""

from __future__ import annotations

import signal

import pytest

from tests.support.servers import end_process, wait_until

pytestmark = pytest.mark.processes


def test_a_report_reaches_who_follows(farm):
    """What one reports, another reads who follows, until Ctrl-C."""
    farm.run("event", "report", "run-control", "run 1 has begun")
    follower = farm.start_process("event", "list", "--noun", "report", "--follow", name="follower")
    wait_until(lambda: "run 1 has begun" in farm.read_log("follower"), 30, "the first report")
    farm.run("event", "report", "run-control", "run 2 has begun")
    wait_until(lambda: "run 2 has begun" in farm.read_log("follower"), 30, "the second report")
    assert farm.read_log("follower").count("run 1 has begun") == 1
    end_process(follower, signal.SIGINT)
    assert follower.returncode == 130


@pytest.mark.parametrize(("name", "message"), [("a b", "x"), ("", "x"), ("x" * 37, "x"), ("a", ""), ("a", "x" * 4001)])
def test_a_bad_report_is_refused(farm, name, message):
    """A name or a message that does not fit is told, without a traceback."""
    done = farm.run("event", "report", name, message, check=64)
    assert "Traceback" not in done.stderr


def test_status_counts_services(farm):
    """`p3s status` has a line for services."""
    assert "services" in farm.run("status").stdout
