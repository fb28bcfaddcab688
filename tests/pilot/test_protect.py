"""What a pilot refuses, what payloads see of its host, and what they may use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from p3s.engine.outcome import decide_outcome
from p3s.engine.plan import Retry
from p3s.engine.states import Reason
from p3s.pilot.main import run_pilot
from p3s.pilot.protect import LIMITS, Protection
from p3s.wire import AttemptReport, OutputOrder
from tests.support.agents import make_options, run_agent
from tests.support.fake_server import FakeServer, make_order


def run_one(folder: Path, protection: Protection, users: tuple[str, ...] = (), **fields) -> AttemptReport:
    """Run one payload on a protected host and return its report."""
    server = FakeServer()
    order = make_order(**fields)
    server.orders = [order]
    assert run_agent(folder, server, protection=protection, users=users) == 0
    return server.find_final(order.attempt)


def write_program(path: Path) -> Path:
    """Make an executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho ran\n")
    path.chmod(0o755)
    return path


def test_only_programs_of_the_accepted_folder_run(tmp_path: Path) -> None:
    """An executable below the folder runs; scripts, others, and links or dots that lead out are refused."""
    good = write_program(tmp_path / "site/bin/good")
    bad = write_program(tmp_path / "elsewhere/bad")
    (tmp_path / "site/link").symlink_to(bad)
    protection = Protection(payloads=(tmp_path / "site",))
    assert run_one(tmp_path / "1", protection, payload=str(good)).stdout == b"ran\n"
    dots = f"{tmp_path}/site/../elsewhere/bad"
    for number, payload in enumerate((str(bad), str(tmp_path / "site/link"), dots, "bundled.sh")):
        report = run_one(tmp_path / f"2{number}", protection, payload=payload)
        assert (report.kind, report.reason) == ("failed", Reason.REFUSED)
        assert str(tmp_path / "site") in report.message
    report = run_one(tmp_path / "3", protection, run="echo ran")
    assert report.reason is Reason.REFUSED
    assert "script" in report.message


def test_a_job_of_somebody_else_is_refused_whatever_the_server_says(tmp_path: Path) -> None:
    """The pilot checks owners itself."""
    report = run_one(tmp_path, Protection(), users=("ann",), run="true", owner="bob")
    assert report.reason is Reason.REFUSED
    assert "bob" in report.message


def test_a_refusal_is_not_repeated_at_once() -> None:
    """A refused job costs nothing and is given out again after a pause, not in a busy loop."""
    outcome = decide_outcome(Reason.REFUSED, None, Retry(), failures=0, losses=0, budget=0)
    assert (outcome.again, outcome.failures, outcome.losses) == (True, 0, 0)
    assert outcome.delay >= 1


