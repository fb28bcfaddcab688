"""Addresses of servers."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from p3s.errors import BadInput

__all__ = ["DEFAULT_PORT", "is_loopback", "normalise_url"]

#: Where the server listens unless told otherwise.
DEFAULT_PORT = 8440


def normalise_url(text: str) -> str:
    """Return the one spelling of a server's address, by which stored tokens are found.

    Raises
    ------
    BadInput
        If it is no ``http`` or ``https`` address, or carries a user, a password, a query or a fragment.

    Examples
    --------
    >>> normalise_url("HTTP://Localhost:80/")
    'http://localhost'
    """
    given = text.strip()
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        port = parts.port
    except ValueError as error:
        raise BadInput([f"'{text}' is no server address ({error}); write http://HOST:PORT"]) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInput([f"'{text}' is no server address; write http://HOST:PORT or https://HOST"])
    if parts.username is not None or parts.query or parts.fragment:
        raise BadInput(["a server address holds no user, query or fragment; write http://HOST:PORT, then `p3s login`"])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Tell whether `url` names this host's loopback interface.

    Examples
    --------
    >>> is_loopback("http://127.0.0.1:8440"), is_loopback("http://127.example.org")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
