"""Clean sandboxes and delivered records are used again, and nothing of one attempt reaches the next."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p3s.pilot.outbox import Outbox, Record
from p3s.pilot.sandbox import Sandbox, make_sandbox
from p3s.pilot.spares import SPARE, Spares
from p3s.wire import AttemptReport, Leftover
from tests.support.agents import run_agent
from tests.support.fake_server import FakeServer, make_order

if TYPE_CHECKING:
    from collections.abc import Callable


def make_used(folder: Path, spares: Spares | None = None) -> Sandbox:
    """A sandbox after a payload that wrote to stdout only."""
    order = make_order(run="echo hello")
    sandbox = Sandbox(f"{folder}/{order.attempt}", f"{folder}/data")
    make_sandbox(order, sandbox, folder / "cache", *([spares.take] if spares else []))
    for path in (sandbox.stdout, sandbox.stderr):
        path.touch(0o600)
    sandbox.stdout.write_text("hello\n")
    return sandbox


def test_clean_sandbox_is_used_again(tmp_path: Path) -> None:
    """The same folders and files serve the next attempt, without anything that the first one wrote."""
    spares = Spares(tmp_path, 2)
    first = make_used(tmp_path)
    inodes = {path.name: path.stat().st_ino for path in (first.path, *first.control.iterdir())}
    del inodes[first.path.name]
    assert spares.keep(first.root)
    assert not first.path.exists()
    order = make_order(run="x")
    second = Sandbox(f"{tmp_path}/{order.attempt}", f"{tmp_path}/data")
    make_sandbox(order, second, tmp_path / "cache", spares.take)
    assert {path.name: path.stat().st_ino for path in second.control.iterdir()} == inodes
    assert second.stdout.read_text() == ""
    assert second.script.read_text() == "x"
    assert json.loads(second.manifest.read_text())["params"] == {}
    assert [path.name for path in tmp_path.iterdir()] == [order.attempt]


def test_the_first_ones_are_made_ahead(tmp_path: Path) -> None:
    """They are as those that a payload left; where none can be made, nothing is left of the try."""
    spares = Spares(tmp_path, 2)
    spares.prepare(3)
    assert len(list(tmp_path.iterdir())) == 2
    first = make_used(tmp_path, spares)
    assert len(list(tmp_path.iterdir())) == 2
    assert {path.name: path.stat().st_mode & 0o777 for path in (first.control, first.tmp, first.stdout)} == {
        ".p3s": 0o700,
        "tmp": 0o700,
        "stdout": 0o600,
    }
    assert spares.keep(first.root)
    spares.close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f"{SPARE}1").write_text("in the way")
    with pytest.raises(FileExistsError):
        Spares(tmp_path, 1).prepare(1)
    Spares(tmp_path / "other", 0).prepare(1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{SPARE}1"]


def test_a_pilot_that_cannot_make_them_says_so_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its jobs make their own."""

    def fail(_self: Spares, _number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spares, "prepare", fail)
    server = FakeServer(orders=[make_order(run="true")])
    with caplog.at_level("INFO", "p3s.pilot"):
        assert run_agent(tmp_path, server, slots=1) == 0
    assert [report.kind for report in server.reports][-1] == "succeeded"
    assert "no sandbox was made ahead of the first job: [Errno 28] No space left on device" in caplog.text


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file or an empty folder."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    make(path)


USES: dict[str, Callable[[Sandbox], object]] = {
    "file": lambda box: (box.path / "left").touch(),
    "temporary file": lambda box: (box.tmp / "left").touch(),
    "control file": lambda box: (box.control / "left").touch(),
    "second name": lambda box: os.link(box.stdout, box.folder.parent / "kept"),
    "link as file": lambda box: replace(box.stdout, lambda path: path.symlink_to(box.folder.parent / "kept")),
    "link as folder": lambda box: replace(box.tmp, lambda path: path.symlink_to(box.folder.parent)),
    "pipe": lambda box: replace(box.stderr, os.mkfifo),
    "opened": lambda box: box.path.chmod(0o755),
    "closed": lambda box: box.tmp.chmod(0o500),
    "no temporary folder": lambda box: box.tmp.rmdir(),
    "nothing": lambda box: box.path.rename(box.folder.parent / "elsewhere"),
}


