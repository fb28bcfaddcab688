"""What all bodies share: strictness, ids, and the one shape of errors."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

#: A uuid in its canonical text form, made by whoever submits.
Uuid = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
#: A SHA-256 as 64 hexadecimal characters.
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


#: A name that is shown in lines of logs and tables: without control characters.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=255)]


# Models are completed when they are first used, for a command needs few of them. That several threads may be the first
# to use one is what the lock of pydantic 2.14 is for.
class Request(BaseModel):
    """A body that a client sends; bytes travel as base64."""

    model_config = ConfigDict(extra="forbid", defer_build=True, ser_json_bytes="base64", val_json_bytes="base64")


class Reply(BaseModel):
    """A body that the server answers."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


class ProblemView(Reply):
    """One thing that is wrong with an input, and where (see `p3s.errors.Problem`)."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    where: str = ""


class ErrorView(Reply):
    """What went wrong; `kind` names the class in `p3s.errors`."""

    kind: str
    message: str
    problems: list[ProblemView] = []
    request_id: str = ""


class ErrorReply(Reply):
    """The one shape of every error."""

    error: ErrorView
