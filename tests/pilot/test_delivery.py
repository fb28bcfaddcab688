"""Results reach the server once, whatever is lost, repeated or late, and whoever dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p3s.pilot.guard import Guard
from p3s.pilot.hands import Hands
from p3s.pilot.options import PilotOptions
from p3s.pilot.outbox import Outbox, Publication, Record
from p3s.pilot.processes import list_processes
from p3s.pilot.publish import publish_file
from p3s.wire import AttemptReport, ExchangeBody, Leftover, OutputOrder
from tests.faults import Fault, FaultyTransport
from tests.support.agents import run_agent, start_agent
from tests.support.fake_server import FakeServer, make_order
from tests.support.folders import find_paths, read_files
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.client import Answer


def make_record(folder: Path, **fields) -> Record:
    order = make_order()
    report = AttemptReport(attempt=order.attempt, token=order.token, kind="succeeded", stdout=b"\xff\x00")
    return Record(report=report, sandbox=f"{folder}/sandbox", folder=f"{folder}/outputs", **fields)


def make_output(folder: Path) -> Path:
    """Write an output of the attempt of `make_record`."""
    path = folder / "outputs" / "out.txt"
    path.parent.mkdir()
    path.write_text("made")
    return path


@pytest.mark.parametrize("fault", ["lose-request", "lose-reply", "repeat", "delay"])
def test_faults(tmp_path: Path, fault: Fault) -> None:
    """Each job runs once and is accepted once, whatever happens to the calls."""
    marker = tmp_path / "runs"
    orders = [make_order(run=f"echo {number} >> {marker}") for number in range(6)]
    server = FakeServer(orders=list(orders), patience=20.0)
    faults: list[Fault] = [fault, "none"] * 5
    assert run_agent(tmp_path, FaultyTransport(server, faults, only="exchange"), cycles=2) == 0
    assert sorted(marker.read_text().split()) == sorted(map(str, range(6)))
    assert {order.attempt for order in orders} == {
        report.attempt for report in server.reports if report.kind == "succeeded"
    }


def test_no_server(tmp_path: Path) -> None:
    """A pilot that never reaches the server leaves with code 1 after its limit."""
    transport = FaultyTransport(FakeServer(), ["lose-request"] * 1000)
    assert run_agent(tmp_path, transport, register_limit=0.3) == 1


def test_patience(tmp_path: Path) -> None:
    """A pilot that is cut off for longer than its patience stops its payloads and leaves with code 1."""
    server = FakeServer(orders=[make_order(run="sleep 100")], patience=1.0)
    faults: list[Fault] = ["none", "none"]
    faults += ["lose-request"] * 1000
    assert run_agent(tmp_path, FaultyTransport(server, faults, only="exchange"), cycles=0) == 1


def test_next_pilot_delivers(tmp_path: Path) -> None:
    """A result that a dead pilot left is delivered by the next one with the same work folder, then published."""
    source, target = make_output(tmp_path), tmp_path / "shown" / "out.txt"
    dead = Outbox(tmp_path / "work", "dead")
    record = make_record(tmp_path, publications=[Publication(source=source, target=str(target))])
    dead.write(record, durable=True)
    (path,) = (tmp_path / "work" / "outbox" / "dead").glob("*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    server = FakeServer()
    run_agent(tmp_path, server)
    assert server.reports == [], "a living pilot keeps its results to itself"
    for lock in dead._locks.values():
        os.close(lock)
    run_agent(tmp_path, server)
    assert [report.stdout for report in server.reports] == [b"\xff\x00"]
    assert target.read_text() == "made"
    assert not path.exists()


def test_accepted_record_is_only_published(tmp_path: Path) -> None:
    """A pilot that died between acceptance and publication leaves the publication to the next one."""
    source, target = make_output(tmp_path), tmp_path / "out-shown.txt"
    dead = Outbox(tmp_path / "work", "dead")
    dead.write(
        make_record(tmp_path, publications=[Publication(source=source, target=str(target))], accepted=True),
        durable=True,
    )
    for lock in dead._locks.values():
        os.close(lock)
    server = FakeServer()
    run_agent(tmp_path, server)
    assert server.reports == []
    assert target.read_text() == "made"


def test_damaged_record(tmp_path: Path) -> None:
    """A record that cannot be read is put aside and keeps nobody from working."""
    folder = tmp_path / "work" / "outbox" / "dead"
    folder.mkdir(parents=True)
    (folder / "half.json").write_text('{"report": {"att')
    server = FakeServer(orders=[make_order()])
    assert run_agent(tmp_path, server) == 0
    assert server.count_finals() == 1
    assert [path.name for path in folder.glob("half*")] == ["half.damaged"]


def test_folders_of_dead_pilots_are_cleared_away(tmp_path: Path) -> None:
    """Of what dead pilots left, what was rejected goes; what may still count stays, and so does what was accepted."""
    dead, workflow = str(uuid.uuid4()), str(uuid.uuid4())
    rejected, accepted, open_one = (str(uuid.uuid4()) for _ in range(3))
    outputs = {attempt: tmp_path / "data" / workflow / "job" / attempt for attempt in (rejected, accepted, open_one)}
    sandboxes = {attempt: tmp_path / "work" / dead / attempt for attempt in outputs}
    for folder in [*outputs.values(), *sandboxes.values()]:
        folder.mkdir(parents=True)
    server = FakeServer()
    for attempt in (rejected, accepted):
        server.leftovers[attempt] = Leftover(
            attempt=attempt, workflow=workflow, job_name="job", rejected=attempt == rejected
        )
    assert run_agent(tmp_path, server) == 0
    assert [attempt for attempt, folder in outputs.items() if folder.exists()] == [accepted, open_one]
    assert [attempt for attempt, folder in sandboxes.items() if folder.exists()] == [open_one]


def test_acceptance_clears_the_folders_of_other_attempts(tmp_path: Path) -> None:
    """When a later attempt is accepted, what earlier ones of the job wrote is deleted, whoever their pilots were."""
    output = OutputOrder(name="out", key="out", path="out", result=False)
    order = make_order(run='echo new > "$out"', outputs=[output], number=2)
    folder = tmp_path / "data" / order.workflow / order.job_name
    (folder / str(uuid.uuid4())).mkdir(parents=True)
    assert run_agent(tmp_path, FakeServer(orders=[order])) == 0
    assert [path.name for path in folder.iterdir()] == [order.attempt]


def test_forced_end_leaves_no_record(tmp_path: Path) -> None:
    """A payload that was stopped at the lease's end leaves no record that a later pilot would report."""
    output = OutputOrder(name="out", key="out", path="out")
    order = make_order(run='echo $$ > "$out"; sleep 60', outputs=[output], exclusive=True)
    server = FakeServer(orders=[order], lease=0.7)
    faults: list[Fault] = ["none", "none"]
    faults += ["lose-request"] * 1000
    with start_agent(tmp_path, FaultyTransport(server, faults, only="exchange"), cycles=0):
        server.wait_for(lambda: [path for path, content in read_files(tmp_path / "data", "out") if content])
        (path,) = (tmp_path / "data").rglob("out")
        assert wait_until_dead(int(path.read_text()))
    assert find_paths(tmp_path / "work/outbox", "*.json") == []


