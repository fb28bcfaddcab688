"""`p3s up` as a newcomer's first command: it works, says what to do next, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from p3s.client import Client
from p3s.errors import P3sError
from p3s.server.db import Database
from p3s.server.models import workflow
from tests.acceptance.support import TOKEN, find_processes
from tests.support.folders import read_files
from tests.support.servers import P3S, end_process, find_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
QUICK = """\
name: quick
params: {word: {default: hello}}
results: [said, facts]
jobs:
  say:
    outputs: {said: said.txt, facts: facts.json}
    run: |
      echo "$word" > "$said"
      echo '{"events": 1707, "days": ["a", "b"]}' > "$facts"
"""
SLOW = """\
name: slow
jobs:
  slow:
    matrix: {n: [1, 2, 3]}
    run: |
      setsid sleep 100 &
      echo begin
      sleep 100
"""
FAILS = "name: fails\njobs:\n  bad: {run: echo the cause >&2; exit 7}\n  after: {needs: [bad], run: 'true'}\n"


@dataclass
class Desk:
    """A newcomer's home folder, where `p3s up` is typed."""

    folder: Path
    port: int = field(default_factory=find_port)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
        return kept | {"HOME": str(self.folder), "P3S_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return str(self.folder / name)

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start `p3s up`; its stdout and stderr go to the files `out` and `err`."""
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [*P3S, "up", "--port", str(self.port), *args],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, *args: str) -> int:
        """Run `p3s up` to its end and return its exit code."""
        return self.start(*args).wait(60)

    def run_p3s(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the same home."""
        return subprocess.run(
            [*P3S, *args], env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(encoding="utf-8")

    def await_url(self) -> str:
        """Wait until `up` has printed its address, and return it."""

        def look() -> str:
            # One line, whole: what is half written is no address yet.
            return self.out.strip() if self.out.endswith("\n") else ""

        found: str = wait_until(look, 40, f"the address; stderr: {self.err}")
        return found

    def await_pilots(self, count: int) -> None:
        """Wait until so many pilots have registered."""
        client = Client(self.await_url(), (self.home / "admin.token").read_text(encoding="utf-8").strip())
        wait_until(lambda: len(client.list_pilots(live=True).items) == count, 30, f"{count} pilots")

    def find_left_over(self) -> dict[int, str]:
        """Return all processes of this home: by their environment, and keepers by the pilots they watch."""
        found = find_processes("P3S_HOME", str(self.home)) | find_processes("HOME", str(self.folder))
        for log in (self.home / "log").glob("*.log"):
            for entry in Path("/proc").iterdir():
                if not entry.name.isdigit():
                    continue
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes()
                    if log.stem.encode() in command and len(log.stem) == 36:
                        found[int(entry.name)] = command.decode(errors="replace")
        return found


def is_answering(url: str) -> bool:
    """Tell whether a server is healthy."""
    with contextlib.suppress(P3sError):
        return Client(url).check_health()
    return False


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A home in which nothing was ever started; at the end nothing may be left running, and no log may hold a token."""
    desk = Desk(tmp_path)
    yield desk
    for process in desk.started:
        end_process(process, seconds=40)
    left = desk.find_left_over()
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert left == {}
    for path, content in read_files(tmp_path):
        if path.suffix != ".token":
            assert TOKEN.search(content) is None, path


def test_up_run_prints_results_and_next_commands(desk: Desk) -> None:
    """`up --run` exits 0 with progress, results with their places, and commands to type; nothing is left."""
    assert desk.run("--run", desk.write("quick.yaml", QUICK), "-p", "word=salut") == 0, desk.err
    assert desk.find_left_over() == {}
    assert re.search(r"quick [0-9a-f]{8} finished +1/1 done", desk.err)
    place = re.search(r"^said +6 B +(/.*said\.txt)$", desk.out, re.MULTILINE)
    assert place is not None
    assert Path(place[1]).read_text(encoding="utf-8") == "salut\n"
    assert re.search(r"events +1707", desk.out)
    following = desk.err.partition("next:")[2]
    for words in (" up", "workflow show @last", "job list"):
        assert words in following
    # They can be typed as they are.
    command = next(line.strip() for line in following.splitlines() if line.strip().endswith("p3s up") or " up " in line)
    program = command.partition(" up")[0]
    assert subprocess.run([*program.split(), "--version"], capture_output=True, check=True, timeout=30).stdout
    assert desk.home.stat().st_mode & 0o777 == 0o700


def test_up_run_twice_in_a_row(desk: Desk) -> None:
    """The second run finds what the first one left, works the same, and both workflows are remembered."""
    path = desk.write("quick.yaml", QUICK)
    assert desk.run("--run", path) == 0, desk.err
    assert desk.run("--run", path) == 0, desk.err
    db = Database(f"sqlite:///{desk.home / 'p3s.sqlite'}")
    with db.read() as connection:
        assert connection.scalars(sa.select(workflow.c.state)).all() == ["finished", "finished"]
    db.close()


def test_up_run_of_a_failing_workflow_exits_1(desk: Desk) -> None:
    """A workflow that fails makes exit code 1, names the job and how to read on, and stops everything."""
    assert desk.run("--run", desk.write("fails.yaml", FAILS)) == 1
    assert desk.find_left_over() == {}
    assert "bad" in desk.err
    assert "exit-code" in desk.err
    assert "job log --stderr" in desk.err


def test_up_run_of_bad_input_starts_nothing(desk: Desk) -> None:
    """Mistakes in the file are told before anything is started."""
    assert desk.run("--run", desk.write("bad.yaml", QUICK.replace("outputs", "outputz"))) == 64
    assert "bad.yaml:6:" in desk.err
    assert not (desk.home / "p3s.sqlite").exists()
    assert desk.run("--run", str(desk.folder / "absent.yaml")) == 64


def test_up_run_is_not_disturbed_by_a_busy_port(desk: Desk) -> None:
    """If the port is taken, the next free one is used, and said."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        desk.port = other.getsockname()[1]
        assert desk.run("--run", desk.write("quick.yaml", QUICK)) == 0, desk.err
    assert f"port {desk.port} is taken" in desk.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupt_while_jobs_run_leaves_nothing(desk: Desk, how: signal.Signals) -> None:
    """Interrupted while payloads run, `up --run` exits 130; servers, pilots, keepers and payloads are gone."""
    process = desk.start("--run", desk.write("slow.yaml", SLOW), "--slots", "2")
    payloads = wait_until(
        lambda: [pid for pid, line in find_processes("HOME", str(desk.folder)).items() if "sleep 100" in line][5:],
        40,
        "six sleeping processes",
    )
    assert payloads
    process.send_signal(how)
    assert process.wait(40) == 130
    assert desk.find_left_over() == {}
    # Running it again works.
    assert desk.run("--run", desk.write("quick.yaml", QUICK)) == 0, desk.err


@pytest.mark.parametrize("moment", ["up.lock", "server.json"])
def test_interrupt_during_the_start_leaves_nothing(desk: Desk, moment: str) -> None:
    """Interrupted at any moment of its start, `up --run` exits 130 and leaves nothing running."""
    process = desk.start("--run", desk.write("slow.yaml", SLOW))
    wait_until(lambda: (desk.home / moment).exists() or process.poll() is not None, 30, moment)
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 130, desk.err
    assert desk.find_left_over() == {}


@pytest.mark.parametrize("delay", [0.1, 0.5])
def test_interrupt_at_any_time_leaves_nothing(desk: Desk, delay: float) -> None:
    """A signal soon after the start, wherever it strikes, ends everything; before the program runs it just dies."""
    process = desk.start("--run", desk.write("slow.yaml", SLOW))
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    # Python itself answers with minus the signal's number while it is still starting.
    assert process.wait(40) in {130, 1, -signal.SIGINT}
    assert desk.find_left_over() == {}


def test_impatient_interrupts_leave_nothing(desk: Desk) -> None:
    """Pressing Ctrl-C again and again while it stops neither breaks the clean-up nor changes the exit code."""
    process = desk.start("--run", desk.write("slow.yaml", SLOW), "--slots", "2")
    wait_until(
        lambda: any("sleep 100" in line for line in find_processes("HOME", str(desk.folder)).values()), 40, "a payload"
    )
    for _ in range(5):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert process.wait(40) == 130
    assert desk.find_left_over() == {}


def test_killed_up_takes_its_children_with_it(desk: Desk) -> None:
    """SIGKILL on `up` itself ends server, pilots and payloads within seconds, too."""
    process = desk.start("--run", desk.write("slow.yaml", SLOW))
    wait_until(
        lambda: any("sleep 100" in line for line in find_processes("HOME", str(desk.folder)).values()), 40, "a payload"
    )
    process.kill()
    process.wait(10)
    wait_until(lambda: not desk.find_left_over(), 40, "the end of all children")
    assert desk.run("--run", desk.write("quick.yaml", QUICK)) == 0, desk.err


def test_up_stays_until_it_is_told(desk: Desk) -> None:
    """`up` prints the address, serves commands of the same home, answers a browser, and ends on SIGTERM with 0."""
    process = desk.start("--pilots", "2")
    url = desk.await_url()
    assert url == f"http://127.0.0.1:{desk.port}"
    desk.await_pilots(2)
    with pytest.raises(urllib.error.HTTPError, match="401") as asked:
        urllib.request.urlopen(f"{url}/", timeout=10)
    assert "token" in asked.value.read().decode().lower()
    done = desk.run_p3s("workflow", "load", desk.write("quick.yaml", QUICK), "--watch")
    assert done.returncode == 0, done.stderr
    assert "said" in done.stdout
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0, desk.err
    assert desk.find_left_over() == {}
    assert not (desk.home / "server.json").exists()


def test_second_up_says_where_the_first_one_runs(desk: Desk) -> None:
    """In the same home a second `up` starts nothing; with --run it uses the first one and leaves it up."""
    first = desk.start("--pilots", "1", "--slots", "2")
    url = desk.await_url()
    desk.await_pilots(1)
    before = set(desk.find_left_over())
    again = desk.run_p3s("up")
    assert (again.returncode, again.stdout.strip()) == (0, url)
    assert "already running" in again.stderr
    ran = desk.run_p3s("up", "--run", desk.write("quick.yaml", QUICK))
    assert ran.returncode == 0, ran.stderr
    assert url in ran.stderr
    assert first.poll() is None
    assert set(desk.find_left_over()) == before
    first.send_signal(signal.SIGINT)
    assert first.wait(40) == 0, desk.err


def test_up_starts_again_what_dies(desk: Desk) -> None:
    """A pilot and a server that are killed are started again, and work goes on."""
    process = desk.start("--pilots", "1")
    url = desk.await_url()
    desk.await_pilots(1)
    token = (desk.home / "admin.token").read_text(encoding="utf-8").strip()
    (pilot,) = Client(url, token).list_pilots(live=True).items
    server = json.loads((desk.home / "server.json").read_text(encoding="utf-8"))["pid"]
    os.kill(pilot.pid, signal.SIGKILL)
    os.kill(server, signal.SIGKILL)
    # While it is away nobody else can have its port.
    with socket.socket() as other, pytest.raises(OSError, match="already in use"):
        other.bind(("127.0.0.1", desk.port))
    wait_until(lambda: desk.err.count("is started again") == 2, 30, "two obituaries")

    def has_returned() -> bool:
        facts = json.loads((desk.home / "server.json").read_text(encoding="utf-8"))
        return bool(facts["pid"] != server and is_answering(url))

    wait_until(has_returned, 40, "the new server's answer")
    done = desk.run_p3s("workflow", "load", desk.write("quick.yaml", QUICK), "--watch")
    assert done.returncode == 0, done.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
