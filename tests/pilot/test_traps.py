"""Payloads that turn their own folders into traps: the pilot, which may read and write more than they, steps round."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from p3s.engine.states import Reason
from p3s.pilot.below import LinkFound, NotRegular, open_below
from p3s.pilot.protect import Protection
from p3s.pilot.publish import publish_file
from p3s.wire import OutputOrder
from tests.pilot.test_protect import write_program
from tests.support.agents import run_agent
from tests.support.fake_server import FakeServer, make_order

if TYPE_CHECKING:
    from p3s.wire import AttemptReport

SECRET = "p3s_" + "x" * 43


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A folder of the pilot's user, with files named as an attempt's own are."""
    folder = tmp_path / "vault"
    folder.mkdir()
    for name in ("stdout", "stderr", "run", "manifest.json"):
        (folder / name).write_text(SECRET)
    return folder


def run_trap(folder: Path, protection: Protection | None = None, **fields: Any) -> tuple[AttemptReport, FakeServer]:
    """Run one payload and return its report and all that the server got."""
    server = FakeServer()
    order = make_order(**fields)
    server.orders = [order]
    assert run_agent(folder, server, protection=protection or Protection()) == 0
    return server.find_final(order.attempt), server


@pytest.mark.parametrize("trap", ["the file", "its folder"])
def test_an_output_behind_a_link_is_none(tmp_path: Path, vault: Path, trap: str) -> None:
    """A link in the place of an output, or of a folder on the way to it, brings no foreign content to the server."""
    link = 'ln -s {v}/run "$out"' if trap == "the file" else 'd=$(dirname "$out"); rmdir "$d"; ln -s {v} "$d"'
    output = OutputOrder(name="out", key="out", path="sub/run", result=True)
    report, server = run_trap(tmp_path, run=link.format(v=vault), outputs=[output])
    assert (report.kind, report.reason) == ("failed", Reason.MISSING_OUTPUT)
    assert "link" in report.message
    assert server.blobs == {}


@pytest.mark.parametrize("trap", ["rm .p3s/std*; ln -s {v}/stdout .p3s/stdout", "mv .p3s gone; ln -s {v} .p3s"])
def test_a_log_behind_a_link_is_not_read(tmp_path: Path, vault: Path, trap: str) -> None:
    """A payload that puts a link in the place of its log, or of the folder of logs, shows nothing of what it names."""
    report, _ = run_trap(tmp_path, run=trap.format(v=vault))
    assert (report.kind, report.stdout, report.stderr) == ("succeeded", b"", b"")
    assert sorted(path.name for path in vault.iterdir()) == ["manifest.json", "run", "stderr", "stdout"]


@pytest.mark.parametrize("kind", ["mkfifo", "mkdir"])
def test_a_log_that_is_no_file_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    """A pipe or a folder in the place of logs and outputs is told, and the pilot goes on."""
    output = OutputOrder(name="out", key="out", path="out")
    run = f'rm .p3s/std*; {kind} .p3s/stdout .p3s/stderr "$out"'
    report, _ = run_trap(tmp_path, run=run, outputs=[output])
    assert report.reason is Reason.MISSING_OUTPUT
    assert "no regular file" in report.message


def test_open_below(tmp_path: Path) -> None:
    """Files are opened through real folders only; what is not there is an ordinary error."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("text")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a/b/loop").symlink_to("loop")
    with open_below(tmp_path, "a/b/file") as file:
        assert file.read() == b"text"
    for path, error in (
        ("link/b/file", LinkFound),
        ("a/b/loop", LinkFound),
        ("a/b", NotRegular),
        ("a/none", FileNotFoundError),
        ("a/b/file/x", NotADirectoryError),
    ):
        with pytest.raises(error):
            open_below(tmp_path, path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(NotRegular):
        open_below(tmp_path, "a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_link_is_not_published(tmp_path: Path, vault: Path) -> None:
    """An accepted output that became a link since is not published, and what was there stays."""
    (tmp_path / "out").symlink_to(vault / "run")
    (tmp_path / "shown").write_text("before")
    with pytest.raises(LinkFound):
        publish_file(tmp_path, "out", tmp_path / "shown", "attempt")
    assert (tmp_path / "shown").read_text() == "before"


def run_published(folder: Path, protection: Protection, target: Path) -> AttemptReport:
    """Run a payload that publishes its output."""
    output = OutputOrder(name="out", key="out", path="out.txt", publish=str(target))
    return run_trap(folder, protection, run='echo made > "$out"', outputs=[output])[0]


def test_names_are_published_where_it_is_accepted(tmp_path: Path) -> None:
    """With folders named, a name elsewhere, by dots or by a link, is refused before the payload runs."""
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "out").symlink_to(tmp_path)
    protection = Protection(published=(shown,))
    assert run_published(tmp_path / "1", protection, shown / "sub/x.txt").kind == "succeeded"
    assert (shown / "sub/x.txt").read_text() == "made\n"
    for number, target in enumerate((tmp_path / "x.txt", shown / "../x.txt", shown / "out/x.txt")):
        report = run_published(tmp_path / f"2{number}", protection, target)
        assert (report.kind, report.reason) == ("failed", Reason.REFUSED)
        assert str(shown) in report.message
    assert not (tmp_path / "x.txt").exists()


@pytest.mark.usefixtures("isolation")
def test_isolated_payloads_publish_nothing_unless_told_where(tmp_path: Path) -> None:
    """The pilot's own rights do not carry out what an isolated payload may not do itself."""
    report = run_published(tmp_path / "a", Protection(isolate=True), tmp_path / "x.txt")
    assert report.reason is Reason.REFUSED
    shown = tmp_path / "shown"
    shown.mkdir()
    protection = Protection(isolate=True, published=(shown,))
    assert run_published(tmp_path / "b", protection, shown / "x.txt").kind == "succeeded"
    assert (shown / "x.txt").exists()


@pytest.mark.parametrize("name", ["LD_PRELOAD", "BASH_ENV", "PYTHONPATH", "PERL5OPT", "PATH", "P3S_EXECMODE", "ld_x"])
def test_chosen_programs_run_as_they_are(tmp_path: Path, name: str) -> None:
    """A job cannot have an accepted program run something else by a variable; other variables pass."""
    program = write_program(tmp_path / "site/bin/good")
    protection = Protection(payloads=(tmp_path / "site",))
    report, _ = run_trap(tmp_path / "1", protection, payload=str(program), env={name: "$(touch /tmp/x)"})
    assert report.reason is Reason.REFUSED
    assert name in report.message
    report, _ = run_trap(tmp_path / "2", protection, payload=str(program), env={"P3S_INPUT_FILE": "/d/a", "X": "1"})
    assert report.stdout == b"ran\n"
