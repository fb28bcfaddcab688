"""Every request and reply body, once, shared by server, client and pilot.

Requests refuse unknown fields, so a misspelt one is told. Replies ignore them, so an older client or pilot works
with a newer server. Times are seconds since 1970-01-01 UTC by the server's clock; durations are seconds; sizes
are bytes; ids are uuids as text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import (
    AttemptState,
    DatasetState,
    JobState,
    PilotState,
    PilotStatus,
    Reason,
    WorkflowState,
)

#: A uuid in its canonical text form, made by whoever submits.
Uuid = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
#: A SHA-256 as 64 hexadecimal characters.
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

#: Bytes of an attempt's stdout and stderr that the server keeps, each.
TAIL_BYTES = 64 * 1024


class Request(BaseModel):
    """A body that a client sends; bytes travel as base64."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Reply(BaseModel):
    """A body that the server answers."""

    model_config = ConfigDict(extra="ignore")


# Errors ---------------------------------------------------------------------------------------------------------


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


# Loading --------------------------------------------------------------------------------------------------------


class ExternalMember(Request):
    """One file or URL behind an external dataset, as the client saw it."""

    place: str = Field(min_length=1, max_length=4096)
    available: bool = False
    size: int | None = Field(default=None, ge=0)


class BundleFile(Request):
    """A small file that travels with the DAG; `path` is relative to the YAML."""

    path: str = Field(min_length=1, max_length=1024)
    data: bytes
    executable: bool = False


class Adopt(Request):
    """Take over what an earlier workflow of the same owner finished.

    Without `below`, jobs whose description, parameters and files are unchanged and whose predecessors are taken
    over; with it, all finished jobs that neither are this one nor depend on it.
    """

    workflow: str
    below: str | None = None


class LoadBody(Request):
    """Start a workflow: of a new text with its bundle, or of a stored DAG.

    `uuid` is made by the client: the same body sent twice starts one workflow. `key` starts at most one workflow
    per owner and key for ever.
    """

    uuid: Uuid
    text: str | None = None
    file: str = "workflow.yaml"
    base: str = ""
    bundle: list[BundleFile] = []
    dag: str | None = None
    version: int | None = None
    params: dict[str, str] = {}
    externals: dict[str, list[ExternalMember]] = {}
    site: str = "default"
    key: str | None = Field(default=None, min_length=1, max_length=200)
    hold: bool = False
    adopt: Adopt | None = None


class LoadReply(Reply):
    """What a load made; `created` is false for a repeat, or where the key was used before.

    `adopted` names the jobs taken over, `again` the others with the reason why they run again.
    """

    uuid: str
    name: str
    dag: str | None
    version: int | None
    state: WorkflowState
    jobs: int
    datasets: int
    created: bool
    adopted: list[str] = []
    again: dict[str, str] = {}


class StandaloneJob(Request):
    """One standalone job; it becomes a workflow of one node with the same uuid for both."""

    uuid: Uuid
    spec: StandaloneSpec
    bundle: list[BundleFile] = []
    hold: bool = False


class CreateJobsBody(Request):
    """Standalone jobs, all or none."""

    jobs: list[StandaloneJob] = Field(min_length=1, max_length=1000)


class CreateJobsReply(Reply):
    """The uuids, in the order of the request."""

    uuids: list[str]


# The pilot's calls ----------------------------------------------------------------------------------------------


class Accepts(Request):
    """What a pilot takes; an empty list takes all."""

    users: list[str] = []
    jobtypes: list[str] = []


