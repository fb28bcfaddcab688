"""A small process beside the pilot that ends the pilot's payloads when the pilot cannot.

It reads lines from the pilot: ``! MARK`` for an exclusive payload that is about to start, ``+ PID EXCLUSIVE`` for one
that runs, ``- PID`` for one that ended, ``r MOMENT`` for when the lease ends, by the machine's monotonic clock. When
the pilot is gone the pipe ends, however the pilot ended; the keeper then kills all that runs under the given mark. When
the lease is over it kills the exclusive ones, even while the pilot is frozen, be it while it starts one. The keeper is
run as a script, imports nothing of p3s and so starts in a moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

ROUNDS = 50


def find_marked(mark: bytes, sessions: set[int]) -> set[int]:
    """Return the live processes that show `mark` (see `is_marked`) or belong to one of the sessions."""
    found: set[int] = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - no pathlib: starts faster
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                content = file.read()
            state, _, group, session, *_ = content[content.rindex(b")") + 1 :].split()
        except OSError:
            continue
        if state not in {b"Z", b"X"} and (
            int(session) in sessions or int(group) in sessions or is_marked(int(name), mark)
        ):
            found.add(int(name))
    return found


def is_marked(pid: int, mark: bytes) -> bool:
    """Tell whether a process carries ``NAME=VALUE`` in its environment, or writes into a folder named ``VALUE``.

    The latter is so for those that dropped their environment: the pilot's folder of sandboxes has its name.
    """
    folder = os.fsdecode(mark.partition(b"=")[2])
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            if mark in file.read().split(b"\0"):
                return True
        links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in (1, 2)]  # noqa: PTH115
    except OSError:
        return False
    return bool(folder) and any(folder in link.split("/") for link in links)


def kill_all(mark: bytes, sessions: set[int]) -> None:
    """Kill payloads and what they started, until nothing of them is left."""
    for leader in sessions:
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)
    for _ in range(ROUNDS):
        found = find_marked(mark, sessions)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.02)


def watch(descriptor: int, mark: bytes) -> None:
    """Follow the pilot's lines until they end, then kill what is left."""
    payloads: dict[int, bool] = {}
    #: Of the exclusive payload whose pid is still to be told.
    starting = b""
    lease_end = float("inf")
    rest = b""
    while True:
        exclusive = {pid for pid, is_exclusive in payloads.items() if is_exclusive}
        timed = (exclusive or starting) and lease_end != float("inf")
        wait = max(lease_end - time.monotonic(), 0) if timed else None
        if not select.select([descriptor], [], [], wait)[0]:
            kill_all(starting or b"\0", exclusive)
            lease_end = float("inf")
            continue
        chunk = os.read(descriptor, 65536)
        if not chunk:
            kill_all(mark, set(payloads))
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            word, what, *more = line.split()
            if word == b"!":
                starting = what
            elif word == b"+":
                payloads[int(what)] = more == [b"1"]
                starting = b"" if payloads[int(what)] else starting
            elif word == b"-":
                payloads.pop(int(what), None)
            else:
                lease_end = float(what)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It goes when the pilot goes, not before.
        signal.signal(number, signal.SIG_IGN)
    watch(0, sys.argv[1].encode())
