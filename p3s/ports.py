"""The port that a server listens on: opened before the server starts, so that nobody else can take it in between."""

from __future__ import annotations

import errno
import socket
import time

from p3s.errors import BadInput, Conflict

__all__ = ["open_port"]

#: Connections that the system keeps for a server that does not take them yet.
BACKLOG = 2048
#: Seconds between two tries of a port that is taken.
PAUSE = 0.1


def open_port(host: str, port: int, *, spare: int = 0, patience: float = 0.0) -> socket.socket:
    """Listen on a port and return its socket.

    The socket listens when it is returned: of two processes that only bind a port, both may be told that it is theirs.

    Parameters
    ----------
    host : str
        A name or an address of this machine.
    port : int
        The port; 0 for any.
    spare : int
        How many ports after it are tried if it is taken.
    patience : float
        Seconds for which taken ports are tried again: who has stopped a server lets go of its port a moment later.

    Raises
    ------
    Conflict
        If all the ports are taken.
    BadInput
        If the host is no address of this machine, or the user may not listen there.
    """
    end = time.monotonic() + patience
    while True:
        for tried in range(port, min(port + spare, 65535) + 1):
            listener = _listen(host, tried)
            if listener is not None:
                return listener
        if time.monotonic() >= end:
            break
        time.sleep(PAUSE)
    if spare:
        raise Conflict(f"no port from {port} to {tried} of {host} is free; give another one with --port")
    raise Conflict(
        f"port {port} of {host} is taken by another program; stop that one, or give another port with --port"
    )


def _listen(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens; None if the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadInput(
            [f"{host} is no address to listen on ({error.strerror}); give another one with --host"]
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        # A port that only old connections linger on is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            return None
        cause = f"port {port} of {host} cannot be listened on ({error.strerror})"
        raise BadInput([f"{cause}; give another one with --host and --port"]) from error
    return listener
