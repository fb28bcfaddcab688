"""Results, where outputs are kept, and what a payload is not to see."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.server.db import Database
from p3s.server.models import meta
from p3s.server.secrets import derive_attempt_token
from tests.acceptance.support import TOKEN, await_job, await_workflow, call, create_job, load, run_text
from tests.support.folders import read_files
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from tests.support.servers import System

MAKES = """\
name: makes
results: [report, table]
jobs:
  make:
    outputs: {report: out/report.html, table: table.json, scratch: scratch.bin}
    run: |
      printf '<p>fine</p>' > "$report"
      printf '{"events": 7, "days": ["a", "b"]}' > "$table"
      head -c 1000 /dev/zero > "$scratch"
"""


def test_results_are_uploaded_and_fetched(farm: System, tmp_path: Path) -> None:
    """Files under `results` are kept by the server, and fetched although the originals are gone."""
    uuid = run_text(farm, MAKES)
    results = {item.key: item for item in farm.client.list_results(uuid).items}
    assert set(results) == {"report", "table"}
    for item in results.values():
        Path(item.place).unlink()
    target = tmp_path / "fetched"
    done = call(farm, "workflow", "results", uuid, "--output", str(target))
    assert sorted(done.stdout.split()) == [str(target / "report.html"), str(target / "table.json")]
    assert (target / "report.html").read_bytes() == b"<p>fine</p>"
    assert json.loads((target / "table.json").read_text(encoding="utf-8"))["events"] == 7
    assert results["report"].size == len(b"<p>fine</p>")
    listed = json.loads(call(farm, "workflow", "results", uuid, "--json").stdout)
    assert {item["key"]: item["size"] for item in listed} == {"report": 11, "table": 33}


def test_outputs_lie_below_the_attempt(farm: System) -> None:
    """Every output is at data/WORKFLOW/JOB/ATTEMPT/PATH, with its size and checksum in the dataset's row."""
    uuid = run_text(farm, MAKES)
    job = farm.client.show_job(f"{uuid}/make")
    folder = farm.data / uuid / "make" / job.attempts[0].uuid
    assert {item.key: item.place for item in job.outputs} == {
        "report": str(folder / "out" / "report.html"),
        "table": str(folder / "table.json"),
        "scratch": str(folder / "scratch.bin"),
    }
    scratch = next(item for item in job.outputs if item.key == "scratch")
    assert scratch.size == 1000
    # sha256 of 1000 zero bytes, by sha256sum.
    assert scratch.checksum == "sha256:541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53"


def test_published_copy_appears_after_acceptance(farm: System, tmp_path: Path) -> None:
    """`publish` shows an output under a friendly name; the next run takes its place as a whole."""
    text = MAKES.replace("    run: |", f"    publish: {{report: {tmp_path}/dqm/latest.html}}\n    run: |")
    run_text(farm, text)
    target = tmp_path / "dqm" / "latest.html"
    wait_until(target.exists, 20, "the published file")
    assert target.read_bytes() == b"<p>fine</p>"
    run_text(farm, text.replace("<p>fine</p>", "<p>newer</p>"))
    wait_until(lambda: target.read_bytes() == b"<p>newer</p>", 20, "the newer file")
    assert [path.name for path in target.parent.iterdir()] == ["latest.html"]


def test_failed_attempt_publishes_nothing(farm: System, tmp_path: Path) -> None:
    """An output of a payload that failed in the end is not published."""
    text = (
        MAKES.replace("    run: |", f"    publish: {{report: {tmp_path}/latest.html}}\n    run: |") + "      exit 1\n"
    )
    uuid = load(farm, text)
    assert await_workflow(farm, uuid).state == "failed"
    assert not (tmp_path / "latest.html").exists()
    assert farm.client.list_results(uuid).items == []


def test_result_that_is_too_large_says_so(farm: System) -> None:
    """A result above the server's limit fails its job with a message that says what to do."""
    uuid = load(farm, MAKES.replace("printf '<p>fine</p>'", "head -c 6000000 /dev/zero"))
    assert await_workflow(farm, uuid).state == "failed"
    assert "6000000" in call(farm, "why", f"{uuid}/make").stdout
    assert "results" in call(farm, "why", f"{uuid}/make").stdout


def test_no_token_reaches_a_payload_or_a_file(system: System) -> None:
    """Neither the pilot's token and secret nor the attempt's reach the payload; no file but the token files has one."""
    token = (system.home / "pilot.token").read_text(encoding="utf-8").strip()
    system.start_pilot(
        "--keep", env={"P3S_TOKEN": token, "P3S_TOKEN_FILE": str(system.home / "pilot.token"), "KEPT": "yes"}
    )
    look = 'env; cat "$P3S_MANIFEST"; tr "\\0" "\\n" < /proc/$PPID/cmdline'
    script = look + '; find "$PWD" -type f ! -name stdout -exec cat {} +'
    uuid = create_job(system, "--run", script)
    job = await_job(system, uuid)
    assert job.state == "finished"
    printed = call(system, "job", "log", uuid).stdout
    assert "KEPT=yes" in printed
    assert f"P3S_JOB_UUID={uuid}" in printed
    assert f"P3S_ATTEMPT={job.attempts[0].uuid}" in printed
    assert "P3S_PILOT_UUID=" in printed
    assert "P3S_TOKEN" not in printed
    assert TOKEN.search(printed.encode()) is None
    system.stop()
    db = Database(f"sqlite:///{system.home / 'p3s.sqlite'}")
    with db.read() as connection:
        secret = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "secret"))
    db.close()
    own = derive_attempt_token(str(secret), job.attempts[0].uuid)
    assert own not in printed
    kept = {system.home / "admin.token", system.home / "pilot.token"}
    for path, content in read_files(system.folder):
        if path not in kept:
            assert TOKEN.search(content) is None, path
            assert own.encode() not in content, path
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(system.home.stat().st_mode) == 0o700


def test_payload_learns_its_place_from_the_environment(farm: System) -> None:
    """The variables that p3s sets agree with what the server knows, and later sources win."""
    text = """\
name: env
defaults: {env: {A: defaults, B: defaults}}
params: {C: {default: param}}
jobs:
  show: {env: {B: job, HOME: /nowhere}, run: 'env; pwd'}
"""
    uuid = run_text(farm, text)
    lines = call(farm, "job", "log", f"{uuid}/show").stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    job = farm.client.show_job(f"{uuid}/show")
    assert (found["A"], found["B"], found["C"], found["HOME"]) == ("defaults", "job", "param", "/nowhere")
    assert (found["P3S_JOB_UUID"], found["P3S_WORKFLOW_UUID"]) == (job.uuid, uuid)
    assert found["P3S_ATTEMPT"] == job.attempts[0].uuid
    assert found["TMPDIR"].startswith(lines[-1])
