"""How bytes travel: one request, one answer, no meaning.

A transport can be replaced by any object with a fitting ``send`` and ``begin`` (`Whole` makes the second of the first),
which is how tests lose, repeat and delay replies.
"""

from __future__ import annotations

import ipaddress
import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from p3s.client.answer import CONNECT_TIMEOUT, Answer, Sent, cut_path, explain_cause
from p3s.client.pool import PoolTransport
from p3s.errors import Unreachable
from p3s.settings import find_authorities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

__all__ = ["Answer", "PoolTransport", "SessionTransport", "Transport", "Whole", "choose_transport"]


class Transport(Protocol):
    """What a `Client` sends with; it may be used by several threads at once."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
        """Send one request and return what came back, whatever its status.

        Parameters
        ----------
        method, url : str
            The request line.
        headers : mapping of str to str
            Headers to send.
        body : bytes or None
            The content.
        timeout : float
            Seconds to wait for the answer once connected.

        Returns
        -------
        Answer
            The answer.

        Raises
        ------
        Unreachable
            If no complete answer came. Whether the server acted is not known then.
        """

    def begin(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Sent[Answer]:
        """Send one request as far as that takes no waiting.

        The parameters are those of `send`, and what it returns raises as `send` does.
        """


class Whole:
    """Makes a transport of a class that can only ``send``: it may have to wait for the first byte already."""

    send: Callable[..., Answer]

    def begin(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Sent[Answer]:
        """Return what sends one request (see `Transport.begin`)."""
        return Sent(partial(self.send, method, url, headers, body, timeout))


class SessionTransport(Whole):
    """`requests`, with one kept-alive session per thread, because a session is not made for several.

    The environment's proxies are used except for this very machine, where a proxy could only be in the way.

    Parameters
    ----------
    authorities : str, optional
        A PEM file of those that may vouch for the server; else the usual ones.
    """

    def __init__(self, authorities: str | None = None) -> None:
        # Imported here: it takes as long as the rest of the client, and most calls do without.
        import requests  # noqa: PLC0415
        import urllib3  # noqa: PLC0415 - what requests stands on

        self._requests = requests
        self._troubles = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
        self._local = threading.local()
        self._authorities = authorities

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
        """Send one request (see `Transport.send`)."""
        try:
            answer = self._session(url).request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,
                verify=self._authorities,
            )
        except self._troubles as error:
            raise Unreachable(cut_path(url), explain_cause(error)) from error
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status_code, answer.content, names)

    def _session(self, url: str) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._requests.Session()
            # Without an auth of its own, requests would let ~/.netrc replace the token.
            session.auth = _keep_headers
        session.trust_env = not _is_loopback(url)
        return session


def choose_transport(url: str) -> Transport:
    """Return the fastest transport that the way to `url` allows.

    Parameters
    ----------
    url : str
        The server's address.

    Returns
    -------
    Transport
        `PoolTransport` for plain HTTP where no proxy is set, else `SessionTransport`, which knows proxies and what
        they are not for.
    """
    plain = urlsplit(url).scheme == "http"
    return (
        PoolTransport() if plain and (_is_loopback(url) or not _has_proxies()) else SessionTransport(find_authorities())
    )


def _has_proxies() -> bool:
    # Imported here: it brings a parser of e-mails and TLS, which most calls do without.
    from urllib.request import getproxies  # noqa: PLC0415

    return bool(getproxies())


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