def test_pilot_leaves_other_children_alone(tmp_path: Path) -> None:
    """A child that runs on is none of the pilot's; afterwards nothing is woken by ends of children any more."""
    with subprocess.Popen(["/bin/sleep", "100"]) as other:
        # What began in the same hundredth of a second as a payload, or after it, is taken for what it left behind.
        time.sleep(0.05)
        assert run_agent(tmp_path, FakeServer(orders=[make_order()])) == 0
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1
        assert other.poll() is None
        other.kill()


def test_same_pilot_twice(tmp_path: Path) -> None:
    """Two living pilots with one uuid in one work folder are refused."""
    first = Outbox(tmp_path, "one")
    with pytest.raises(BlockingIOError, match="works in"):
        Outbox(tmp_path, "one")
    first.close()


def test_publish_replaces(tmp_path: Path) -> None:
    """A published name is replaced as a whole, and publishing twice does no harm."""
    source, target = tmp_path / "new.txt", tmp_path / "shown.txt"
    source.write_text("new")
    target.write_text("old")
    for _ in range(2):
        publish_file(tmp_path, "new.txt", target, "attempt")
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.txt", "shown.txt"]


def test_publish_relative(tmp_path: Path) -> None:
    """A published name without its folder is refused."""
    with pytest.raises(ValueError, match="absolute"):
        publish_file(tmp_path, "a", Path("b"), "attempt")


