"""What comes back from a server, and how it is told that nothing did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONNECT_TIMEOUT", "Answer", "cut_path", "explain_cause"]

#: Seconds to wait for a connection; a server that is there accepts at once.
CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes
    ----------
    status : int
        The HTTP status.
    body : bytes
        The content, decompressed.
    headers : mapping of str to str
        Names in lower case.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def cut_path(url: str) -> str:
    """Return the server's address without what was asked of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def explain_cause(error: BaseException) -> str:
    """Return in the system's words why no answer came."""
    # The innermost cause is the one that a person knows: "Connection refused" below five layers of retries.
    cause: BaseException = error
    for _ in range(10):
        inner = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        if not isinstance(inner, BaseException):
            inner = next((part for part in cause.args if isinstance(part, BaseException)), None)
        if inner is None:
            break
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
