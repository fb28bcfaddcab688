"""Bodies of acts on what is there: cancel, retry, ban."""

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


class BanBody(Request):
    """Why a host gets no more jobs."""

    reason: str = Field(default="", max_length=1000)


class EmptyBody(Request):
    """No fields."""