@pytest.mark.parametrize("use", USES)
def test_changed_sandbox_is_not_used_again(tmp_path: Path, use: str) -> None:
    """What a payload changed is not kept, and nothing outside of it is touched."""
    kept = tmp_path / "kept"
    kept.write_text("mine")
    spares = Spares(tmp_path, 2)
    used = make_used(tmp_path)
    if use == "second name":
        kept.unlink()
    USES[use](used)
    assert not spares.keep(used.root)
    assert kept.read_text() == ("hello\n" if use == "second name" else "mine")
    assert not spares.take(f"{tmp_path}/next")


def test_so_many_are_kept(tmp_path: Path) -> None:
    """No more are kept than the pilot has slots, and none after its end."""
    spares = Spares(tmp_path, 2)
    used = [make_used(tmp_path) for _ in range(3)]
    assert [spares.keep(sandbox.root) for sandbox in used] == [True, True, False]
    spares.close()
    assert [path.name for path in tmp_path.iterdir()] == [used[2].path.name]


@pytest.mark.processes
def test_pilot_uses_sandboxes_again(tmp_path: Path) -> None:
    """Payloads of one pilot, one after the other, run in two folders with names of their own; at last all is gone."""
    orders = [make_order(run='echo "$(stat -c %i .) $PWD"') for _ in range(4)]
    code = (
        "import sys; from pathlib import Path; from p3s.pilot.kill import become_subreaper\n"
        "from tests.support.agents import run_agent; from tests.support.fake_server import FakeServer\n"
        "from p3s.wire import JobOrder\n"
        "orders = [JobOrder.model_validate_json(line) for line in sys.stdin]\n"
        "server = FakeServer(orders=orders); assert become_subreaper()\n"
        f"assert run_agent(Path({str(tmp_path)!r}), server, slots=1) == 0\n"
        "for report in server.reports: print(report.stdout.decode(), end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(order.model_dump_json() for order in orders),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    inodes, names = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    assert [Path(name).name for name in names] == [order.attempt for order in orders]
    # The next payload begins before the one before it is cleared away.
    assert len(set(inodes)) == 2
    assert list((tmp_path / "work").iterdir()) == [tmp_path / "work" / "outbox"]
    assert list((tmp_path / "work" / "outbox").iterdir()) == []


def test_dead_pilots_spares_are_deleted(tmp_path: Path) -> None:
    """The server is asked of attempts only; the spare sandboxes of a dead pilot go with the rest."""
    dead = tmp_path / "work" / "00000000-0000-4000-8000-000000000001"
    spares = Spares(dead, 1)
    assert spares.keep(make_used(dead).root)
    left = make_used(dead).path
    fate = Leftover(attempt=left.name, workflow="w", job_name="j", rejected=True)
    assert run_agent(tmp_path, FakeServer(leftovers={left.name: fate})) == 0
    assert not dead.exists()


def make_record(folder: Path, text: bytes) -> Record:
    order = make_order()
    report = AttemptReport(attempt=order.attempt, token=order.token, kind="succeeded", stdout=text)
    return Record(report=report, sandbox=f"{folder}/sandbox", folder=f"{folder}/outputs")


def test_delivered_record_is_written_over(tmp_path: Path) -> None:
    """A record takes the file of one that was delivered, and holds nothing of it, however long that was."""
    outbox = Outbox(tmp_path, "pilot")
    first, second = make_record(tmp_path, b"x" * 1000), make_record(tmp_path, b"y")
    outbox.write(first, durable=False)
    (path,) = (tmp_path / "outbox" / "pilot").glob("*.json")
    inode = path.stat().st_ino
    outbox.delete(first.report.attempt)
    assert outbox.read(first.report.attempt) is None
    outbox.write(second, durable=True)
    (path,) = (tmp_path / "outbox" / "pilot").glob("*.json")
    assert path.stat().st_ino == inode
    assert path.read_text() == second.model_dump_json(exclude_defaults=True)
    assert outbox.read(second.report.attempt) == second
    outbox.close()


def test_record_under_another_name_counts_for_nothing(tmp_path: Path) -> None:
    """What a crash of the machine left in a file that was to be written over is not delivered again."""
    dead = Outbox(tmp_path, "dead")
    old, new = make_record(tmp_path, b"old"), make_record(tmp_path, b"new")
    dead.write(old, durable=True)
    folder = tmp_path / "outbox" / "dead"
    (folder / f"{old.report.attempt}.json").rename(folder / f"{new.report.attempt}.json")
    for lock in dead._locks.values():
        os.close(lock)
    heir = Outbox(tmp_path, "heir")
    assert list(heir.take_over()) == []
    heir.close()
    assert not folder.exists()
