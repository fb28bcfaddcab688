"""Bodies that start work."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import WorkflowState
from p3s.wire.base import Line, Reply, Request, Uuid


class ExternalMember(Request):
    """One file or URL behind an external dataset, as the client saw it."""

    place: str = Field(min_length=1, max_length=4096)
    available: bool = False
    size: int | None = Field(default=None, ge=0)
    checksum: str = ""


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
    per owner and key for ever. `overrides` sets values of the DAG by path (``jobs.reduce.env.X``) for this workflow.
    per owner and key for ever. `age` is how long ago the data came that starts it: its deadline counts from there.
    """

    uuid: Uuid
    text: str | None = None
    file: str = "workflow.yaml"
    base: str = ""
    bundle: list[BundleFile] = []
    dag: str | None = None
    version: int | None = None
    params: dict[str, str] = {}
    overrides: dict[str, Any] = {}
    externals: dict[str, list[ExternalMember]] = {}
    site: Line = "default"
    key: str | None = Field(default=None, min_length=1, max_length=200)
    hold: bool = False
    adopt: Adopt | None = None
    age: float | None = Field(default=None, ge=0)


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
