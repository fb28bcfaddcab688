"""No token leaves its place: after a whole run they are in no log, no process list, no payload and no database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.server.db import Database
from p3s.server.models import attempt, meta
from p3s.server.secrets import derive_attempt_token
from tests.support.folders import read_files
from tests.support.servers import TOKEN, wait_until

if TYPE_CHECKING:
    from tests.support.servers import System

DAG = """\
name: nosy
params: {x: {type: str, default: "1"}}
jobs:
  env: {outputs: {o: o.txt}, run: 'env > "$o"; cat "$P3S_MANIFEST" >> "$o"; env'}
  ps: {outputs: {p: p.txt}, run: 'cat /proc/[0-9]*/cmdline > "$p" 2> /dev/null || true'}
  bad: {run: 'echo failing >&2; exit 3'}
"""


def list_attempt_tokens(system):
    """Return the token of each attempt, derived as the server derives it."""
    db = Database(f"sqlite:///{system.home / 'p3s.sqlite'}")
    with db.read() as connection:
        secret = str(connection.scalar(sa.select(meta.c.value).where(meta.c.key == "secret")))
        uuids = connection.scalars(sa.select(attempt.c.uuid)).all()
    db.close()
    return [derive_attempt_token(secret, uuid).encode() for uuid in uuids]


def test_tokens_are_nowhere_after_a_run(system: System):
    """A run with failures, refusals and a restart leaves tokens in the files made for them only."""
    pilot_token = system.run("token", "create", "farm", "--role", "pilot").stdout.strip()
    viewer = system.run("token", "create", "guest", "--role", "viewer").stdout.strip()
    system.start_pilot("--keep", "--slots", "2", env={"P3S_TOKEN": pilot_token})
    path = system.write("nosy.yaml", DAG)
    system.run("workflow", "load", str(path), "--watch", check=1)
    system.run("workflow", "load", str(path), env={"P3S_TOKEN": viewer}, check=4)
    system.run("status", env={"P3S_TOKEN": "p3s_" + "x" * 43}, check=4)
    system.run("status", "--json", env={"P3S_TOKEN": viewer + "\u00fc"}, check=None)
    system.stop_server()
    system.start_server()
    system.run("job", "log", f"{system.client.list_workflows().items[0].uuid}/env")
    wait_until(lambda: system.client.list_pilots(live=True).items, 30, "the pilot's return")
    attempts = list_attempt_tokens(system)
    assert len(attempts) == 3
    live = [process for process in system.processes if process.poll() is None]
    assert len(live) == 2
    for process in live:
        assert not TOKEN.search(Path(f"/proc/{process.pid}/cmdline").read_bytes())
    system.stop()
    seen = 0
    for path, content in read_files(system.folder):
        if path.suffix == ".token":
            assert TOKEN.search(content)
            assert path.stat().st_mode & 0o077 == 0
            continue
        seen += 1
        assert not TOKEN.search(content), path
        assert not [one for one in attempts if one in content], path
    names = {path.name for path, _ in read_files(system.folder)}
    assert {"server.log", "pilot.log", "o.txt", "p.txt", "p3s.sqlite", "manifest.json"} <= names
    assert seen > len(attempts)
