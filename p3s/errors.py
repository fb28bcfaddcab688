"""The one tree of errors.

::

    P3sError
    ├── BadInput            a file or request is wrong; carries every problem with its place
    ├── NotFound            no object has this id
    ├── Ambiguous           several objects have this id prefix
    ├── Refused
    │   ├── NoToken         the request carries no valid token
    │   ├── NotAllowed      the token's role or owner does not admit this
    │   └── Conflict        the object's state does not admit this
    │       └── Archived    the object is in the archive: it can be shown, and changes no more
    ├── Unavailable         the server cannot act now; try again later
    │   └── TooMany         this caller asks too often
    ├── Unreachable         no answer came from the server
    └── BadReply            the server's answer makes no sense

Leaves carry data and build their own message: what happened, to which object, what to do next. ``kind`` names
the error on the wire, ``exit_code`` is what the command line exits with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Ambiguous",
    "Archived",
    "BadInput",
    "BadReply",
    "Conflict",
    "NoToken",
    "NotAllowed",
    "NotFound",
    "P3sError",
    "Problem",
    "Refused",
    "TooMany",
    "Unavailable",
    "Unreachable",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, and where.

    Attributes
    ----------
    message : str
        What is wrong and what to write instead.
    file : str or None
        The file as the user named it.
    line, column : int or None
        One-based place in the file.
    where : str
        The place within the document, such as ``jobs.reduce.inputs[0]``; empty for the whole.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    where: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        head = place or self.where
        return f"{head}: {self.message}" if head else self.message


class P3sError(Exception):
    """What p3s raises on purpose; its message is meant for the user."""

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the error as the ``error`` object of a JSON answer."""
        return {"kind": self.kind, "message": str(self), "problems": []}


class BadInput(P3sError):
    """A file or a request is wrong.

    Parameters
    ----------
    problems : iterable of Problem or str
        Everything that is wrong, not just the first.
    """

    kind = "bad-input"
    exit_code = 64

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            Problem(problem) if isinstance(problem, str) else problem for problem in problems
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[BadInput], tuple[tuple[Problem, ...]]]:
        # Raised in a child process, it reaches the parent whole.
        return type(self), (self.problems,)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as the ``error`` object of a JSON answer."""
        return super().to_dict() | {"problems": [asdict(problem) for problem in self.problems]}


class NotFound(P3sError):
    """No object has this id."""

    kind = "not-found"
    exit_code = 5

    def __init__(self, noun: str, ident: str, hint: str = "") -> None:
        self.noun, self.ident = noun, ident
        super().__init__(f"no {noun} '{ident}'; {hint or f'`p3s {noun} list` shows those there are'}")


class Ambiguous(P3sError):
    """Several objects have this id prefix."""

    kind = "ambiguous"
    exit_code = 5

    def __init__(self, noun: str, ident: str, matches: Sequence[str]) -> None:
        self.noun, self.ident, self.matches = noun, ident, tuple(matches)
        shown = ", ".join(self.matches[:5]) + (", ..." if len(self.matches) > 5 else "")
        super().__init__(f"'{ident}' fits more than one {noun}: {shown}; give more characters")


class Refused(P3sError):
    """The server understood and will not do it."""

    kind = "refused"
    exit_code = 4


class NoToken(Refused):
    """The request carries no valid token."""

    kind = "no-token"


class NotAllowed(Refused):
    """The token's role or owner does not admit this."""

    kind = "not-allowed"


class Conflict(Refused):
    """The object's state does not admit this."""

    kind = "conflict"


class Archived(Conflict):
    """The object is in the archive; who only looks is shown what is kept there.

    Parameters
    ----------
    noun : str
        ``workflow``, ``job``, ``dataset`` or ``attempt``.
    uuid : str
        Of the object.
    row : int
        The row of its workflow in the archive.
    """

    def __init__(self, noun: str, uuid: str, row: int) -> None:
        self.noun, self.uuid, self.row = noun, uuid, row
        super().__init__(f"{noun} {uuid} is in the archive; `p3s {noun} show` shows it, and it changes no more")


class Unavailable(P3sError):
    """The server cannot act now; the same request may succeed after `retry_after` seconds."""

    kind = "unavailable"
    exit_code = 3
    retry_after: float = 1.0


class TooMany(Unavailable):
    """The caller asks too often; nothing was done."""

    kind = "too-many"

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Unreachable(P3sError):
    """No answer came from the server."""

    kind = "unreachable"
    exit_code = 3

    def __init__(self, url: str, cause: object) -> None:
        self.url, self.cause = url, cause
        super().__init__(f"no answer from the server at {url} ({cause}); is it running? `p3s up` starts one here")


class BadReply(P3sError):
    """The server's answer makes no sense: it is no p3s server, or of another version."""

    kind = "bad-reply"
    exit_code = 3