def is_alive(pid: int) -> bool:
    return any(process.pid == pid and process.state not in "ZX" for process in list_processes())


def wait_until_dead(pid: int) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.processes
def test_keeper_ends_what_a_dead_pilot_left(tmp_path: Path) -> None:
    """When the pilot is killed its payloads die, also those that left their session, and then their environment."""
    script = tmp_path / "pilot.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "from p3s.pilot.guard import Guard\n"
        "guard = Guard('the-mark')\n"
        "def start(*words):\n"
        "    return subprocess.Popen(words, start_new_session=True, env={'P3S_PILOT_UUID': 'the-mark'})\n"
        "one = start('/bin/sleep', '100')\n"
        "guard.add(one.pid, exclusive=False)\n"
        "two = start('/bin/sleep', '100')\n"
        "out = open('the-mark/stdout', 'w')\n"
        "three = subprocess.Popen(['/bin/sleep', '100'], start_new_session=True, env={}, stdout=out)\n"
        "print(one.pid, two.pid, three.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    (tmp_path / "the-mark").mkdir()
    pilot = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert pilot.stdout is not None
    pids = [int(word) for word in pilot.stdout.readline().split()]
    assert all(is_alive(pid) for pid in pids)
    pilot.kill()
    pilot.wait()
    pilot.stdout.close()
    assert all(wait_until_dead(pid) for pid in pids)


@pytest.mark.processes
def test_keeper_ends_exclusive_payload(tmp_path: Path) -> None:
    """An exclusive payload dies when the lease is over even if the pilot is frozen; others live on."""
    guard = Guard("no-such-mark")
    payloads = [subprocess.Popen(["/bin/sleep", "100"], start_new_session=True) for _ in range(2)]
    guard.add(payloads[0].pid, exclusive=True)
    guard.add(payloads[1].pid, exclusive=False)
    guard.renew(0.2)
    assert payloads[0].wait(20) == -signal.SIGKILL
    assert payloads[1].poll() is None
    payloads[1].kill()
    payloads[1].wait()
    guard.close()


@pytest.mark.processes
def test_keeper_ends_an_exclusive_payload_that_it_only_expects() -> None:
    """A pilot that is frozen while it starts an exclusive payload has told of it before; others live on."""
    guard = Guard("no-such-mark")

    def start(attempt: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/bin/sleep", "100"], start_new_session=True, env={"P3S_ATTEMPT": attempt})

    other = start("another")
    guard.add(other.pid, exclusive=False)
    # Long enough for a process to start on a busy machine.
    guard.renew(3)
    assert guard.expect("one")
    assert start("one").wait(20) == -signal.SIGKILL
    assert not guard.expect("two")
    guard.renew(60)
    assert guard.expect("three")
    known = start("three")
    guard.add(known.pid, exclusive=True)
    time.sleep(0.5)
    assert known.poll() is other.poll() is None
    guard.close()
    # The keeper kills them as it goes, like all payloads that it knows.
    assert {known.wait(20), other.wait(20)} == {-signal.SIGKILL}


@pytest.mark.processes
def test_keeper_hears_of_payloads_that_last() -> None:
    """A payload that lasts dies with the pilot even without a mark; one that ended at once was never told of."""
    guard = Guard("no-such-mark")
    lasting, ended = (subprocess.Popen(["/bin/sleep", "100"], start_new_session=True) for _ in range(2))
    guard.add(lasting.pid, exclusive=False)
    guard.add(ended.pid, exclusive=False)
    guard.remove(ended.pid)
    guard.flush(guard.find_next_time())
    assert guard.find_next_time() == float("inf")
    guard.close()
    assert lasting.wait(20) == -signal.SIGKILL
    assert ended.poll() is None
    ended.kill()
    ended.wait()


@pytest.mark.processes
def test_keeper_measures_a_payload_by_the_lease_of_its_start(tmp_path: Path) -> None:
    """A lease that ended while nothing exclusive ran does not end the exclusive payload that starts afterwards."""
    guard = Guard("no-such-mark")
    first = subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)
    guard.renew(0.3)
    guard.add(first.pid, exclusive=True)
    first.kill()
    first.wait()
    guard.remove(first.pid)
    time.sleep(0.5)
    guard.renew(60)
    for _ in range(20):
        payload = subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)
        guard.add(payload.pid, exclusive=True)
        time.sleep(0.05)
        assert payload.poll() is None
        payload.kill()
        payload.wait()
        guard.remove(payload.pid)
    guard.close()


