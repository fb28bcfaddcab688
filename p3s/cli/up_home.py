"""The home folder that ``p3s up`` works in: made for one user and locked by one process."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from p3s.errors import BadInput, Problem
from p3s.settings import find_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from p3s.settings import Home

__all__ = ["get_lock_file", "get_run_file", "lock_home", "make_home"]


def make_home() -> Home:
    """Make the home folder and those below it, for this user alone."""
    home = find_home()
    try:
        home.path.mkdir(parents=True, exist_ok=True)
        home.path.chmod(0o700)
        for folder in (home.data, home.logs, home.work):
            folder.mkdir(exist_ok=True)
    except OSError as error:
        message = f"cannot be made ({error.strerror}); set P3S_HOME to a folder of yours"
        raise BadInput([Problem(message, file=str(home.path))]) from error
    return home


def get_run_file(home: Home) -> Path:
    """Return where the workflow's id is kept as long as `--run` waits for it."""
    return home.path / "up.run"


def get_lock_file(home: Home) -> Path:
    """Return the file that a running `p3s up` holds locked."""
    return home.path / "up.lock"


@contextmanager
def lock_home(home: Home) -> Iterator[bool]:
    """Hold the home's lock for the length of a block; False if another process holds it."""
    with get_lock_file(home).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
