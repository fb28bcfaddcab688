"""What /proc tells about processes. Where there is no /proc, nothing is found and process groups must do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Process",
    "belongs_to",
    "find_tree",
    "list_adopted",
    "list_processes",
    "read_process",
    "read_ticks",
    "read_variable",
]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One line of the process table; `born` counts the kernel's ticks since the machine's start."""

    pid: int
    parent: int
    group: int
    session: int
    state: str
    born: int

    @property
    def is_alive(self) -> bool:
        """Whether it is no zombie."""
        return self.state not in "ZX"


def list_processes() -> list[Process]:
    """Return all processes."""
    if not _PROC.is_dir():
        return []
    found = (read_process(int(name)) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - names only
    return [process for process in found if process is not None]


def find_tree(leader: int, attempt: str) -> list[int]:
    """Return the live processes of an attempt.

    They are the leader, all its descendants, all of its session, and those that left both but still show whose they
    are.

    Parameters
    ----------
    leader : int
        The pid of the payload's first process, whose session has the same number.
    attempt : str
        The attempt's uuid.

    Returns
    -------
    list of int
        Pids, without zombies.
    """
    processes = [process for process in list_processes() if process.pid != os.getpid()]
    members = {process.pid for process in processes if leader in {process.pid, process.group, process.session}}
    own = os.getpid()
    for process in processes:
        # An orphan of a payload is a child of this pilot (a subreaper), else of init.
        if process.pid in members or process.parent not in {own, 1}:
            continue
        if belongs_to(process.pid, attempt) if process.parent == own else _carries(process.pid, attempt):
            members.add(process.pid)
    grown = True
    while grown:
        found = {process.pid for process in processes if process.parent in members} - members
        members |= found
        grown = bool(found)
    return [process.pid for process in processes if process.pid in members and process.is_alive]


def belongs_to(pid: int, attempt: str) -> bool:
    """Tell whether a child that this process adopted shows whose it is.

    It does by the attempt's variable, or, if it dropped its variables, by its current folder or its output: they
    are in the attempt's sandbox, which is named after the attempt.
    """
    return _carries(pid, attempt) or any(attempt in _read_link(pid, name) for name in ("cwd", "fd/1", "fd/2"))


def list_adopted(pid: int) -> set[int]:
    """Return the children of a process' first thread: those that it adopted, and those that it started itself.

    Each thread lists the children that it started. The kernel gives an orphan to the first living thread of its
    subreaper, in the order in which they were made, and the first one of a Python process lives as long as it does.
    """
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:  # noqa: PTH123 - no Path objects here
            return set(map(int, file.read().split()))
    except OSError:
        return set()


def read_ticks() -> int:
    """Return the time since the machine's start in the kernel's ticks, as in `Process`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def read_variable(pid: int, name: str) -> str:
    """Return a variable that a process was started with; empty if it has none or may not be asked."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    prefix = f"{name}=".encode()
    found = next((entry for entry in content.split(b"\0") if entry.startswith(prefix)), b"")
    return found.removeprefix(prefix).decode(errors="replace")


def read_process(pid: int) -> Process | None:
    """Return a process; None if there is none with this pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        # It has ended meanwhile.
        return None
    # The name in parentheses may hold anything, so the numbers are counted from the last one.
    state, parent, group, session, *others = text[text.rindex(")") + 1 :].split()
    return Process(pid, int(parent), int(group), int(session), state, int(others[15]))


def _carries(pid: int, attempt: str) -> bool:
    return read_variable(pid, "P3S_ATTEMPT") == attempt


def _read_link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")  # noqa: PTH115 - one of /proc's links need not be a path
    except OSError:
        return ""
