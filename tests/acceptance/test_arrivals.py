"""Data arrives and starts work: the injector as people run it, with real files, server and pilots."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from p3s.client import Client, Whole, choose_transport
from p3s.clock import read_clock
from p3s.errors import Conflict
from p3s.inject.rules import load_rules
from p3s.inject.starts import start_work
from p3s.inject.work import Injector
from tests.acceptance.support import call
from tests.acceptance.test_up import Desk
from tests.support.receivers import run_web
from tests.support.servers import System, end_process, wait_until

if TYPE_CHECKING:
    from p3s.client import Answer, Transport

QUAKES = Path(__file__).parents[2] / "workflows/quakes"
DAYS = sorted(QUAKES.glob("data/quakes-*.geojson"))
FLOW = """\
name: count
params: {run: {required: true}}
datasets: {raw: {path: somewhere}}
results: [lines]
jobs:
  count:
    inputs: [raw]
    outputs: {lines: lines.txt}
    run: echo "$run" "$(cat "$raw")" > "$lines"
"""
RULES = """\
name: watcher
every: 1s
rules:
  runs:
    folder: in
    pattern: 'run-(?P<run>\\d+)\\.csv'
    workflow: flow.yaml
    dataset: raw
    min-size: 5
    quiet: 300ms
"""


@pytest.fixture
def site(system: System) -> System:
    """A server, a workflow, rules and an empty folder."""
    (system.folder / "in").mkdir()
    system.write("flow.yaml", FLOW)
    system.write("rules.yaml", RULES.replace("300ms", "0.3"))
    return system


def fates(system: System) -> dict[str, str]:
    """Return the newest fate of each file by its name."""
    found: dict[str, str] = {}
    for view in system.client.iterate_arrivals():
        found.setdefault(Path(view.place).name, view.fate)
    return found


def run_once(system: System, *options: str, check: int | None = 0) -> list[dict[str, str]]:
    done = call(system, "inject", "run", "rules.yaml", "--json", *options, check=check)
    return [json.loads(line) for line in done.stdout.splitlines()]


def count_workflows(system: System) -> int:
    return len(system.client.list_workflows(limit=1000).items)


def test_the_story(tmp_path):
    """`p3s up --inject`: days of a catalogue are dropped one by one, workflows start, one letter tells of the two that
    failed, `p3s why` explains each file.
    """
    desk = Desk(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    flow = tmp_path / "quakes"
    shutil.copytree(QUAKES, flow)
    rules = desk.write(
        "rules.yaml",
        "name: quakes\nevery: 1s\nrules:\n  days:\n    folder: in\n    pattern: 'quakes-.*'\n"
        "    workflow: quakes/quakes.yaml\n    dataset: catalogue\n    min-size: 1kB\n    quiet: 1s\n",
    )
    system = System(tmp_path, port=desk.port)
    with contextlib.ExitStack() as stack:
        web = stack.enter_context(run_web())
        letters = f"name: desk\ngather: 12s\nevery: 1h\nchannels: {{hook: {{webhook: '{web.url}'}}}}\n"
        up = desk.start("--inject", rules, "--notify", desk.write("notify.yaml", letters))
        stack.callback(end_process, up)
        wait_until((desk.home / "server.json").exists, 60, "the server")
        wait_until(lambda: system.client.list_services().items, 60, "the injector")
        shutil.copy(DAYS[1], folder)
        (folder / "quakes-tiny.geojson").write_text("{}")
        for name in ("broken", "cut"):
            text = '{"type": "FeatureCollection", "features": [' + f'"{name}"' + " " * 2000
            (folder / f"quakes-{name}.geojson").write_text(text)
        wait_until(lambda: fates(system).get(DAYS[1].name) == "started", 60, "the first start")
        # The same day under another name.
        shutil.copy(DAYS[1], folder / "quakes-twice.geojson")
        growing = folder / DAYS[2].name
        for _ in range(8):
            with growing.open("ab") as stream:
                stream.write(DAYS[2].read_bytes()[:100])
            wait_until(lambda: DAYS[2].name in fates(system), 20, "a look at the growing file")
            assert fates(system)[DAYS[2].name] == "growing"
        growing.write_bytes(DAYS[2].read_bytes())
        expected = {
            DAYS[1].name: "started",
            DAYS[2].name: "started",
            "quakes-broken.geojson": "started",
            "quakes-cut.geojson": "started",
            "quakes-tiny.geojson": "too-small",
            "quakes-twice.geojson": "duplicate",
        }
        wait_until(lambda: fates(system) == expected, 60, "a fate for each file")

        def ended() -> bool:
            states = [view.state for view in system.client.list_workflows().items]
            return len(states) == 4 and all(state in {"finished", "failed"} for state in states)

        wait_until(ended, 90, "the end of the workflows")
        service = call(system, "why", "quakes").stdout
        assert service.startswith("It is alive on ")
        assert "1 duplicate, 4 started, 1 too-small" in service
        said = {name: call(system, "why", str(folder / name)).stdout for name in expected}
        assert "as workflow quakes" in said[DAYS[1].name]
        assert "which is finished" in said[DAYS[1].name]
        assert "which is failed" in said["quakes-broken.geojson"]
        assert "it has 2 bytes, its rule asks for 1000" in said["quakes-tiny.geojson"]
        assert f"the same content is {folder / DAYS[1].name}" in said["quakes-twice.geojson"]
        ident = next(view.workflow for view in system.client.iterate_arrivals() if view.place.endswith(DAYS[2].name))
        assert ident is not None
        results = call(system, "workflow", "results", ident).stdout
        assert "summary.json" in results
        wait_until(lambda: web.got, 60, "the letter")
        assert [letter["subject"] for letter in web.got] == ["desk: 2 failed"]
        failed = {view.uuid for view in system.client.list_workflows().items if view.state == "failed"}
        assert {notice["subject"] for notice in web.got[0]["notices"]} == failed
    assert "Traceback" not in (desk.home / "log/inject-1.log").read_text()


def test_an_injector_killed_between_decision_and_start_starts_once(site):
    """SIGKILL of the injector again and again: at the end each file has started exactly one workflow."""
    total = 25
    for number in range(total):
        site.write(f"in/run-{number:03}.csv", f"data {number}\n")
    for killed in range(4):
        injector = site.start_process("inject", "start", "rules.yaml", name=f"inject-{killed}")
        goal = (killed + 1) * total // 6
        wait_until(lambda goal=goal: count_workflows(site) >= goal, 60, f"{goal} workflows")
        end_process(injector, signal.SIGKILL)
    run_once(site)
    assert set(fates(site).values()) == {"started"}
    started = {view.workflow for view in site.client.iterate_arrivals()}
    assert started == {view.uuid for view in site.client.list_workflows(limit=1000).items}
    assert len(started) == total


class Killed(BaseException):
    """An injector's end at a chosen request: nothing of it goes on."""


