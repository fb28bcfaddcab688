"""Loading texts into the server's code, and looking at what became of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.spec import StandaloneSpec
from p3s.server.models import job, workflow
from p3s.server.queries.find import find_row
from p3s.server.usecases.load import load_workflow
from p3s.server.usecases.standalone import create_jobs
from p3s.wire import CreateJobsBody, LoadBody, LoadReply, StandaloneJob

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

DIAMOND = """\
name: diamond
datasets:
  raw: {path: /data/raw.csv}
jobs:
  reduce: {inputs: [raw], outputs: {hits: hits.csv}, run: cp "$raw" "$hits"}
  left: {inputs: [hits], outputs: {a: a.csv}, run: cp "$hits" "$a"}
  right: {inputs: [hits], outputs: {b: b.csv}, run: cp "$hits" "$b"}
  join: {inputs: [a, b], outputs: {whole: whole.csv}, run: cat "$a" "$b" > "$whole"}
"""


def load_text(core: Core, text: str, owner: str = "ann", **fields: Any) -> LoadReply:
    """Load a workflow; external files are there unless `externals` says otherwise."""
    body = LoadBody(uuid=fields.pop("uuid", None) or str(uuid.uuid4()), text=text, **fields)
    return load_workflow(core, body, owner)


def make_job(core: Core, owner: str = "ann", **spec: Any) -> str:
    """Create one standalone job and return its uuid."""
    ident = str(uuid.uuid4())
    hold = spec.pop("hold", False)
    entry = StandaloneJob(uuid=ident, spec=StandaloneSpec.model_validate({"run": "true"} | spec), hold=hold)
    create_jobs(core, CreateJobsBody(jobs=[entry]), owner)
    return ident


def read_states(core: Core, workflow_uuid: str) -> dict[str, str]:
    """Return the state of each job of a workflow by name."""
    statement = sa.select(job.c.name, job.c.state).join(workflow).where(workflow.c.uuid == workflow_uuid)
    with core.db.read() as connection:
        return {row.name: row.state for row in connection.execute(statement)}


def read_workflow_state(core: Core, workflow_uuid: str) -> str:
    """Return the state of a workflow."""
    with core.db.read() as connection:
        return str(connection.scalar(sa.select(workflow.c.state).where(workflow.c.uuid == workflow_uuid)))


def find(core: Core, noun: str, ident: str) -> Any:
    """Return the row that an id names."""
    with core.db.read() as connection:
        return find_row(connection, noun, ident)
