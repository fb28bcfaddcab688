"""Exit codes and refusals: each says what happened and what to do next, and nobody acts without a token."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from p3s.client import Client
from p3s.errors import NotAllowed
from tests.acceptance.support import call, create_job
from tests.support.servers import find_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import System

NOBODY = "p3s_" + "0" * 43
#: One command of each kind, with placeholders for what exists.
COMMANDS = [
    ("status",),
    ("why", "JOB"),
    ("workflow", "list"),
    ("workflow", "show", "JOB"),
    ("workflow", "results", "JOB"),
    ("workflow", "cancel", "--yes", "JOB"),
    ("job", "list"),
    ("job", "log", "JOB"),
    ("job", "create", "standalone", "--run", "true"),
    ("pilot", "list"),
    ("dataset", "list"),
    ("dag", "list"),
]


@pytest.fixture
def job(farm: System) -> str:
    """A held job to ask about."""
    return create_job(farm, "--run", "true", "--hold")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_wrong_token_is_refused(farm: System, job: str, command: tuple[str, ...]) -> None:
    """A token that nobody has is refused with 4; it changes nothing and is not repeated."""
    args = [job if word == "JOB" else word for word in command]
    before = farm.client.ask_status().jobs
    done = call(farm, *args, env={"P3S_TOKEN": NOBODY}, check=4)
    assert done.stdout == ""
    assert "p3s login" in done.stderr
    assert NOBODY not in done.stderr
    assert farm.client.ask_status().jobs == before


def test_no_token_is_refused(farm: System, tmp_path: Path) -> None:
    """Without a token nothing is told, not even what there is; the message says how to get one."""
    bare = {"P3S_HOME": str(tmp_path / "other"), "HOME": str(tmp_path)}
    for command in (("job", "list"), ("why", "@last"), ("workflow", "show", "@last")):
        done = call(farm, *command, env=bare, check=4)
        assert "p3s login" in done.stderr


#: What describes the API is open to all.
OPEN = {"/api/v1/openapi.json", "/api/v1/docs"}


def test_every_route_needs_a_token(farm: System) -> None:
    """Every rule of the API answers 401 to a stranger; only health and the API's description are open."""
    from p3s.server.app import create_app
    from p3s.server.db import Database
    from p3s.settings import Home, ServerSettings

    address = f"sqlite:///{farm.home / 'p3s.sqlite'}"
    db = Database(address)
    app = create_app(db, ServerSettings(database=address, home=Home(farm.home)))
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/") and rule.rule not in OPEN]
    db.close()
    assert len(rules) > 25
    for rule in rules:
        path = "/".join("x" if part.startswith("<") else part for part in rule.rule.split("/"))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            body = b"{}" if method in {"POST", "PUT"} else None
            request = urllib.request.Request(farm.url + path, data=body, method=method)
            request.add_header("Content-Type", "application/json")
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            answer = json.loads(caught.value.read())
            caught.value.close()
            assert caught.value.code == 401, (method, path)
            assert answer["error"]["kind"] == "no-token"


def test_pilot_token_reads_and_submits_nothing(farm: System, job: str) -> None:
    """The pilot token registers pilots; listings, logs and submissions are refused with 4."""
    token = (farm.home / "pilot.token").read_text(encoding="utf-8").strip()
    for command in COMMANDS:
        done = call(farm, *[job if word == "JOB" else word for word in command], env={"P3S_TOKEN": token}, check=4)
        assert done.stdout == ""
    client = Client(farm.url, token)
    assert client.ask_who().role == "pilot"
    with pytest.raises(NotAllowed):
        client.show_job(job)


@pytest.mark.parametrize(
    "command",
    [
        ("workflow", "show", "00000000"),
        ("workflow", "watch", "00000000-0000-0000-0000-000000000000"),
        ("job", "log", "ffffffff"),
        ("job", "show", "JOB/nothing"),
        ("why", "00000000"),
        ("pilot", "show", "00000000"),
        ("pilot", "drain", "--yes", "00000000"),
        ("dataset", "show", "00000000"),
        ("dag", "show", "nothing"),
        ("dag", "run", "nothing"),
    ],
    ids=" ".join,
)
def test_unknown_id_is_not_found(farm: System, job: str, command: tuple[str, ...]) -> None:
    """What does not exist exits 5 and names what was asked for."""
    args = [word.replace("JOB", job) for word in command]
    done = call(farm, *args, check=5)
    assert done.stdout == ""
    assert args[-1].rpartition("/")[2] in done.stderr


@pytest.mark.parametrize("command", COMMANDS[:6], ids=" ".join)
def test_server_that_is_away_is_3(farm: System, command: tuple[str, ...]) -> None:
    """Without an answer commands exit 3 and say how to start a server."""
    url = f"http://127.0.0.1:{find_port()}"
    args = ["00000000" if word == "JOB" else word for word in command]
    done = call(farm, *args, env={"P3S_SERVER": url}, check=3)
    assert url in done.stderr
    assert "p3s up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("workflow", "lst"), "list"),
        (("jbo",), "job"),
        (("workflow", "load"), "FILE"),
        (("workflow", "load", "absent.yaml"), "absent.yaml"),
        (("job", "create", "standalone"), "--run"),
        (("job", "create", "standalone", "--run", "true", "--timelimit", "soon"), "soon"),
        (("job", "list", "--state", "flying"), "flying"),
        (("workflow", "load", "-p", "novalue", "x.yaml"), "NAME=VALUE"),
        (("status", "--server", "ftp://x"), "http"),
        (("up", "-p", "a=b"), "--run"),
        (("pilot", "start", "--slots", "0"), "slots"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_64(farm: System, command: tuple[str, ...], hint: str) -> None:
    """Mistakes on the command line exit 64 with a hint, and never with a traceback."""
    done = call(farm, *command, check=64)
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_workflow_changes_nothing(farm: System) -> None:
    """All problems of a file are told in one pass with their places, and nothing is stored."""
    text = "name: bad\njobs:\n  a: {inputs: [nowhere], run: 'true', retri: 3}\n  b: {needs: [c], run: 'true'}\n"
    before = farm.client.ask_status()
    done = call(farm, "workflow", "load", str(farm.write("bad.yaml", text)), check=64)
    for part in ("bad.yaml:3:", "bad.yaml:4:", "nowhere", "retry"):
        assert part in done.stderr
    after = farm.client.ask_status()
    assert (after.workflows, after.jobs) == (before.workflows, before.jobs)
    assert call(farm, "workflow", "validate", "bad.yaml", check=64).code == 64


def test_login_keeps_a_token_for_its_server(farm: System, tmp_path: Path) -> None:
    """`p3s login` checks a token, keeps it in a file of the user's, and later commands need nothing else."""
    token = (farm.home / "admin.token").read_text(encoding="utf-8")
    env = {name: value for name, value in farm.env.items() if name not in {"P3S_SERVER", "P3S_HOME"}}
    env |= {"HOME": str(tmp_path), "P3S_HOME": str(tmp_path / "none")}

    def run(*args: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "p3s.cli.main", *args]
        return subprocess.run(command, env=env, input=given, capture_output=True, text=True, timeout=60, check=False)

    assert run("login", "--server", farm.url, given=NOBODY).returncode == 4
    assert not list(tmp_path.rglob("logins.json"))
    done = run("login", "--server", farm.url, given=token)
    assert done.returncode == 0, done.stderr
    (kept,) = tmp_path.rglob("logins.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert run("job", "list").returncode == 0
    assert token.strip() not in done.stdout + done.stderr
