"""A port belongs to the one who has opened it, and whoever cannot have one is told why."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

from p3s.errors import BadInput, Conflict
from p3s.ports import open_port
from tests.support.servers import find_port

HOST = "127.0.0.1"


def test_what_was_opened_can_be_called_before_anybody_answers() -> None:
    """The socket listens: a connection is kept until the server takes it."""
    with (
        open_port(HOST, find_port()) as listener,
        socket.create_connection(listener.getsockname(), timeout=5) as caller,
    ):
        caller.sendall(b"early")
        with listener.accept()[0] as taken:
            assert taken.recv(5) == b"early"


def test_a_port_that_is_taken_is_passed_over() -> None:
    """The next one is opened; without one to spare the port is named."""
    with open_port(HOST, find_port()) as first:
        port = first.getsockname()[1]
        with open_port(HOST, port, spare=99) as second:
            assert second.getsockname()[1] > port
        with pytest.raises(Conflict, match=f"port {port} of 127.0.0.1 is taken .* --port"):
            open_port(HOST, port)


def test_the_last_port_has_none_after_it() -> None:
    """What is tried ends with the highest number; the error says how far it went."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Conflict):
            stack.enter_context(open_port(HOST, 65535))
        with pytest.raises(Conflict, match="no port from 65535 to 65535"):
            open_port(HOST, 65535, spare=99)


def test_of_many_at_once_each_gets_a_port_of_its_own() -> None:
    """Whoever is told a port has it alone, however close the calls are."""
    first = find_port()
    opened: list[socket.socket] = []
    begin = threading.Barrier(16)

    def open_one() -> None:
        begin.wait()
        opened.append(open_port(HOST, first, spare=99))

    threads = [threading.Thread(target=open_one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ports = {listener.getsockname()[1] for listener in opened}
    for listener in opened:
        listener.close()
    assert len(ports) == len(threads)


def test_a_port_that_is_let_go_is_waited_for() -> None:
    """A server that is stopped holds its port for a moment; the next one has that much patience, and no more."""
    old = open_port(HOST, find_port())
    port = old.getsockname()[1]
    threading.Timer(0.3, old.close).start()
    open_port(HOST, port, patience=20.0).close()
    with open_port(HOST, port):
        begun = time.monotonic()
        with pytest.raises(Conflict):
            open_port(HOST, port, patience=0.3)
        assert time.monotonic() - begun >= 0.3


def test_an_address_of_another_machine_is_refused() -> None:
    """Nobody listens at an address that is not this machine's; the address is named."""
    with pytest.raises(BadInput, match=r"192\.0\.2\.1 cannot be listened on"):
        open_port("192.0.2.1", find_port(), spare=99)
    with pytest.raises(BadInput, match=r"no\.such\.host\.invalid is no address"):
        open_port("no.such.host.invalid", find_port())


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_address_of_six_is_one_too() -> None:
    """A server may listen on an address of IPv6."""
    with open_port("::1", find_port()) as listener, socket.create_connection(listener.getsockname()[:2], timeout=5):
        assert listener.family is socket.AF_INET6


def test_what_is_refused_leaves_nothing_open() -> None:
    """Each try closes what it could not have."""
    with open_port(HOST, find_port()) as listener:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(Conflict):
            open_port(HOST, listener.getsockname()[1])
        assert len(list(Path("/proc/self/fd").iterdir())) == before