class Killing(Whole):
    """Carries requests until one, at which its process is killed: before it is sent, or before its answer is read."""

    def __init__(self, inner: Transport, number: int, *, sent: bool) -> None:
        self._inner, self._left, self._sent = inner, number, sent

    def send(self, *request: Any) -> Answer:
        self._left -= 1
        if self._left == 0 and not self._sent:
            raise Killed
        answer = self._inner.send(*request)
        if self._left == 0:
            raise Killed
        return answer


def test_an_injector_killed_between_any_two_steps_takes_each_file_once(site):
    """What is not on the server is forgotten: killed before or after each of its requests, and all are taken once."""
    site.write("rules.yaml", RULES.replace("300ms", "0"))
    rules = load_rules(site.folder / "rules.yaml")
    token = (site.home / "admin.token").read_text().strip()
    total, killed, number = 0, True, 0
    while killed:
        number, killed = number + 1, False
        for sent in (False, True):
            # One that starts, one with the content of another, one that is too small.
            for name, text in ((f"{total}1", f"data {total}\n"), (f"{total}2", f"data {total}\n"), (f"{total}3", "-")):
                site.write(f"in/run-{name}.csv", text)
            total += 1
            client = Client(site.url, token, Killing(choose_transport(site.url), number, sent=sent))
            try:
                Injector(client, rules).look()
            except Killed:
                killed = True
            last = Injector(site.client, rules)
            wait_until(lambda last=last: not last.look().open, 30, "the end of what was begun")
    assert number > 4
    assert Counter(fates(site).values()) == {"started": total, "duplicate": total, "too-small": total}
    started = [view.workflow for view in site.client.iterate_arrivals(fate="started")]
    assert len(set(started)) == total
    assert set(started) == {view.uuid for view in site.client.list_workflows(limit=1000).items}


def test_a_start_that_another_call_is_still_loading_is_tried_again(site, monkeypatch):
    """A server was killed in the middle of a load: until that is given up, each look is refused and tries once more."""
    site.write("in/run-1.csv", "data\n")
    refused: list[Any] = []

    def refuse(*args: Any) -> None:
        if len(refused) < 3:
            refused.append(args)
            raise Conflict("the workflow is being loaded at this moment")
        start_work(*args)

    monkeypatch.setattr("p3s.inject.work.start_work", refuse)
    injector = Injector(site.client, load_rules(site.folder / "rules.yaml"))
    wait_until(lambda: injector.look() and fates(site) == {"run-1.csv": "started"}, 30, "the start")
    assert len(refused) == 3
    assert len(site.client.list_workflows().items) == 1


