"""Bodies of acts on many jobs, and of jobtypes."""

from __future__ import annotations

from pydantic import Field

from p3s.wire.base import Reply, Request, Uuid


class AdjustBody(Request):
    """Change jobs that have not ended; what is None stays.

    `hold` true keeps a job from being given out, false lets it go.
    """

    jobs: list[Uuid] = Field(min_length=1, max_length=1000)
    priority: int | None = Field(default=None, ge=-1_000_000, le=1_000_000)
    timelimit: float | None = Field(default=None, gt=0, le=10 * 365 * 86_400)
    hold: bool | None = None


class JobsBody(Request):
    """Whose turn it is: the jobs to cancel, to retry or to forget."""

    jobs: list[Uuid] = Field(min_length=1, max_length=1000)


class ManyReply(Reply):
    """What was done to many: the uuids, and by uuid why others were left as they are."""

    done: list[str]
    left: dict[str, str]


class CancelJobsReply(ManyReply):
    """What a cancel of many did; `stopping` payloads were told to stop."""

    stopping: int = 0


class RetryJobsReply(ManyReply):
    """What a retry of many did; `jobs` run again in all, with the skipped ones that depend on them."""

    jobs: int = 0


class LimitBody(Request):
    """How many jobs of a type may be with pilots at once; 0 suspends the type, None lifts the cap."""

    cap: int | None = Field(ge=0, le=1_000_000)


class JobtypeView(Reply):
    """A jobtype: its cap if it has one, its jobs with pilots, and those that wait for one."""

    name: str
    cap: int | None = None
    running: int = 0
    ready: int = 0


class JobtypeList(Reply):
    """All jobtypes that have a cap or jobs that have not ended, by name."""

    items: list[JobtypeView]
