"""Bodies of the calls that a pilot makes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from p3s.engine.names import MAX_LABEL
from p3s.engine.states import PilotStatus, Reason
from p3s.wire.base import Digest, Host, Label, Number, Reply, Request, Size, Title, Uuid, Version

#: Bytes of an attempt's stdout and stderr that the server keeps, each.
TAIL_BYTES = 64 * 1024


class Accepts(Request):
    """What a pilot takes; an empty list takes all."""

    users: list[str] = Field(default_factory=list)
    jobtypes: list[str] = Field(default_factory=list)


class RegisterBody(Request):
    """A pilot makes itself known; `uuid` is its own, a repeat answers a new secret for the same pilot."""

    uuid: Uuid
    name: Title = ""
    site: Label = "default"
    host: Host
    pid: Number
    version: Version
    slots: int = Field(ge=1, le=10_000)
    cpus: Number = Field(ge=1)
    memory: Size = 0
    labels: list[Label] = Field(default_factory=list)
    accepts: Accepts = Accepts()
    lifetime: float | None = Field(default=None, ge=0)
    data: str = ""


class RegisterReply(Reply):
    """The pilot's own secret, for the Authorization header of all its later calls, and its durations."""

    secret: str
    heartbeat: float
    lease: float
    poll: float
    patience: float


class Claim(Request):
    """Ask for up to `want` jobs. Numbers grow by one; a repeated number answers what it answered before.

    A `want` of 0 asks for just that answer. `cpus` and `memory` are what is free; a memory of None bounds nothing. Up
    to `ahead` of the jobs may be such as fit only after the others: the pilot lets them wait.
    """

    number: Number = Field(ge=1)
    want: int = Field(ge=0, le=10_000)
    cpus: Number = Field(ge=0)
    memory: Size | None = None
    ahead: int = Field(default=0, ge=0, le=10_000)


class OutputReport(Request):
    """One file that a payload made, under the attempt's own folder; `digest` names an uploaded result."""

    name: str
    path: str
    size: Size
    checksum: str = Field(default="", max_length=MAX_LABEL)
    digest: Digest | None = None


class AttemptReport(Request):
    """What became of an attempt. The token entitles the report, whichever pilot delivers it.

    `stdout` and `stderr` are the last `TAIL_BYTES` of what the payload printed, the sizes those of the whole.
    """

    attempt: Uuid
    token: str
    kind: Literal["started", "succeeded", "failed", "handed-back", "stopped"]
    reason: Reason | None = None
    message: str = Field(default="", max_length=4096)
    exit_code: Number | None = None
    signal: Number | None = None
    wall: float | None = Field(default=None, ge=0)
    cpu_time: float | None = Field(default=None, ge=0)
    peak_memory: Size | None = None
    stdout: bytes = Field(default=b"", max_length=TAIL_BYTES)
    stdout_size: Size = 0
    stderr: bytes = Field(default=b"", max_length=TAIL_BYTES)
    stderr_size: Size = 0
    outputs: list[OutputReport] = Field(default_factory=list)


class LogChunk(Request):
    """A piece of a running payload's output, sent while somebody watches; `offset` is in bytes of the file."""

    attempt: Uuid
    token: str
    stream: Literal["stdout", "stderr"]
    offset: Size
    data: bytes = Field(max_length=TAIL_BYTES)


class RemovalReport(Request):
    """What became of a `RemovalOrder`: the files are gone, or `message` says why not."""

    uuid: Uuid
    message: str = Field(default="", max_length=4096)