class RegisterBody(Request):
    """A pilot makes itself known; `uuid` is its own, a repeat answers a new secret for the same pilot."""

    uuid: Uuid
    name: str = ""
    site: str = "default"
    host: str
    pid: int
    version: str
    slots: int = Field(ge=1, le=10_000)
    cpus: int = Field(ge=1)
    memory: int = Field(default=0, ge=0)
    labels: list[str] = []
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

    `cpus` and `memory` are what is free; a memory of None bounds nothing.
    """

    number: int = Field(ge=1)
    want: int = Field(ge=1, le=10_000)
    cpus: int = Field(ge=0)
    memory: int | None = Field(default=None, ge=0)


class OutputReport(Request):
    """One file that a payload made, under the attempt's own folder; `digest` names an uploaded result."""

    name: str
    path: str
    size: int = Field(ge=0)
    checksum: str = ""
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
    exit_code: int | None = None
    signal: int | None = None
    wall: float | None = Field(default=None, ge=0)
    cpu_time: float | None = Field(default=None, ge=0)
    peak_memory: int | None = Field(default=None, ge=0)
    stdout: bytes = Field(default=b"", max_length=TAIL_BYTES)
    stdout_size: int = Field(default=0, ge=0)
    stderr: bytes = Field(default=b"", max_length=TAIL_BYTES)
    stderr_size: int = Field(default=0, ge=0)
    outputs: list[OutputReport] = []


class LogChunk(Request):
    """A piece of a running payload's output, sent while somebody watches; `offset` is in bytes of the file."""

    attempt: Uuid
    token: str
    stream: Literal["stdout", "stderr"]
    offset: int = Field(ge=0)
    data: bytes = Field(max_length=TAIL_BYTES)


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
        Attempts whose stop or watch order the pilot follows already: these orders do not end a wait.
    state : str
        ``leaving`` is the last call; what the pilot still had comes back without cost.
    """

    ack: int = Field(default=0, ge=0)
    claim: Claim | None = None
    wait: float = Field(default=0, ge=0, le=300)
    reports: list[AttemptReport] = Field(default=[], max_length=1000)
    logs: list[LogChunk] = Field(default=[], max_length=1000)
    running: list[Uuid] | None = None
    heard: list[Uuid] = []
    state: Literal["working", "draining", "leaving"] = "working"
    reason: str = Field(default="", max_length=1000)
    lifetime: float | None = Field(default=None, ge=0)


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
    args: list[str] = []
    env: dict[str, str | dict[str, str]] = {}
    params: dict[str, str] = {}
    axes: dict[str, str] = {}
    inputs: list[InputOrder] = []
    collections: list[str] = []
    missing: list[str] = []
    outputs: list[OutputOrder] = []
    bundle: list[BundleEntry] = []
    timelimit: float
    cpus: int = 1
    memory: int = 0
    exclusive: bool = False


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


class ExchangeReply(Reply):
    """The answer to `ExchangeBody`; `number` is that of the claim answered, 0 if there was none."""

    status: PilotStatus
    number: int = 0
    jobs: list[JobOrder] = []
    verdicts: list[Verdict] = []
    stop: list[StopOrder] = []
    watch: list[str] = []
    heartbeat: float
    lease: float
    message: str = ""


# Views ----------------------------------------------------------------------------------------------------------


class WorkflowView(Reply):
    """A workflow; `counts` has the number of its jobs in each state."""

    uuid: str
    name: str
    owner: str
    state: WorkflowState
    dag: str | None = None
    version: int | None = None
    params: dict[str, str] = {}
    counts: dict[str, int] = {}
    jobs: int = 0
    key: str | None = None
    created: float
    started: float | None = None
    ended: float | None = None
    deadline: float | None = None
    message: str = ""


class AttemptView(Reply):
    """One execution of a job."""

    uuid: str
    number: int
    state: AttemptState
    reason: Reason | None = None
    message: str = ""
    pilot: str
    host: str
    created: float
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    cpu_time: float | None = None
    peak_memory: int | None = None


class EventView(Reply):
    """One line of an object's story."""

    at: float
    noun: str
    uuid: str
    signal: str
    before: str = ""
    after: str = ""
    cause: str = ""


class JobView(Reply):
    """A job; `attempts`, `inputs`, `events` and the rest below them are filled by `show` only."""

    uuid: str
    name: str
    owner: str
    workflow: str
    workflow_name: str
    state: JobState
    reason: Reason | None = None
    jobtype: str
    priority: int
    timelimit: float
    created: float
    started: float | None = None
    ended: float | None = None
    attempt: int = 0
    why: str = ""
    spec: dict[str, Any] = {}
    attempts: list[AttemptView] = []
    inputs: list[DatasetView] = []
    outputs: list[DatasetView] = []
    events: list[EventView] = []


