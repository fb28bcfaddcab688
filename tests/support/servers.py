"""Real servers and pilots as processes, for tests; each is ended by its own pid."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p3s.client import Client

if TYPE_CHECKING:
    from pathlib import Path

#: What every token and every pilot's secret looks like.
TOKEN = re.compile(rb"p3s_[A-Za-z0-9_-]{40,}")
P3S = (sys.executable, "-m", "p3s.cli.main")


def find_port() -> int:
    """Return a free port of the loopback address that nobody takes while its server is away.

    The system gives the ports above 32768 to connections. A pilot that calls such a port, when its server is down, may
    be given the very port that it calls and then answer itself; or another connection may hold it when the server comes
    back. Each of the processes that run tests has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 12_000 + worker % 10 * 2_000
    for port in random.sample(range(first, first + 2_000), 2_000):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no free port from {first} to {first + 2_000}")


def wait_until(condition: Any, seconds: float = 30.0, what: str = "the condition") -> Any:
    """Return the first true value of `condition()`, asked for at most `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds} s")


@dataclass
class System:
    """A p3s system in a folder of its own."""

    folder: Path
    database: str | None = None
    port: int = field(default_factory=find_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    #: Settings of all processes, as environment variables.
    settings: dict[str, str] = field(default_factory=dict)
    #: What servers and pilots are started with.
    program: tuple[str, ...] = P3S
    #: What each process is started by, such as a program that enters a network namespace.
    prefix: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        own = {
            "HOME": str(self.folder),
            "P3S_HOME": str(self.home),
            "P3S_SERVER": self.url,
            "PYTHONUNBUFFERED": "1",
            "COVERAGE_PROCESS_START": os.environ.get("COVERAGE_PROCESS_START", ""),
        }
        return kept | own | self.settings

    @property
    def client(self) -> Client:
        return Client(self.url, (self.home / "admin.token").read_text().strip())

    def start_process(self, *args: str, name: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [*self.prefix, *self.program, *args],
            env=self.env | (env or {}),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.processes.append(process)
        return process

    def start_server(self, *options: str) -> None:
        database = ("--database", self.database) if self.database else ()
        self.server = self.start_process(
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            *database,
            *options,
            name="server",
        )
        self.wait_for_server()

    def wait_for_server(self) -> None:
        def answers() -> bool:
            assert self.server is not None
            if self.server.poll() is not None:
                raise AssertionError(f"the server ended: {self.read_log('server')}")
            if self.prefix:
                return self.run("status", check=None).returncode == 0
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer,
            ):
                return bool(answer.status == 200)
            return False

        wait_until(answers, 30, "the server's answer")

    def stop_server(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.server is not None
        end_process(self.server, how)

    def start_pilot(
        self, *options: str, name: str = "pilot", env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        folders = {kind: str(self.folder / f"{name}-{kind}") for kind in ("work", "log")}
        return self.start_process(
            "pilot",
            "start",
            "--server",
            self.url,
            "--name",
            name,
            "--data",
            str(self.data),
            "--work",
            folders["work"],
            "--log",
            folders["log"],
            "--allow-root",
            *options,
            name=name,
            env=env,
        )

    def run(self, *args: str, check: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a p3s command to its end."""
        env = self.env | options.pop("env", {})
        done = subprocess.run(
            [*self.prefix, *P3S, *args],
            env=env,
            cwd=options.pop("cwd", self.folder),
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", 90),
            stdin=subprocess.DEVNULL,
            check=False,
            **options,
        )
        if check is not None:
            assert done.returncode == check, f"{args} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def read_log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-5000:] if path.exists() else ""

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def stop(self) -> None:
        """End all processes; none of them may have written a token into a log."""
        for process in reversed(self.processes):
            end_process(process)
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*-log/**/*")]
        leaks = [path for path in logs if path.is_file() and TOKEN.search(path.read_bytes())]
        assert not leaks, f"a token is in {leaks}"


def end_process(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, seconds: float = 15.0) -> None:
    """End one process that a test started; kill its session if it does not go."""
    if process.poll() is None:
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    if process.poll() is None or how is signal.SIGKILL:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
