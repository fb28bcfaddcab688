"""Bodies that start work."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from p3s.engine.names import MAX_LABEL, MAX_NAME
from p3s.engine.spec import StandaloneSpec
from p3s.engine.states import WorkflowState
from p3s.wire.base import Label, Number, Reply, Request, Size, Uuid
from p3s.wire.bundle import BundleFile


class ExternalMember(Request):
    """One file or URL behind an external dataset, as the client saw it."""

    place: str = Field(min_length=1, max_length=4096)
    available: bool = False
    size: Size | None = None
    checksum: str = Field(default="", max_length=MAX_LABEL)


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
    `age` is how long ago the data came that starts it: its deadline counts from there.
    """

    uuid: Uuid
    text: str | None = None
    file: str = Field(default="workflow.yaml", max_length=4096)
    base: str = Field(default="", max_length=4096)
    bundle: list[BundleFile] = Field(default_factory=list)
    dag: str | None = Field(default=None, max_length=MAX_NAME)
    version: Number | None = None
    params: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(default_factory=dict)
    externals: dict[str, list[ExternalMember]] = Field(default_factory=dict)
    site: Label = "default"
    key: str | None = Field(default=None, min_length=1, max_length=MAX_NAME)
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
    adopted: list[str] = Field(default_factory=list)
    again: dict[str, str] = Field(default_factory=dict)


class StandaloneJob(Request):
    """One standalone job; it becomes a workflow of one node with the same uuid for both."""

    uuid: Uuid
    spec: StandaloneSpec
    bundle: list[BundleFile] = Field(default_factory=list)
    hold: bool = False


class CreateJobsBody(Request):
    """Standalone jobs, all or none."""

    jobs: list[StandaloneJob] = Field(min_length=1, max_length=1000)


class CreateJobsReply(Reply):
    """The uuids, in the order of the request."""

    uuids: list[str]