def test_a_server_killed_again_and_again_takes_each_file_once(site):
    """SIGKILL of the server while files are started: the injector goes on, and each starts exactly one workflow."""
    total = 12
    for number in range(total):
        site.write(f"in/run-{number:03}.csv", f"data {number}\n")
    injector = site.start_process("inject", "start", "rules.yaml", name="inject")
    for goal in (1, total // 2):
        wait_until(lambda goal=goal: count_workflows(site) >= goal, 60, f"{goal} workflows")
        site.stop_server(signal.SIGKILL)
        site.start_server()
    wait_until(lambda: Counter(fates(site).values()) == {"started": total}, 90, "a start of each file")
    end_process(injector)
    started = {view.workflow for view in site.client.iterate_arrivals()}
    assert started == {view.uuid for view in site.client.list_workflows(limit=1000).items}
    assert len(started) == total


def test_files_wait_while_the_server_is_away(site):
    """A file that comes during an outage starts its workflow when the server is back."""
    injector = site.start_process("inject", "start", "rules.yaml", name="inject")
    wait_until(lambda: site.client.list_services().items, 30, "the injector")
    site.stop_server(signal.SIGKILL)
    site.write("in/run-1.csv", "some data\n")
    wait_until(lambda: "files wait until the server answers" in site.read_log("inject"), 30, "the remark")
    site.start_server()
    wait_until(lambda: fates(site) == {"run-1.csv": "started"}, 60, "the start")
    end_process(injector)
    assert injector.returncode == 0
    assert [item.state for item in site.client.list_services().items] == ["stopped"]


def test_cron_runs_start_each_file_once(site):
    """`run --once` leaves what grows to the next run; a second run starts nothing; --again does, on request."""
    site.write("rules.yaml", RULES.replace("300ms", "3"))
    site.write("flow.yaml", FLOW + "deadline: 1h\n")
    path = site.write("in/run-7.csv", "some data\n")
    # A copy that keeps the time of its last write: it arrives now.
    os.utime(path, (path.stat().st_mtime - 86_400,) * 2)
    assert [view["fate"] for view in run_once(site, "--once")] == ["growing"]
    wait_until(lambda: [view["fate"] for view in run_once(site, "--once")][-1:] == ["started"], 30, "the start")
    (loaded,) = site.client.list_workflows().items
    assert loaded.deadline is not None
    assert loaded.deadline > read_clock() + 3000
    assert run_once(site, "--once") == []
    assert call(site, "inject", "run", "rules.yaml", "--again", check=64).stderr.count("--match") == 1
    (dry,) = run_once(site, "--match", "run-7*", "--again", "--dry-run")
    assert (dry["fate"], count_workflows(site)) == ("starting", 1)
    assert run_once(site, "--match", "run-7*", "--again")[-1]["fate"] == "started"
    assert count_workflows(site) == 2
    assert call(site, "why", "in/run-7.csv").stdout.startswith("It was started by rule runs of injector watcher")


def test_a_refused_workflow_is_the_files_fate(site):
    """What the server refuses is told with its reason; the next run leaves the file alone."""
    site.write("rules.yaml", RULES.replace("300ms", "0").replace("(?P<run>\\d+)", "(?P<run>.*)"))
    site.write("flow.yaml", FLOW.replace("{required: true}", "{required: true, choices: ['1', '2']}"))
    site.write("in/run-3.csv", "some data\n")
    (failed,) = [view for view in run_once(site, check=1) if view["fate"] == "failed"]
    assert "run" in failed["message"]
    assert run_once(site) == []
    assert "could not be started" in call(site, "why", "in/run-3.csv").stdout


def test_params_come_from_the_name_and_the_data_arrives(site):
    """The workflow gets the pattern's groups as parameters and exactly the file that came."""
    site.start_pilot()
    site.write("in/run-004610.csv", "1 2 3\n")
    (view,) = [one for one in run_once(site) if one["fate"] == "started"]
    found = call(site, "workflow", "watch", view["workflow"])
    assert "finished" in found.stdout + found.stderr
    target = site.folder / "results"
    call(site, "workflow", "results", view["workflow"], "--output", str(target))
    (file,) = [path for path in target.rglob("*") if path.is_file()]
    assert file.read_text() == "004610 1 2 3\n"


def test_a_standalone_job_gets_the_path(site):
    """A rule with `job:` starts a job with the path in the variable that `file:` names."""
    site.start_pilot()
    site.write("job.yaml", 'name: show\nrun: echo "$run $INPUT"\n')
    site.write(
        "rules.yaml",
        RULES.replace("300ms", "0")
        .replace("workflow: flow.yaml", "job: job.yaml")
        .replace("dataset: raw", "file: INPUT"),
    )
    path = site.write("in/run-5.csv", "some data\n")
    (view,) = [one for one in run_once(site) if one["fate"] == "started"]
    call(site, "workflow", "watch", view["workflow"])
    assert call(site, "job", "log", view["workflow"]).stdout == f"5 {path}\n"


def test_a_second_injector_of_the_name_takes_over(site):
    """The newest of two injectors with one name goes on; the earlier one says why and ends."""
    first = site.start_process("inject", "start", "rules.yaml", name="first")
    wait_until(lambda: site.client.list_services().items, 30, "the first injector")
    site.start_process("inject", "start", "rules.yaml", name="second")
    site.write("in/run-1.csv", "some data\n")
    assert wait_until(first.poll, 60, "the end of the first") == 4
    assert "has taken over" in site.read_log("first")
    wait_until(lambda: fates(site) == {"run-1.csv": "started"}, 30, "the start")
