"""Who ends a payload: all its processes, also those that left its session."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from p3s.pilot.processes import belongs_to, find_tree, list_adopted, read_process

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["become_subreaper", "is_subreaper", "kill_strays", "stop_tree"]

#: A tree that forks while it is killed is looked at again, so many times.
ROUNDS = 20
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def become_subreaper() -> bool:
    """Become the parent of orphans among this process' descendants, where the system can do that.

    Returns
    -------
    bool
        Whether it can (Linux 3.4 and later).
    """
    return _call_prctl(_PR_SET_CHILD_SUBREAPER, 1)


def is_subreaper() -> bool:
    """Tell whether orphans among this process' descendants become its children."""
    import ctypes  # noqa: PLC0415 - see below

    found = ctypes.c_int(0)
    return _call_prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(found)) and bool(found.value)


def _call_prctl(option: int, argument: Any) -> bool:
    import ctypes  # noqa: PLC0415 - takes time to import, and is needed once per pilot

    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def stop_tree(leader: int, attempt: str, *, force: bool) -> None:
    """Send SIGTERM once, or SIGKILL until nothing is left, to all processes of an attempt.

    Parameters
    ----------
    leader : int
        The pid of the payload's first process, which must not have been waited for.
    attempt : str
        The attempt's uuid.
    force : bool
        SIGKILL instead of SIGTERM.
    """
    number = signal.SIGKILL if force else signal.SIGTERM
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
    for _ in range(ROUNDS):
        found = find_tree(leader, attempt)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if not force or not found:
            return


def kill_strays(attempt: str, born: int, others: Mapping[int, int], helpers: Collection[int] = ()) -> bool:
    """Kill what an ended payload left running outside its session.

    A stray that hides whose it is belongs to a payload that began before it. So it is killed with the last one
    that did, and the running ones that began after it keep nothing alive.

    Parameters
    ----------
    attempt : str
        The attempt's uuid.
    born : int
        When its payload began, in ticks (see `Process`).
    others : mapping of int to int
        The payloads that run: when each pid began.
    helpers : collection of int
        The other children of this pilot that are no strays.

    Returns
    -------
    bool
        Whether there were any.
    """
    oldest = min(others.values(), default=float("inf"))
    for number in range(ROUNDS):
        adopted = list_adopted(os.getpid()).difference(others, helpers)
        strays = [
            process.pid
            for process in map(read_process, adopted)
            if process is not None
            and process.is_alive
            and (born <= process.born < oldest or belongs_to(process.pid, attempt))
        ]
        if not strays:
            return number > 0
        for pid in strays:
            stop_tree(pid, attempt, force=True)
    return True