class DatasetView(Reply):
    """A dataset; external ones have no workflow and no producer."""

    uuid: str
    key: str
    state: DatasetState
    place: str | None = None
    size: int | None = None
    checksum: str = ""
    datatype: str = ""
    site: str = ""
    workflow: str | None = None
    producer: str | None = None
    created: float
    consumers: list[str] = []


class ResultView(Reply):
    """A file that ``results`` names: where it lies, and its content's digest on the server."""

    key: str
    job: str
    place: str
    size: int
    digest: str | None = None


class PilotView(Reply):
    """A pilot; `age` is the seconds since it was last heard."""

    uuid: str
    name: str
    site: str
    host: str
    pid: int
    version: str
    state: PilotState
    status: PilotStatus
    slots: int
    busy: int
    cpus: int
    memory: int
    labels: list[str]
    accepts: Accepts
    lifetime: float | None = None
    age: float
    created: float
    done: int
    failed: int
    reason: str = ""


class DagView(Reply):
    """A stored DAG; `text` is filled by `show` only."""

    name: str
    owner: str
    version: int
    digest: str
    created: float
    base: str = ""
    file: str = ""
    text: str = ""
    files: list[str] = []
    workflows: int = 0


class LogView(Reply):
    """A piece of an attempt's output; `offset` is the byte where it starts, ask on from `next`."""

    attempt: str
    number: int
    stream: str
    offset: int
    next: int
    text: str
    final: bool


class WhyReply(Reply):
    """One sentence that answers why a thing is where it is."""

    noun: str
    uuid: str
    state: str
    sentence: str


class StatusReply(Reply):
    """Counts by state for each kind of object, and the server's own facts."""

    version: str
    database: str
    uptime: float
    paused_by: str | None = None
    alarms: list[str] = []
    jobs: dict[str, int]
    workflows: dict[str, int]
    pilots: dict[str, int]
    datasets: dict[str, int]


class WhoReply(Reply):
    """Who the token says you are."""

    name: str
    role: str


class WorkflowList(Reply):
    """A page of workflows; `next` asks for the page after it."""

    items: list[WorkflowView]
    next: str | None = None


class JobList(Reply):
    """A page of jobs."""

    items: list[JobView]
    next: str | None = None


class DatasetList(Reply):
    """A page of datasets."""

    items: list[DatasetView]
    next: str | None = None


class PilotList(Reply):
    """A page of pilots."""

    items: list[PilotView]
    next: str | None = None


class DagList(Reply):
    """A page of DAGs, newest version of each."""

    items: list[DagView]
    next: str | None = None


class ResultList(Reply):
    """The results of one workflow."""

    items: list[ResultView]


class RegisterDatasetBody(Request):
    """Say that data is there; the same place again answers the same dataset."""

    place: str = Field(min_length=1, max_length=4096)
    site: str = "default"
    datatype: str = ""
    size: int | None = Field(default=None, ge=0)
    checksum: str = ""
    comment: str = ""


class CancelReply(Reply):
    """What a cancel did: jobs ended, and attempts told to stop."""

    uuid: str
    state: str
    jobs: int
    stopping: int


class GraphEdge(Reply):
    """An edge of a workflow's graph; each end is ``job:NAME`` or ``dataset:KEY``."""

    source: str
    target: str
    partial: bool = False


class GraphView(Reply):
    """A workflow's jobs, datasets and the edges between them."""

    jobs: list[JobView]
    datasets: list[DatasetView]
    edges: list[GraphEdge]


class BundleList(Reply):
    """The small files that travel with a DAG."""

    items: list[BundleFile]


class HostView(Reply):
    """A machine that pilots run on; `burnt` counts the jobs that could not be run there in a row."""

    name: str
    banned: bool
    reason: str = ""
    burnt: int = 0
    pilots: int = 0


class HostList(Reply):
    """All hosts with live pilots, and those that are banned."""

    items: list[HostView]


class BanBody(Request):
    """Why a host gets no more jobs."""

    reason: str = Field(default="", max_length=1000)


class RetryReply(Reply):
    """What a retry did: jobs that run again, and finished ones that were kept."""

    uuid: str
    state: str
    jobs: int
    kept: int


class EmptyBody(Request):
    """No fields."""


JobView.model_rebuild()
