"""Real payloads run by a pilot against a server in memory."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from p3s.engine.states import PilotStatus, Reason
from p3s.pilot.guard import Guard
from p3s.pilot.hands import POOL
from p3s.pilot.kill import become_subreaper
from p3s.pilot.leftovers import delete_folders
from p3s.pilot.processes import list_processes, read_process, read_variable
from p3s.wire import TAIL_BYTES, AttemptReport, BundleEntry, InputOrder, OutputOrder
from tests.support.agents import run_agent, start_agent
from tests.support.fake_server import FakeServer, make_order
from tests.support.folders import find_paths
from tests.support.programs import lack


def run_one(folder: Path, **fields) -> AttemptReport:
    server = FakeServer()
    order = make_order(**fields)
    server.orders = [order]
    assert run_agent(folder, server) == 0
    return server.find_final(order.attempt)


def find_processes(attempt: str) -> list[int]:
    return [
        process.pid
        for process in list_processes()
        if process.state not in "ZX" and read_variable(process.pid, "P3S_ATTEMPT") == attempt
    ]


def test_success(tmp_path: Path) -> None:
    """A payload that exits with 0 is reported with its output and its times, and its sandbox is gone."""
    report = run_one(tmp_path, run="echo out; echo err >&2")
    assert (report.kind, report.exit_code, report.stdout, report.stderr) == ("succeeded", 0, b"out\n", b"err\n")
    assert report.wall is not None
    assert report.cpu_time is not None
    assert not [path for path in find_paths(tmp_path / "work") if path.is_file()]


@pytest.mark.parametrize(
    ("run", "reason", "code", "signal"),
    [("exit 3", Reason.EXIT_CODE, 3, None), ("kill -SEGV $$", Reason.SIGNAL, None, 11)],
)
def test_failure(tmp_path: Path, run: str, reason: Reason, code: int | None, signal: int | None) -> None:
    """A payload that fails is reported with its exit code or signal."""
    report = run_one(tmp_path, run=run)
    assert (report.kind, report.reason, report.exit_code, report.signal) == ("failed", reason, code, signal)


def test_an_exclusive_payload_does_not_start_without_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the lease ended since the job was taken up, it is handed back; a job that is not exclusive runs."""
    monkeypatch.setattr(Guard, "expect", lambda *_: False)
    ran = tmp_path / "ran"
    report = run_one(tmp_path / "one", run=f"touch {ran}", exclusive=True)
    assert (report.kind, report.message) == ("handed-back", "exclusive, and the lease is over")
    assert not ran.exists()
    assert run_one(tmp_path / "two", run=f"touch {ran}").kind == "succeeded"
    assert ran.exists()


def test_time_limit(tmp_path: Path) -> None:
    """A payload that ignores SIGTERM is killed after the grace, with its children."""
    start = time.monotonic()
    order = make_order(run="trap '' TERM; sleep 100 & wait; sleep 100", timelimit=0.3)
    server = FakeServer(orders=[order])
    run_agent(tmp_path, server)
    assert server.find_final(order.attempt).reason is Reason.TIMELIMIT
    assert time.monotonic() - start < 60
    assert find_processes(order.attempt) == []


@pytest.mark.usefixtures("subreaper")
def test_strays(tmp_path: Path) -> None:
    """Children that leave the payload's session die with it when the pilot adopts them."""
    order = make_order(run="setsid sleep 100 > /dev/null 2>&1 & sleep 0.1")
    server = FakeServer(orders=[order])
    run_agent(tmp_path, server)
    assert server.find_final(order.attempt).kind == "succeeded"
    assert find_processes(order.attempt) == []


@pytest.fixture
def subreaper() -> None:
    """Let this process adopt orphans, as a pilot does."""
    if not become_subreaper():
        lack("this system has no subreaper")


