"""The documentation builds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.processes
def test_documentation_builds_without_warnings(tmp_path):
    """`make docs` ends well, with warnings as errors, and links every page."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "trees"), "docs", str(tmp_path / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "p3s workflow load" in (tmp_path / "html/reference/commands.html").read_text()


def test_make_docs_builds_the_same_way():
    """The word `make docs` calls the builder as the test does."""
    assert "sphinx-build -q -W -b html docs" in (ROOT / "Makefile").read_text()
