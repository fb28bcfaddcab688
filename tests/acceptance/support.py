"""What acceptance tests share: a journal that payloads write, loading, waiting, and looking at processes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.cli.main import run_command
from p3s.engine.states import FINAL_JOB, FINAL_WORKFLOW
from p3s.submit import prepare_load
from tests.support.folders import read_files
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from p3s.wire import JobView, WorkflowView
    from tests.support.servers import System

#: What a token of any kind begins with.
TOKEN = re.compile(rb"p3s_[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True)
class Journal:
    """A file that payloads append a line to, whatever p3s believes.

    `>>` of bash opens with O_APPEND, and one echo is one write, so lines neither mix nor get lost.
    """

    path: Path

    @property
    def env(self) -> str:
        """The variable for a YAML's `env`, as a flow mapping."""
        return f"{{JOURNAL: {json.dumps(str(self.path))}}}"

    def read(self) -> list[str]:
        """Return the lines in the order in which they were written."""
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def find(self, line: str) -> int:
        """Return the place of a line that must be there once."""
        lines = self.read()
        assert lines.count(line) == 1, f"{line!r} is not there once: {lines}"
        return lines.index(line)

    def wait_for(self, line: str, seconds: float = 30.0) -> None:
        """Wait until a line is there."""
        wait_until(lambda: line in self.read(), seconds, f"line {line!r} in {self.path}")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def call(
    system: System, *args: str, check: int | None = 0, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Done:
    """Run a p3s command as `System.run` does, but in this process: the same entry, ten times faster."""
    out, err = io.StringIO(), io.StringIO()
    kept, stdin = dict(os.environ), sys.stdin
    with chdir(cwd or system.folder), redirect_stdout(out), redirect_stderr(err), Path(os.devnull).open() as nothing:
        os.environ.clear()
        os.environ.update(system.env | dict(env or {}))
        sys.stdin = nothing
        try:
            code = run_command(args)
        finally:
            sys.stdin = stdin
            os.environ.clear()
            os.environ.update(kept)
    done = Done(code, out.getvalue(), err.getvalue())
    if check is not None:
        assert code == check, f"{args} gave {code}\n{done.stdout}\n{done.stderr}"
    return done


def load(system: System, text: str, name: str = "dag.yaml", **params: str) -> str:
    """Load a workflow from a file as the command does, and return its uuid."""
    return load_file(system, system.write(name, text), **params)


def load_file(system: System, path: Path, **params: str) -> str:
    """Load a workflow file and return the workflow's uuid."""
    return system.client.load_workflow(prepare_load(path, params)).uuid


def await_workflow(system: System, uuid: str, seconds: float = 40.0) -> WorkflowView:
    """Return a workflow once it is final."""
    client = system.client

    def look() -> WorkflowView | None:
        found = client.show_workflow(uuid)
        return found if found.state in FINAL_WORKFLOW else None

    found: WorkflowView = wait_until(look, seconds, f"the end of workflow {uuid}")
    return found


def finish(system: System, uuid: str, seconds: float = 40.0) -> None:
    """Wait until a workflow has finished; anything else is an error that names the jobs' reasons."""
    found = await_workflow(system, uuid, seconds)
    if found.state != "finished":
        jobs = system.client.list_jobs(workflow=uuid).items
        raise AssertionError(f"{found.state}: {[(job.name, job.state, job.reason, job.why) for job in jobs]}")


def run_text(system: System, text: str, **params: str) -> str:
    """Load a workflow, wait until it has finished, and return its uuid."""
    uuid = load(system, text, **params)
    finish(system, uuid)
    return uuid


def create_job(system: System, *options: str) -> str:
    """Create a standalone job with the command's options and return its uuid."""
    return call(system, "job", "create", "standalone", "-q", *options).stdout.strip()


def await_job(system: System, ident: str, *states: str, seconds: float = 40.0) -> JobView:
    """Return a job once it is in one of the states, by default any final one."""
    client = system.client
    wanted = states or tuple(FINAL_JOB)

    def look() -> JobView | None:
        found = client.show_job(ident)
        return found if found.state in wanted else None

    found: JobView = wait_until(look, seconds, f"job {ident} {' or '.join(wanted)}")
    return found


def find_processes(name: str, value: str) -> dict[int, str]:
    """Return the live processes that were started with a variable of this value: their command lines by pid.

    The test's own process is left out.
    """
    wanted = f"{name}={value}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It has ended meanwhile.
        if wanted in environ and state not in {b"Z", b"X"}:
            found[int(entry.name)] = command
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in {b"Z", b"X"}


def read_pids(path: Path, count: int) -> list[int]:
    """Return the process ids that a payload wrote, one a line, once there are so many."""

    def look() -> list[int] | None:
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        return [int(line) for line in lines[:count]] if len(lines) > count else None

    found: list[int] = wait_until(look, 30, f"{count} process ids in {path}")
    return found


def await_gone(pids: list[int], seconds: float = 15.0) -> None:
    """Wait until none of the processes runs."""
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], seconds, f"the end of {pids}")


@contextmanager
def kill_left_over(path: Path) -> Iterator[None]:
    """See to it that processes whose ids a test's payload wrote to a file do not outlive the test."""
    try:
        yield
    finally:
        for word in path.read_text(encoding="utf-8").split() if path.exists() else ():
            if is_alive(int(word)):
                os.kill(int(word), signal.SIGKILL)


def find_tokens(folder: Path, *suffixes: str) -> dict[str, bytes]:
    """Return the first token in each file below a folder whose name ends so; empty if there is none."""
    found = {}
    for path, content in read_files(folder):
        if path.name.endswith(suffixes) and (match := TOKEN.search(content)):
            found[str(path)] = match.group()
    return found
