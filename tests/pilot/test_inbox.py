"""What the pilot's loop waits for."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from p3s.pilot.inbox import Inbox
from p3s.pilot.reaper import Exit, Reaper


def test_messages_come_in_their_order() -> None:
    """Those that are there are taken together, and nothing is there afterwards."""
    inbox: Inbox[int] = Inbox()
    for number in range(3):
        inbox.put(number)
    assert inbox.take(10) == [0, 1, 2]
    assert inbox.take(0) == []


def test_whoever_waits_is_woken_by_a_thread() -> None:
    """However long it would wait."""
    inbox: Inbox[str] = Inbox()
    thread = threading.Timer(0.05, inbox.put, ("come",))
    thread.start()
    assert inbox.take(60) == ["come"]
    thread.join()


def test_whoever_waits_is_woken_by_a_signal() -> None:
    """A handler runs between two instructions of the thread that waits."""
    inbox: Inbox[str] = Inbox()
    before = signal.signal(signal.SIGALRM, lambda *_: inbox.put("signal"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert inbox.take(60) == ["signal"]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_bell_that_nobody_hears_takes_all_messages() -> None:
    """More of them than a socket has room for."""
    inbox: Inbox[int] = Inbox()
    for number in range(20_000):
        inbox.put(number)
    found = inbox.take(10)
    assert found == list(range(20_000))


def test_a_line_is_noticed_once() -> None:
    """When something can be read from it; later it is none of the inbox's."""
    inbox: Inbox[str] = Inbox()
    ours, theirs = socket.socketpair()
    inbox.watch(ours, math.inf, lambda: ours.recv(10).decode())
    assert inbox.take(0) == []
    theirs.sendall(b"one")
    assert inbox.take(10) == ["one"]
    theirs.sendall(b"two")
    assert inbox.take(0.05) == []
    ours.close()
    theirs.close()


def test_a_line_is_noticed_at_its_time() -> None:
    """Though nothing can be read from it, and whatever else would be waited for."""
    inbox: Inbox[str] = Inbox()
    ours, theirs = socket.socketpair()
    inbox.watch(ours, time.monotonic() + 0.05, lambda: "late")
    assert inbox.take(60) == ["late"]
    inbox.watch(ours, math.inf, lambda: "never")
    inbox.close()
    assert ours.fileno() == -1
    theirs.close()


def test_ends_of_children_wake_whoever_waits() -> None:
    """In the main thread the system rings; each end is told once, with its code."""
    inbox: Inbox[str] = Inbox()
    reaper = Reaper()
    before = signal.getsignal(signal.SIGCHLD)
    with reaper.listen(inbox.ring):
        assert reaper.pause == math.inf
        codes = (0, 3)
        pids = [os.posix_spawn("/bin/sh", ["sh", "-c", f"sleep 0.05; exit {code}"], {}) for code in codes]
        found: list[Exit] = []
        # Beside what tests before have left to this process.
        while not {end.pid for end in found} >= {*pids}:
            assert inbox.take(60) == []
            found += reaper.collect()
        assert [end.code for pid in pids for end in found if end.pid == pid] == [*codes]
    assert signal.getsignal(signal.SIGCHLD) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_looks_for_ends_by_itself() -> None:
    """Signals come to the main thread only."""
    reaper = Reaper()

    def listen() -> None:
        with reaper.listen(-1):
            assert reaper.pause < 1

    with ThreadPoolExecutor(1) as pool:
        pool.submit(listen).result()
