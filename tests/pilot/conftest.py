"""What the tests of pilots need of the machine."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.programs import lack, need_program


@pytest.fixture
def isolation() -> None:
    """Bubblewrap, and the right to make namespaces."""
    command = [need_program("bwrap", "bubblewrap"), "--ro-bind", "/", "/", "--unshare-pid", "true"]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        lack("bubblewrap may not make namespaces here")
