"""What all bodies share: strictness, ids, and the one shape of errors."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from p3s.engine.names import MAX_HOST, MAX_LABEL, MAX_NAME, MAX_VERSION

#: A uuid in its canonical text form, made by whoever submits.
Uuid = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
#: A SHA-256 as 64 hexadecimal characters.
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


# What is shown in lines of logs and tables has no control characters; nothing is longer than the column that keeps it.
_SHOWN = r"^[^\x00-\x1f\x7f-\x9f]*$"
#: The name of a pilot.
Title = Annotated[str, StringConstraints(pattern=_SHOWN, max_length=MAX_NAME)]
#: A site, or a label of a pilot.
Label = Annotated[str, StringConstraints(pattern=_SHOWN, max_length=MAX_LABEL)]
#: A machine.
Host = Annotated[str, StringConstraints(pattern=_SHOWN, max_length=MAX_HOST)]
#: A release of p3s.
Version = Annotated[str, StringConstraints(pattern=_SHOWN, max_length=MAX_VERSION)]
#: A whole number that any column for one keeps.
Number = Annotated[int, Field(ge=-(2**31), lt=2**31)]
#: Bytes, or anything else that may be large.
Size = Annotated[int, Field(ge=0, lt=2**63)]


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
