"""What the pilot's loop waits for."""

from __future__ import annotations

import math
import signal
import socket
import threading
import time

from p3s.pilot.inbox import Inbox


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