def is_alive(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.is_alive


def make_daemon(pid_file: Path, options: str = "") -> str:
    """A script whose grandchild has left its session, its environment and its parent."""
    inner = f"{options}sleep 100 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}"
    return f"setsid env -i PATH=\"$PATH\" sh -c '{inner}'"


@pytest.mark.parametrize("end", ["success", "time limit"])
@pytest.mark.usefixtures("subreaper")
def test_strays_without_environment(tmp_path: Path, end: str) -> None:
    """Dropping its environment saves no child from the end of its payload, while others run on."""
    pid_file, other_file = tmp_path / "pid", tmp_path / "other"
    script = make_daemon(pid_file) + ("" if end == "success" else "\nsleep 100")
    order = make_order(run=script, timelimit=1.0 if end == "time limit" else 60.0)
    other = make_order(run=make_daemon(other_file) + "\nsleep 100")
    server = FakeServer(orders=[other, order])
    with start_agent(tmp_path, server, cycles=0):
        server.wait_for(other_file.exists)
        server.wait_for(server.count_finals)
        assert not is_alive(int(pid_file.read_text()))
        assert is_alive(int(other_file.read_text()))
    assert not is_alive(int(other_file.read_text()))


@pytest.mark.usefixtures("subreaper")
def test_stray_that_hides_its_origin(tmp_path: Path) -> None:
    """What shows nothing of its payload goes with the last one that may have started it, not with an earlier one."""
    pid_file, gate = tmp_path / "pid", tmp_path / "gate"
    hidden = make_daemon(pid_file, "cd /; exec > /dev/null 2>&1; ")
    older = make_order(run=f"while [ ! -e {gate} ]; do sleep 0.02; done")
    server = FakeServer(orders=[older])
    with start_agent(tmp_path, server, cycles=0):
        server.wait_for(lambda: any(report.kind == "started" for report in server.reports))
        server.change(orders=[make_order(run=hidden)])
        server.wait_for(lambda: server.count_finals() == 1)
        assert is_alive(int(pid_file.read_text()))
        gate.touch()
        server.wait_for(lambda: server.count_finals() == 2)
        assert not is_alive(int(pid_file.read_text()))


def test_large_stdout(tmp_path: Path) -> None:
    """Of 100 MB of output the report has the last 64 KiB and the size of the whole."""
    report = run_one(tmp_path, run="head -c 100000000 /dev/zero | tr '\\0' 'x'; echo end")
    assert report.stdout_size == 100_000_004
    assert len(report.stdout) == TAIL_BYTES
    assert report.stdout.endswith(b"xend\n"[-5:])


def test_outputs(tmp_path: Path) -> None:
    """Outputs are reported with place, size and checksum, below the attempt's own folder."""
    order = make_order(run='printf abc > "$hits"', outputs=[OutputOrder(name="hits", key="hits", path="a/hits.txt")])
    server = FakeServer(orders=[order])
    run_agent(tmp_path, server)
    (output,) = server.find_final(order.attempt).outputs
    folder = tmp_path / "data" / order.workflow / order.job_name / order.attempt
    assert output.path == str(folder / "a/hits.txt")
    assert (output.size, output.checksum) == (3, "sha256:" + hashlib.sha256(b"abc").hexdigest())
    assert Path(output.path).read_text() == "abc"


@pytest.mark.parametrize("run", ["true", 'ln -s /etc/hostname "$hits"', 'mkdir "$hits"'])
def test_missing_output(tmp_path: Path, run: str) -> None:
    """An output that is not there, or is a link or a folder, fails the attempt and names the output."""
    report = run_one(tmp_path, run=run, outputs=[OutputOrder(name="hits", key="hits", path="hits.txt")])
    assert report.reason is Reason.MISSING_OUTPUT
    assert "hits" in report.message


def test_result_and_publication(tmp_path: Path) -> None:
    """A result's content reaches the server before the report; the published name appears after acceptance."""
    target = tmp_path / "shown" / "report.html"
    output = OutputOrder(name="page", key="page", path="page.html", result=True, publish=str(target))
    server = FakeServer(orders=[make_order(run='echo hello > "$page"', outputs=[output])])
    run_agent(tmp_path, server)
    digest = hashlib.sha256(b"hello\n").hexdigest()
    assert server.blobs == {digest: b"hello\n"}
    assert target.read_text() == "hello\n"
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
    assert not find_paths(tmp_path / "work" / "outbox", "*.json")


def test_too_large_result(tmp_path: Path) -> None:
    """A result over the limit fails the attempt with a message that says what to do."""
    output = OutputOrder(name="page", key="page", path="page.html", result=True)
    report = run_one(tmp_path, run='head -c 6000000 /dev/zero > "$page"', outputs=[output])
    assert report.kind == "failed"
    assert "publish" in report.message


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Params, axes, inputs and outputs are variables and a manifest; tokens of the pilot are not."""
    monkeypatch.setenv("P3S_TOKEN", "very secret")
    data = tmp_path / "raw file.csv"
    data.write_text("12345")
    order = make_order(
        run='printf "%s|" "$run" "$plane" "$raw" "$MY" "${P3S_TOKEN-none}"; cat "$trk_list"; cp "$P3S_MANIFEST" "$out"',
        params={"run": "004610; touch x"},
        axes={"plane": "$(id)"},
        env={"MY": "a b"},
        inputs=[
            InputOrder(name="raw", key="raw", place=str(data), size=5),
            InputOrder(name="trk", key="trk-u", place=str(data), collection=True),
        ],
        collections=["trk"],
        missing=["trk-v"],
        outputs=[OutputOrder(name="out", key="out", path="manifest.json")],
    )
    server = FakeServer(orders=[order])
    run_agent(tmp_path, server)
    report = server.find_final(order.attempt)
    assert report.stdout.decode() == f"004610; touch x|$(id)|{data}|a b|none|{data}\n"
    manifest = json.loads(Path(report.outputs[0].path).read_text())
    assert manifest["inputs"] == {"raw": str(data), "trk": [str(data)]}
    assert manifest["missing"] == ["trk-v"]


def test_bundle(tmp_path: Path) -> None:
    """The bundle is fetched once by digest and unpacked; a payload from it is executable."""
    script = b"#!/bin/sh\necho $1 $(cat extra/note.txt)\n"
    digests = [hashlib.sha256(content).hexdigest() for content in (script, b"note")]
    bundle = [BundleEntry(path="go.sh", digest=digests[0]), BundleEntry(path="extra/note.txt", digest=digests[1])]
    order = make_order(payload="go.sh", args=["hello"], bundle=bundle)
    server = FakeServer(orders=[order], blobs=dict(zip(digests, (script, b"note"), strict=True)))
    run_agent(tmp_path, server)
    assert server.find_final(order.attempt).stdout == b"hello note\n"


def test_bundle_outside(tmp_path: Path) -> None:
    """A bundle path that leads out of the sandbox is refused."""
    digest = hashlib.sha256(b"x").hexdigest()
    order = make_order(bundle=[BundleEntry(path="../evil", digest=digest)])
    server = FakeServer(orders=[order], blobs={digest: b"x"})
    run_agent(tmp_path, server)
    assert server.find_final(order.attempt).reason is Reason.STAGING
    assert not find_paths(tmp_path, "evil")


@pytest.mark.parametrize("size", [None, 4])
def test_missing_input(tmp_path: Path, size: int | None) -> None:
    """An input that stays away, or has another size, fails the attempt and is named."""
    path = tmp_path / "raw.csv"
    if size:
        path.write_text("other size")
    report = run_one(tmp_path, inputs=[InputOrder(name="raw", key="raw", place=str(path), size=size)])
    assert report.reason is Reason.MISSING_INPUT
    assert str(path) in report.message


def test_late_input(tmp_path: Path) -> None:
    """An input that appears while the pilot waits is used."""
    path = tmp_path / "raw.csv"
    server = FakeServer()
    order = make_order(run='cat "$raw"', inputs=[InputOrder(name="raw", key="raw", place=str(path), size=2)])
    server.orders = [order]
    with start_agent(tmp_path, server, cycles=0, input_wait=20.0):
        time.sleep(0.1)
        path.write_text("ok")
        server.wait_for(server.count_finals)
    assert server.find_final(order.attempt).stdout == b"ok"


def test_secret(tmp_path: Path) -> None:
    """A secret comes from the pilot's own file; one that is not there refuses the job without cost."""
    secrets = tmp_path / "secrets.toml"
    secrets.write_text('KEY = "s3cret"\n')
    good, bad = (make_order(run="echo $K", env={"K": {"secret": name}}) for name in ("KEY", "OTHER"))
    server = FakeServer(orders=[good, bad])
    run_agent(tmp_path, server, secrets=secrets)
    assert server.find_final(good.attempt).stdout == b"s3cret\n"
    assert server.find_final(bad.attempt).reason is Reason.REFUSED


def test_black_hole(tmp_path: Path) -> None:
    """After three jobs in a row that cannot be started the pilot leaves and says why."""
    server = FakeServer(orders=[make_order(payload="/no/such/program") for _ in range(5)])
    assert run_agent(tmp_path, server, slots=1) == 71
    assert [report.reason for report in server.reports] == [Reason.NONSTARTER] * 3
    assert "/no/such/program" in server.bodies[-1].reason


def test_kill(tmp_path: Path) -> None:
    """KILL stops payloads at once, hands them back, and the pilot exits with 0."""
    order = make_order(run="sleep 100")
    server = FakeServer(orders=[order])
    with start_agent(tmp_path, server, cycles=0):
        server.wait_for(lambda: any(report.kind == "started" for report in server.reports))
        server.change(status=PilotStatus.KILL)
        server.wait_for(server.count_finals)
    assert server.find_final(order.attempt).kind == "handed-back"
    assert find_processes(order.attempt) == []


def test_stop_order(tmp_path: Path) -> None:
    """A stop order reaches a busy pilot through the held call, and the payload's end is confirmed."""
    order = make_order(run="sleep 100")
    server = FakeServer(orders=[order])
    with start_agent(tmp_path, server, cycles=0, slots=1):
        server.wait_for(lambda: any(report.kind == "started" for report in server.reports))
        server.change(stops={order.attempt})
        server.wait_for(server.count_finals)
    assert server.find_final(order.attempt).kind == "stopped"


def test_superseded(tmp_path: Path) -> None:
    """The payload of a superseded attempt is killed, and what it made is deleted."""
    output = OutputOrder(name="hits", key="hits", path="hits.txt")
    order = make_order(run='echo x > "$hits"; sleep 100', outputs=[output])
    server = FakeServer(orders=[order], superseded={order.attempt})
    with start_agent(tmp_path, server, cycles=0):
        server.wait_for(server.count_finals)
    assert server.find_final(order.attempt).kind == "stopped"
    assert not find_paths(tmp_path / "data", "hits.txt")


def test_leave_clears_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilot that leaves at once deletes first what it was still to delete, however slow the disk is."""

    def delete_slowly(folders: list[Path]) -> None:
        time.sleep(0.2)
        delete_folders(folders)

    monkeypatch.setattr("p3s.pilot.hands.delete_folders", delete_slowly)
    output = OutputOrder(name="hits", key="hits", path="hits.txt")
    orders = [make_order(run='echo x > "$hits"; exit 1', outputs=[output]) for _ in range(2 * POOL)]
    server = FakeServer(orders=orders)
    with start_agent(tmp_path, server, cycles=0, slots=2 * POOL):
        server.wait_for(lambda: server.count_finals() == len(orders))
    assert not find_paths(tmp_path / "data", "hits.txt")


def test_drain(tmp_path: Path) -> None:
    """The first signal lets a payload finish; jobs that wait are left to others."""
    orders = [make_order(run="sleep 0.5; echo done"), make_order(), make_order()]
    server = FakeServer(orders=orders[:1])
    with start_agent(tmp_path, server, cycles=0, slots=1) as agent:
        server.wait_for(lambda: any(report.kind == "started" for report in server.reports))
        server.change(orders=orders[1:])
        agent.interrupt()
        server.wait_for(lambda: any(body.state == "leaving" for body in server.bodies))
    assert server.find_final(orders[0].attempt).stdout == b"done\n"
    assert server.orders == orders[1:]


def test_watch(tmp_path: Path) -> None:
    """The output of a running payload is sent while somebody watches, and not otherwise."""
    order = make_order(run="echo first; sleep 0.5; echo second; sleep 100")
    server = FakeServer(orders=[order])
    with start_agent(tmp_path, server, cycles=0):
        server.wait_for(lambda: any(report.kind == "started" for report in server.reports))
        assert server.logs == []
        server.change(watched={order.attempt})
        server.wait_for(lambda: b"".join(chunk.data for chunk in server.logs) == b"first\nsecond\n")
    assert server.logs[0].offset == 0


def test_peak_memory(tmp_path: Path) -> None:
    """The peak memory of a payload that takes more than the pilot is known."""
    # The pilot is in the process of the tests here, which may have grown to some hundred MB.
    report = run_one(tmp_path, run="python3 -c 'x = bytearray(1_200_000_000)'")
    assert report.peak_memory is not None
    assert 1_200_000_000 < report.peak_memory < 1_800_000_000


def test_new_secret(tmp_path: Path) -> None:
    """A pilot that the server does not know any more registers again with the same uuid and goes on."""
    server = FakeServer()
    order = make_order()
    with start_agent(tmp_path, server, cycles=0):
        server.wait_for(lambda: server.bodies)
        server.change(secret="second secret", orders=[order])
        server.wait_for(server.count_finals)
    assert len({body.uuid for body in server.registrations}) == 1
    assert len(server.registrations) == 2
    assert os.environ.get("P3S_ATTEMPT") is None


def test_payload_deletes_its_sandbox(tmp_path: Path) -> None:
    """A payload that deletes its own folder is reported as failed and does no harm to the pilot."""
    server = FakeServer()
    orders = [make_order(run='rm -rf "$PWD"; exit 3'), make_order(run="echo well")]
    server.orders = list(orders)
    assert run_agent(tmp_path, server) == 0
    assert server.find_final(orders[0].attempt).kind == "failed"
    assert server.find_final(orders[1].attempt).stdout == b"well\n"
