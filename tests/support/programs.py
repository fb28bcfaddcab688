"""Programs of the system that some tests need: skipped without them, and that never in silence."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ["lack", "need_program"]


def need_program(name: str, package: str | None = None) -> str:
    """Return the path of a program, or skip the test.

    Parameters
    ----------
    name : str
        As in a shell.
    package : str, optional
        The Debian package that brings it; `name` by default. It stands in tests/packages.txt.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        lack(f"{name} is not installed (Debian package {package or name})")
    return found


def lack(reason: str) -> NoReturn:
    """Skip the test for what the system does not have; where CI=true says that all must run, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and with CI=true every test must run")
    pytest.skip(reason)
