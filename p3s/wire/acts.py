"""Bodies of acts on what is there: register, cancel, retry, ban."""

from __future__ import annotations

from pydantic import Field

from p3s.wire.base import Reply, Request


class CancelReply(Reply):
    """What a cancel did: jobs ended, and attempts told to stop."""

    uuid: str
    state: str
    jobs: int
    stopping: int


class RetryReply(Reply):
    """What a retry did: jobs that run again, and finished ones that were kept."""

    uuid: str
    state: str
    jobs: int
    kept: int


class RegisterDatasetBody(Request):
    """Say that data is there; the same place again answers the same dataset."""

    place: str = Field(min_length=1, max_length=4096)
    site: str = "default"
    datatype: str = ""
    size: int | None = Field(default=None, ge=0)
    checksum: str = ""
    comment: str = ""


class BanBody(Request):
    """Why a host gets no more jobs."""

    reason: str = Field(default="", max_length=1000)


class EmptyBody(Request):
    """No fields."""
