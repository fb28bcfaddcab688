"""Bodies of purging: what is to go, and what went."""

from __future__ import annotations

from pydantic import Field

from p3s.engine.names import MAX_LABEL, MAX_NAME
from p3s.engine.purging import PurgeKind
from p3s.engine.states import DatasetState, PilotState, WorkflowState
from p3s.wire.base import Reply, Request


class PurgeBody(Request):
    """What is to be purged, and whether to do it; all of it unless filters narrow it down.

    `older` is seconds since it ended; `state` fits workflows, jobs, the archive, pilots and datasets, `name` is a
    workflow's or a standalone job's. `after` is what the last answer said, if that one had more.
    """

    what: list[PurgeKind] = Field(min_length=1)
    older: float = Field(ge=0, lt=1e11)
    state: WorkflowState | PilotState | DatasetState | None = None
    owner: str | None = Field(default=None, max_length=MAX_LABEL)
    name: str | None = Field(default=None, max_length=MAX_NAME)
    dry_run: bool = True
    after: int = Field(default=0, ge=0, lt=2**62)


class PurgeCount(Reply):
    """How many of a kind would go, or went; `jobs` are those of workflows, `size` bytes.

    `estimated` says that the size was reckoned from some of them.
    """

    what: PurgeKind
    number: int = 0
    jobs: int = 0
    size: int = 0
    estimated: bool = False


class PurgeReply(Reply):
    """What would go, or went; `left` tells of what stays for now, and why.

    `more` says that there is more to do: ask again, with `after` as it is here.
    """

    items: list[PurgeCount]
    left: list[str] = []
    more: bool = False
    after: int = 0
