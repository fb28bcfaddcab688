"""What is shown of the objects, and the lists of them."""

from __future__ import annotations

from typing import Any

from p3s.engine.states import AttemptState, DatasetState, JobState, PilotState, PilotStatus, Reason, WorkflowState
from p3s.wire.base import Reply
from p3s.wire.bundle import BundleFile
from p3s.wire.pilots import Accepts


class WorkflowView(Reply):
    """A workflow; `counts` has the number of its jobs in each state, `archived` is since when it is in the archive.

    `sources`, filled by `show` only, says of its data that other DAGs make where it comes from.
    """

    uuid: str
    name: str
    owner: str
    state: WorkflowState
    dag: str | None = None
    version: int | None = None
    params: dict[str, str] = {}
    overrides: dict[str, Any] = {}
    counts: dict[str, int] = {}
    sources: dict[str, str] = {}
    jobs: int = 0
    key: str | None = None
    created: float
    started: float | None = None
    ended: float | None = None
    deadline: float | None = None
    message: str = ""
    archived: float | None = None


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
    hold: bool = False
    why: str = ""
    spec: dict[str, Any] = {}
    attempts: list[AttemptView] = []
    inputs: list[DatasetView] = []
    outputs: list[DatasetView] = []
    events: list[EventView] = []


class DatasetView(Reply):
    """A dataset; external ones have no workflow and no producer.

    `show` alone fills `origin` (which other DAG makes it), `source` (the workflow, by uuid, and dataset that it came
    from), `files` (what became of the file of a deleted one), `why`, `consumers` (jobs that read it), `waiting` (those
    of them that have not ended, with their states) and `attempts` (those of its producer).
    """

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
    version: int = 1
    comment: str = ""
    message: str = ""
    origin: str = ""
    source: str = ""
    files: str = ""
    why: str = ""
    consumers: list[str] = []
    waiting: list[str] = []
    attempts: list[AttemptView] = []


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
    services: dict[str, int] = {}


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


JobView.model_rebuild()
