"""``p3s up``: everything starts, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.servers import P3S, find_port, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("cli-up")]

WORKFLOW = """\
name: small
params: {nap: {default: "0"}, code: {default: "0"}}
results: [facts]
jobs:
  a: {outputs: [seed], run: 'sleep "$nap"; echo 7 > "$seed"; exit "$code"'}
  b: {inputs: [seed], outputs: {facts: facts.json}, run: 'echo "{\\"count\\": $(cat "$seed")}" > "$facts"'}
"""


class Home:
    """A home folder of its own, and the processes that work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "home"
        self.port = find_port()
        self.started: list[subprocess.Popen[str]] = []
        (folder / "small.yaml").write_text(WORKFLOW)
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environ = kept | {"HOME": str(folder), "P3S_HOME": str(self.path), "PYTHONUNBUFFERED": "1"}

    def start(self, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*P3S, "up", "--port", str(self.port), "--pilots", "1", *args],
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=90)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call(self, *args: str) -> str:
        return subprocess.run(
            [*P3S, *args], env=self.environ, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def find_processes(self) -> list[int]:
        """Return what works in this home, by the environment that it was given."""
        mark = f"P3S_HOME={self.path}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def read_server(self) -> dict[str, int]:
        path = self.path / "server.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def is_up(self) -> bool:
        """Tell whether the server answers and its pilot is there."""
        return bool(self.read_server()) and bool(json.loads(self.call("pilot", "list", "--live", "--json")))


@pytest.fixture
def home(tmp_path):
    """Give a home in which nothing may be left when the test ends."""
    found = Home(tmp_path)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.terminate()
            process.wait(40)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    wait_until(lambda: not found.find_processes(), 40, "the end of all processes")


def test_run_shows_results_and_the_next_commands(home):
    """A run prints its results, leaves no process, says what to type next, and can be done again."""
    for _ in range(2):
        done = home.run("--run", "small.yaml")
        assert done.returncode == 0, done.stderr
        name, *_, place = done.stdout.splitlines()[1].split()
        assert name == "facts"
        assert json.loads(Path(place).read_text()) == {"count": 7}
        assert "count  7" in done.stdout
        assert "finished  2/2 done" in done.stderr
        assert "workflow show @last" in done.stderr
        assert not home.find_processes()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_failed_run_exits_with_1(home):
    """A run whose workflow fails exits with 1 and names the job that failed."""
    done = home.run("--run", "small.yaml", "-p", "code=3")
    assert done.returncode == 1
    assert "failed: a (exit-code)" in done.stderr


def test_bad_input_starts_nothing(home):
    """A file with problems is told before anything is started."""
    (home.folder / "small.yaml").write_text("name: small\njobs: {a: {runn: x}}\n")
    done = home.run("--run", "small.yaml")
    assert done.returncode == 64
    assert not (home.path / "log" / "server.log").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["server starts", "server is up", "job runs"])
def test_an_interrupted_run_leaves_nothing(home, moment, number):
    """A run that is interrupted, while it starts or later, exits with 130 and leaves no process."""
    process = home.start("--run", "small.yaml", "-p", "nap=300")
    if moment == "server starts":
        wait_until(lambda: len(home.find_processes()) > 1)
    else:
        wait_until(home.read_server)
    if moment == "job runs":
        wait_until(lambda: home.is_up() and home.call("job", "list", "-q", "--state", "running"))
    process.send_signal(number)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130
    wait_until(lambda: not home.find_processes(), 10, "the end of all processes")
    assert moment != "job runs" or "of the run that was cut off is cancelled" in err


def test_a_killed_run_does_not_go_on_in_the_next_one(home):
    """The next run ends the workflow of one that was killed, and works at once."""
    process = home.start("--run", "small.yaml", "-p", "nap=300")
    wait_until(home.read_server)
    wait_until(lambda: home.is_up() and home.call("job", "list", "-q", "--state", "running"))
    process.kill()
    wait_until(lambda: not home.find_processes(), 40, "the end of all processes")
    done = home.run("--run", "small.yaml")
    assert done.returncode == 0, done.stderr
    assert "of the run that was cut off is cancelled" in done.stderr


def test_up_stays_up_until_it_is_told(home):
    """It prints the address, starts again what dies, says where it runs, and ends with 0 on Ctrl-C."""
    process = home.start()
    assert process.stdout is not None
    assert process.stdout.readline().strip() == f"http://127.0.0.1:{home.port}"
    wait_until(home.is_up)
    second = home.run()
    assert second.returncode == 0
    assert second.stdout.strip() == f"http://127.0.0.1:{home.port}"
    used = home.run("--run", "small.yaml")
    assert used.returncode == 0, used.stderr
    assert "stays up" in used.stderr
    pid = home.read_server()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: home.read_server().get("pid", pid) != pid)
    wait_until(home.is_up)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_children_end_when_up_is_killed(home):
    """Even if it is killed, its server and pilots end soon."""
    process = home.start()
    wait_until(home.read_server)
    process.kill()
    process.wait()
    wait_until(lambda: not home.find_processes(), 40, "the end of all processes")