@pytest.mark.processes
def test_pilot_process_killed(tmp_path: Path) -> None:
    """`run_pilot` as a process of its own: no server within the limit is code 1, its log tells no token."""
    code = (
        "import sys; from pathlib import Path; from p3s.pilot.main import run_pilot\n"
        "from p3s.pilot.options import PilotOptions\n"
        f"p = Path({str(tmp_path)!r})\n"
        "sys.exit(run_pilot(PilotOptions('http://127.0.0.1:9', 'TOKEN', p / 'd', p / 'w', p / 'l',"
        " register_limit=0.1, allow_root=True)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (log,) = (tmp_path / "l").glob("*.log")
    assert "127.0.0.1:9" in log.read_text()
    assert "TOKEN" not in log.read_text() + done.stderr
    assert "TOKEN" not in repr(PilotOptions("u", "TOKEN", tmp_path, tmp_path, tmp_path))


def test_results_are_written_down_while_reports_travel(tmp_path: Path) -> None:
    """The disk has a result while its report is still without an answer, and no longer when it was answered."""
    orders = [make_order(run=f"echo {number}") for number in range(2)]
    server = FakeServer(orders=list(orders))
    kept: set[str] = set()

    class Slow(FaultyTransport):
        """Answers reports of results when these are on disk."""

        def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
            reports = ExchangeBody.model_validate_json(body or b"").reports if url.endswith("exchange") else []
            told = {report.attempt for report in reports if report.kind == "succeeded"}
            wait_until(lambda: told <= find_kept(), 10, "each result on disk")
            kept.update(told)
            return super().send(method, url, headers, body, timeout)

    def find_kept() -> set[str]:
        return {path.stem for path in (tmp_path / "work" / "outbox").glob("*/*.json")}

    assert run_agent(tmp_path, Slow(server, []), cycles=2) == 0
    assert kept == {order.attempt for order in orders}
    assert not [path for path in find_paths(tmp_path / "work") if path.is_file()]


def test_a_result_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """The server may still get it, so the pilot goes on; its log says what a crash would lose."""
    notes: list[str] = []
    outbox = Outbox(tmp_path / "work", "me")
    hands = Hands.__new__(Hands)
    record = make_record(tmp_path)
    vars(hands).update(_unwritten={record.report.attempt: record}, _outbox=outbox, _note=notes.append)
    shutil.rmtree(tmp_path / "work")
    hands.write_down()
    assert "not kept on disk" in notes[0]
    assert not hands._unwritten


def test_result_outlives_a_pilot_that_cannot_deliver(tmp_path: Path) -> None:
    """A pilot that is told to leave while the server is away keeps its result on disk for the next one."""
    order = make_order(run="echo made")
    server = FakeServer(orders=[order])
    faults: list[Fault] = ["none"]
    faults += ["lose-request"] * 1000
    with start_agent(tmp_path, FaultyTransport(server, faults, only="exchange"), cycles=0):
        server.wait_for(lambda: list((tmp_path / "work" / "outbox").glob("*/*.json")))
    assert server.reports == []
    run_agent(tmp_path, server)
    assert server.find_final(order.attempt).stdout == b"made\n"
    assert not [path for path in find_paths(tmp_path / "work") if path.is_file()]
