"""Bodies of injectors: the files they see, what becomes of each, and that they live."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from p3s.engine.fates import Fate
from p3s.engine.names import MAX_LABEL
from p3s.engine.states import WorkflowState
from p3s.wire.base import Host, Number, Reply, Request, Size, Uuid

#: Characters of a path: an index of the database has to hold it.
MAX_PLACE = 600
#: A name of a service or a rule.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=MAX_LABEL)]


class Sighting(Request):
    """One file as an injector sees it, and what is to become of it.

    `identity` is empty as long as the content is not known; `workflow` is the uuid that its workflow or job is to
    have; `age` is how long ago it arrived. `again` starts what was settled before.
    """

    rule: Name
    place: str = Field(min_length=1, max_length=MAX_PLACE)
    stamp: str = Field(max_length=MAX_LABEL)
    size: Size
    identity: str = Field(default="", max_length=80)
    fate: Fate
    message: str = Field(default="", max_length=4000)
    workflow: Uuid | None = None
    age: float = Field(default=0.0, ge=0)
    again: bool = False


class SightingsBody(Request):
    """What an injector saw; the same body sent twice changes nothing the second time, a `dry_run` nothing at all."""

    service: Name
    dry_run: bool = False
    items: list[Sighting] = Field(max_length=1000)


class ArrivalView(Reply):
    """A file that an injector has seen; `workflow_state` is None where the workflow is not there."""

    uuid: str
    service: str
    rule: str
    place: str
    stamp: str
    size: int
    identity: str
    fate: Fate
    message: str = ""
    workflow: str | None = None
    workflow_state: WorkflowState | None = None
    arrived: float
    decided: float


class ArrivalsReply(Reply):
    """What the server decided, in the order of the sightings."""

    items: list[ArrivalView]


class ArrivalList(Reply):
    """A page of files seen, newest first."""

    items: list[ArrivalView]
    next: str | None = None


class KnownBody(Request):
    """Ask what is known of files."""

    service: Name
    rule: Name
    places: list[Annotated[str, Field(max_length=4096)]] = Field(max_length=1000)


class BeatBody(Request):
    """A service says that it lives; `period` is when it says so again.

    The first word of a process says `arriving`, which takes the name over from any other, the last one `leaving`.
    """

    kind: Name = "injector"
    instance: Uuid
    host: Host
    pid: Number
    period: float = Field(gt=0, le=86_400)
    last: str = Field(default="", max_length=4096)
    arriving: bool = False
    leaving: bool = False


class ServiceView(Reply):
    """A program beside the server; `state` is ``alive``, ``silent`` or ``stopped``."""

    name: str
    kind: str
    owner: str
    state: str
    host: str
    pid: int
    seen: float
    last: str = ""
    last_at: float | None = None
    fates: dict[str, int] = {}


class ServiceList(Reply):
    """All services."""

    items: list[ServiceView]
