"""Children are started, started again, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p3s import supervise
from p3s.supervise import ChildFailed, Interrupts, Program, Supervisor

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def _restore_signals():
    """What a test leaves ignored is not ignored by the programs of the next ones."""
    before = {number: signal.getsignal(number) for number in Interrupts.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def is_alive(pid):
    """Tell whether a process runs; one that is dead and not yet waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def await_true(condition, seconds=15.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not become true in time"
        time.sleep(0.02)


@pytest.fixture
def make_program(tmp_path):
    """Return a factory of programs that run a line of shell."""

    def make(script, name="a child", **given):
        return Program(name, ("/bin/sh", "-c", script), tmp_path / "log", dict(os.environ), **given)

    return make


@pytest.fixture
def supervisor():
    """Give a supervisor that ends what it started when the test does."""
    with Interrupts() as interrupts:
        found = Supervisor(interrupts, lambda _: None)
        yield found
        found.stop()


def test_a_dead_child_is_started_again(supervisor, make_program, tmp_path, monkeypatch):
    """A child that dies is started again after a pause."""
    monkeypatch.setattr(supervise, "RESTART_PAUSE", 0.01)
    supervisor.start(make_program(f"echo x >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -lt 3 || sleep 100"))

    def ran_thrice():
        supervisor.check()
        runs = tmp_path / "runs"
        return runs.exists() and len(runs.read_text().split()) == 3

    await_true(ran_thrice)


def test_a_child_that_keeps_dying_is_given_up(supervisor, make_program, monkeypatch):
    """A child that dies again and again ends the supervision, with the end of its log in the message."""
    monkeypatch.setattr(supervise, "RESTART_PAUSE", 0.001)
    supervisor.start(make_program("echo the last words; exit 7", name="the server"))

    def check_for_long():
        for _ in range(1000):
            supervisor.check()
            time.sleep(0.01)

    with pytest.raises(ChildFailed, match="exit code 7") as caught:
        check_for_long()
    assert "the last words" in str(caught.value)


def test_a_child_that_left_is_not_started_again(supervisor, make_program, tmp_path):
    """A child that may leave and exits with 0 stays away."""
    pid = supervisor.start(make_program(f"echo x >> {tmp_path}/runs", may_leave=True))
    await_true(lambda: not is_alive(pid))
    for _ in range(20):
        supervisor.check()
        time.sleep(0.01)
    assert (tmp_path / "runs").read_text() == "x\n"


def test_stop_ends_children_and_grandchildren(supervisor, make_program, tmp_path):
    """Stopping ends each child with its process group, though a member of the group ignores SIGTERM."""
    pid = supervisor.start(make_program(f"(trap '' TERM; sleep 100) & echo $! > {tmp_path}/pid; wait"))
    await_true(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    grandchild = int((tmp_path / "pid").read_text())
    supervisor.stop()
    assert not is_alive(pid)
    await_true(lambda: not is_alive(grandchild))


def test_stop_is_bounded(supervisor, make_program, monkeypatch, tmp_path):
    """A child that ignores SIGTERM is killed in the end."""
    monkeypatch.setattr(supervise, "KILL_AFTER", 0.3)
    pid = supervisor.start(make_program(f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done"))
    await_true((tmp_path / "ready").exists)
    supervisor.stop()
    assert not is_alive(pid)


def test_the_first_started_is_stopped_last(supervisor, make_program, tmp_path):
    """The server is stopped after the pilots, so that they can report."""
    script = "trap 'echo {0} >> {1}/order; exit 0' TERM; touch {1}/{0}; while :; do sleep 0.05; done"
    for name in ("server", "pilot"):
        supervisor.start(make_program(script.format(name, tmp_path), name=name))
        await_true((tmp_path / name).exists)
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["pilot", "server"]


def test_a_signal_is_one_interrupt():
    """The first signal raises, later ones are counted only."""
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 2


def test_impatience_does_not_change_how_it_ends():
    """After an interrupted block further signals do nothing; after another one, all is as before."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


def test_a_shielded_block_is_not_interrupted():
    """A signal inside a shielded block strikes at its end."""
    reached = False

    def work(interrupts):
        nonlocal reached
        with interrupts.shield():
            signal.raise_signal(signal.SIGINT)
            reached = True

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        work(interrupts)
    assert reached


def test_a_child_ends_with_its_parent(tmp_path):
    """A process that watches its parent ends soon after the parent was killed."""
    child = (
        "import os, time; from p3s.supervise import exit_with_parent; exit_with_parent(os.getppid());"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        await_true(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
    finally:
        process.kill()
        process.wait()
    await_true(lambda: not is_alive(pid))
