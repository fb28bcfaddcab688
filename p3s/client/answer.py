"""What comes back from a server, and how it is told that nothing did."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

__all__ = ["CONNECT_TIMEOUT", "Answer", "Sent", "cut_path", "explain_cause"]

Value = TypeVar("Value")
Other = TypeVar("Other")

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


def _see_nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Sent(Generic[Value]):
    """A request on its way, sent as far as that took no waiting.

    Attributes
    ----------
    finish : callable
        Does the rest: waits for the answer and returns what it means, or raises. Called once, by any thread.
    line : socket or None
        What can be read when the answer comes; None if only `finish` will tell.
    look : callable
        Called when the line can be read, returns or raises as `finish` does if all of the answer is there, and else
        returns None: then `finish` is to be called. It never waits.
    until : float
        The time of the monotonic clock at which `finish` is to be called in any case.
    """

    finish: Callable[[], Value]
    line: socket.socket | None = None
    look: Callable[[], Value | None] = _see_nothing
    until: float = math.inf

    def then(self, change: Callable[[Value], Other]) -> Sent[Other]:
        """Return the same request, whose answer means what `change` makes of it."""

        def look() -> Other | None:
            found = self.look()
            return None if found is None else change(found)

        return Sent(lambda: change(self.finish()), self.line, look, self.until)


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