def test_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads see the listed variables and p3s' own, and none of the host's others."""
    monkeypatch.setenv("AWS_SECRET", "hidden")
    monkeypatch.setenv("SITE_NAME", "shown")
    monkeypatch.setenv("P3S_TOKEN", "p3s_hidden")
    run = "env | cut -d= -f1 | sort"
    dirty = run_one(tmp_path / "a", Protection(), run=run).stdout.decode().split()
    assert "AWS_SECRET" in dirty
    assert "P3S_TOKEN" not in dirty
    protection = Protection(clean=True, passed=("SITE_NAME", "P3S_TOKEN"))
    clean = set(run_one(tmp_path / "b", protection, run=run).stdout.decode().split())
    assert {"PATH", "SITE_NAME", "P3S_ATTEMPT", "TMPDIR"} <= clean
    assert not {"AWS_SECRET", "P3S_TOKEN"} & clean


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("file-size", 4096, "-f"), ("open-files", 64, "-n"), ("processes", 5000, "-u"), ("core-size", 0, "-c")],
)
def test_limits_are_those_of_the_kernel(tmp_path: Path, name: str, value: int, shown: str) -> None:
    """Each limit is in force within the payload."""
    report = run_one(tmp_path, Protection(limits={name: value}), run=f"ulimit {shown}")
    expected = value // 1024 if name == "file-size" else value
    assert (report.kind, report.stdout.decode().strip()) == ("succeeded", str(expected))
    assert name in LIMITS


def test_enforced_demands(tmp_path: Path) -> None:
    """A payload that takes more memory than it asked for fails, one that keeps to it does not."""
    take = "python3 -c 'bytearray({} * 1024 * 1024)'"
    protection = Protection(enforce=True)
    size = 400 * 1024 * 1024
    assert run_one(tmp_path / "a", protection, run=take.format(20), memory=size).kind == "succeeded"
    assert run_one(tmp_path / "b", protection, run=take.format(900), memory=size).kind == "failed"
    report = run_one(tmp_path / "c", protection, run="ulimit -t", timelimit=30.0, cpus=2)
    assert int(report.stdout) >= 60


def test_a_missing_program_is_still_a_nonstarter(tmp_path: Path) -> None:
    """Below the limiting program, too, a payload that cannot be started is said to be so."""
    report = run_one(tmp_path, Protection(limits={"core-size": 0}), payload="/no/such/program")
    assert report.reason is Reason.NONSTARTER


def test_umask(tmp_path: Path) -> None:
    """What payloads write is closed to whom the umask says."""
    report = run_one(tmp_path, Protection(umask=0o027), run="umask; touch f; stat -c %a f")
    assert report.stdout.decode().split() == ["0027", "640"]


@pytest.mark.usefixtures("isolation")
def test_isolated_payloads_write_in_their_own_folders_only(tmp_path: Path) -> None:
    """Under bubblewrap outputs are written, all else is read-only, secrets and other processes are out of sight."""
    secret = tmp_path / "admin.token"
    secret.write_text("p3s_hidden")
    other = tmp_path / "work/other"
    other.mkdir(parents=True)
    run = f"""
echo made > "$out"
touch here
if touch {tmp_path}/escaped; then exit 3; fi
test ! -s {secret}
test ! -e {other}
test ! -d /proc/{os.getpid()}
"""
    output = OutputOrder(name="out", key="out", path="out.txt")
    report = run_one(tmp_path, Protection(isolate=True, hidden=(secret,)), run=run, outputs=[output])
    assert report.kind == "succeeded", report
    assert Path(report.outputs[0].path).read_text() == "made\n"
    assert not (tmp_path / "escaped").exists()


@pytest.mark.usefixtures("isolation")
def test_isolated_payloads_are_stopped_with_their_children(tmp_path: Path) -> None:
    """The time limit ends an isolated payload that ignores SIGTERM, and what it started."""
    report = run_one(
        tmp_path, Protection(isolate=True), run="trap '' TERM; setsid sleep 341 & sleep 342", timelimit=0.5
    )
    assert report.reason is Reason.TIMELIMIT
    left = subprocess.run(["pgrep", "-f", "sleep 34[12]"], check=False, capture_output=True).stdout
    assert left == b""


def test_what_the_host_cannot_do_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Missing programs and folders are exit code 64, all in one message."""
    monkeypatch.setenv("PATH", str(tmp_path))
    wishes = Protection(isolate=True, enforce=True, payloads=(tmp_path / "none",))
    options = make_options(tmp_path, protection=wishes, allow_root=True)
    assert run_pilot(options) == 64
    told = capsys.readouterr().err
    assert all(word in told for word in ("bubblewrap", "util-linux", str(tmp_path / "none")))


def test_open_secrets_are_told(tmp_path: Path, capsys) -> None:
    """A file of secrets that others can read is warned of, a closed one is not."""
    path = tmp_path / "secrets.json"
    for mode, warned in ((0o644, True), (0o600, False)):
        path.write_text("{}")
        path.chmod(mode)
        run_pilot(make_options(tmp_path, secrets=path, allow_root=True, register_limit=0.0))
        assert ("others can read" in capsys.readouterr().err) is warned


def test_root_is_refused_unless_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Payloads run as root in a container that is recognised, or where --allow-root says so, and nowhere else."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for contained, allowed, refused in ((False, False, True), (True, False, False), (False, True, False)):
        monkeypatch.setattr("p3s.pilot.main.is_contained", lambda contained=contained: contained)
        run_pilot(make_options(tmp_path, allow_root=allowed, register_limit=0.0))
        assert ("would run as root" in capsys.readouterr().err) is refused
