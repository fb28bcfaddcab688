"""Thousands of jobs: few requests, a bar on a terminal, and an interruption that can be gone on from."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import threading
import urllib.request

from tests.support.servers import P3S, System

MANY = 2500


class Terminal:
    """A command whose remarks go to a terminal; of its data, so many lines are read at first, the rest later.

    The pipe for the data is small: until it is read from, the command cannot go on.
    """

    def __init__(self, system: System, *args: str, lines: int = 0) -> None:
        self.data = b""
        self.text = b""
        screen, inner = os.openpty()
        pipe, end = os.pipe()
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
        self.process = subprocess.Popen(
            [*P3S, *args],
            env=system.env | {"TERM": "xterm", "COLUMNS": "100"},
            cwd=system.folder,
            stdin=subprocess.DEVNULL,
            stdout=end,
            stderr=inner,
            start_new_session=True,
        )
        system.processes.append(self.process)
        os.close(inner)
        os.close(end)
        self._readers = [threading.Thread(target=self._read, args=("text", screen), daemon=True)]
        self._readers[0].start()
        while self.data.count(b"\n") < lines and (piece := os.read(pipe, 4096)):
            self.data += piece
        self._pipe = pipe

    def wait(self) -> tuple[int, str, str]:
        """Return the exit code, what was said on the terminal, and the data, when all has been read."""
        self._readers.append(threading.Thread(target=self._read, args=("data", self._pipe), daemon=True))
        self._readers[1].start()
        code = self.process.wait(90)
        for reader in self._readers:
            reader.join(30)
        return code, self.text.decode(), self.data.decode()

    def _read(self, name: str, source: int) -> None:
        while True:
            try:
                piece = os.read(source, 65536)
            except OSError:
                # Nobody writes to the terminal any more.
                piece = b""
            if not piece:
                os.close(source)
                return
            setattr(self, name, getattr(self, name) + piece)


def find(pattern, text):
    """Return what the group of a pattern matches in a text."""
    found = re.search(pattern, text)
    assert found, text
    return found[1]


def count_requests(system, route):
    """Return how many requests of a route the server answered."""
    token = (system.home / "admin.token").read_text().strip()
    request = urllib.request.Request(f"{system.url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    found = re.findall(rf'^p3s_request_seconds_count{{route="[^"]*{route}",status="\d+"}} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


def count_jobs(system):
    """Return how many jobs there are in each state."""
    return {state: number for state, number in system.client.ask_status().jobs.items() if number}


def test_an_interrupted_submission_goes_on_and_a_selection_goes_in_few_requests(system: System):
    """Ctrl-C tells how many are in and how to go on; then all are cancelled, and retried, a thousand at once."""
    command = ("job", "create", "standalone", "--run", "true", "-N", str(MANY))
    first = Terminal(system, *command, lines=1000)
    os.killpg(first.process.pid, signal.SIGINT)
    code, said, printed = first.wait()
    assert code == 130
    assert int(find(rf"(\d+) of {MANY} jobs are created for sure", said)) in {1000, 2000}
    assert find(rf"jobs .*(1000)/{MANY}", said)
    key = find(r"--key (\S+) creates the others", said)
    code, said, data = Terminal(system, *command, "--key", key).wait()
    assert code == 0
    assert f"{MANY} jobs created" in said
    uuids = set(data.split())
    assert len(uuids) == MANY
    assert set(printed.split("\n")[:1000]) < uuids
    assert sum(count_jobs(system).values()) == MANY
    dry = system.run("job", "cancel", "--state", "defined", "--dry-run")
    assert f"{MANY} in all" in dry.stderr
    code, said, data = Terminal(system, "job", "cancel", "--state", "defined", "--yes", "--json").wait()
    assert code == 0
    assert json.loads(data)["left"] == {}
    assert set(json.loads(data)["done"]) == uuids
    assert find(rf"jobs .*({MANY})/{MANY}", said)
    assert count_jobs(system) == {"cancelled": MANY}
    code, said, data = Terminal(system, "job", "retry", "--yes", "--older", "0s").wait()
    assert code == 0
    assert f"{MANY} jobs told to run again" in said
    assert set(data.split()) == uuids
    assert count_jobs(system) == {"defined": MANY}
    assert count_requests(system, "cancel_jobs") == count_requests(system, "retry_jobs") == 3