class ExchangeBody(Request):
    """The one call of a pilot: it reports, acknowledges and asks.

    Attributes
    ----------
    ack : int
        The number of the last claim whose answer arrived; what it brought stays with the pilot.
    claim : Claim or None
        A wish for jobs. It also ends the wait of an older call of this pilot that the server still holds.
    wait : float
        Seconds that the server may hold the call until there is something to say. A call with reports is
        answered at once.
    running : list of str or None
        All attempts that the pilot knows. Those that the server thinks are here and that are missing come back
        without cost. None says nothing.
    heard : list of str
        Attempts whose stop or watch order the pilot follows already, and removals that it carries out: these orders do
        not end a wait.
    removed : list of RemovalReport
        What became of orders to delete files.
    state : str
        ``leaving`` is the last call; what the pilot still had comes back without cost.
    """

    ack: Number = Field(default=0, ge=0)
    claim: Claim | None = None
    wait: float = Field(default=0, ge=0, le=300)
    reports: list[AttemptReport] = Field(default_factory=list, max_length=1000)
    logs: list[LogChunk] = Field(default_factory=list, max_length=1000)
    running: list[Uuid] | None = None
    heard: list[Uuid] = Field(default_factory=list)
    removed: list[RemovalReport] = Field(default_factory=list, max_length=1000)
    state: Literal["working", "draining", "leaving"] = "working"
    reason: str = Field(default="", max_length=1000)
    lifetime: float | None = Field(default=None, ge=0)


class LeftoversBody(Request):
    """Ask what became of attempts that dead pilots left folders of."""

    attempts: list[Uuid] = Field(max_length=1000)


class Leftover(Reply):
    """An attempt that is over for good: its sandbox may go and, if it was `rejected`, its outputs."""

    attempt: str
    workflow: str
    job_name: str
    rejected: bool


class LeftoversReply(Reply):
    """Those of the attempts that nothing can come of any more."""

    items: list[Leftover]


class BundleEntry(Reply):
    """A file to be unpacked into the sandbox; fetch its content by digest."""

    path: str
    digest: str
    executable: bool = False


class InputOrder(Reply):
    """One input file: the variable it belongs to and where it is."""

    name: str
    key: str
    place: str
    size: int | None = None
    checksum: str = ""
    collection: bool = False


class OutputOrder(Reply):
    """One output file: path inside the attempt's folder; `result` asks for its content on the server."""

    name: str
    key: str
    path: str
    result: bool = False
    publish: str | None = None


class JobOrder(Reply):
    """All that a pilot needs to run one attempt.

    `collections` names the inputs whose variable is a list, even an empty one; `missing` the dataset keys of
    partial inputs that did not come.
    """

    attempt: str
    number: int
    token: str
    job: str
    job_name: str
    workflow: str
    workflow_name: str
    owner: str
    jobtype: str
    run: str | None = None
    payload: str | None = None
    shell: str = "bash -eo pipefail"
    args: list[str] = Field(default_factory=list)
    env: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    params: dict[str, str] = Field(default_factory=dict)
    axes: dict[str, str] = Field(default_factory=dict)
    inputs: list[InputOrder] = Field(default_factory=list)
    collections: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    outputs: list[OutputOrder] = Field(default_factory=list)
    bundle: list[BundleEntry] = Field(default_factory=list)
    timelimit: float
    cpus: int = 1
    memory: int = 0
    exclusive: bool = False
    verify: bool = False


class Verdict(Reply):
    """What the server made of a report. ``superseded`` means: stop this attempt, drop what it made."""

    attempt: str
    kind: str
    verdict: Literal["accepted", "repeated", "superseded", "refused"]
    message: str = ""


class StopOrder(Reply):
    """An attempt that the pilot is to stop, and why."""

    attempt: str
    reason: str


class RemovalOrder(Reply):
    """A file that the pilot is to delete, below the folder `fence` (workflow, job and attempt) of its data.

    `published` is the name that shows it, too. What is not there is gone already.
    """

    uuid: str
    place: str
    fence: str
    published: str = ""


class ExchangeReply(Reply):
    """The answer to `ExchangeBody`; `number` is that of the claim answered, 0 if there was none."""

    status: PilotStatus
    number: int = 0
    jobs: list[JobOrder] = Field(default_factory=list)
    verdicts: list[Verdict] = Field(default_factory=list)
    stop: list[StopOrder] = Field(default_factory=list)
    watch: list[str] = Field(default_factory=list)
    removals: list[RemovalOrder] = Field(default_factory=list)
    heartbeat: float
    lease: float
    message: str = ""
