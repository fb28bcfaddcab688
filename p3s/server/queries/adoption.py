"""What an earlier workflow finished, described so that it can be compared with a new one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import DatasetState, JobState
from p3s.server.models import bundle, dataset, job, job_input, job_spec, origin

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE = dataset.alias("source")

__all__ = ["Heritage", "describe", "read_heritage", "read_places"]


@dataclass(frozen=True, slots=True)
class Heritage:
    """The finished jobs of a workflow.

    Attributes
    ----------
    uuid, workflow_id : str, int
        Of the workflow.
    jobs : dict of str to str
        A digest of each finished job's description.
    made : dict of str to row
        By key: place, size, checksum and digest of what they made.
    """

    uuid: str
    workflow_id: int
    jobs: dict[str, str]
    made: dict[str, Any]


def describe(body: Mapping[str, Any], params: Mapping[str, str], places: Mapping[str, str], files: str) -> str:
    """Return a digest of all that a job's outcome depends on, but for what its predecessors make."""
    whole = json.dumps([body, dict(params), dict(places), files], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def read_places(connection: sa.Connection, workflow_id: int) -> dict[str, dict[str, str]]:
    """Return, by job and key, which data from outside the jobs of a workflow read: the uuid of that very version."""
    rows = connection.execute(
        sa.select(job.c.name, job_input.c.key, sa.func.coalesce(_SOURCE.c.uuid, dataset.c.uuid).label("uuid"))
        .join(job, job.c.id == job_input.c.job_id)
        .join(dataset, dataset.c.id == job_input.c.dataset_id)
        .outerjoin(origin, origin.c.dataset_id == dataset.c.id)
        .outerjoin(_SOURCE, _SOURCE.c.id == origin.c.source_id)
        .where(
            job.c.workflow_id == workflow_id,
            dataset.c.producer_id.is_(None),
        )
    )
    places: dict[str, dict[str, str]] = {}
    for row in rows:
        places.setdefault(row.name, {})[row.key] = row.uuid
    return places


def read_heritage(connection: sa.Connection, row: Any) -> Heritage:
    """Return what a workflow finished; `row` is of ``workflow``."""
    places = read_places(connection, row.id)
    files = connection.scalar(sa.select(bundle.c.digest).where(bundle.c.id == row.bundle_id)) or ""
    finished = connection.execute(
        sa.select(job.c.id, job.c.name, job_spec.c.body)
        .join(job_spec, job_spec.c.job_id == job.c.id)
        .where(job.c.workflow_id == row.id, job.c.state == JobState.FINISHED)
    )
    made = connection.execute(
        sa.select(dataset).where(
            dataset.c.workflow_id == row.id,
            dataset.c.producer_id.is_not(None),
            dataset.c.state == DatasetState.AVAILABLE,
        )
    )
    return Heritage(
        uuid=row.uuid,
        workflow_id=row.id,
        jobs={entry.name: describe(entry.body, row.params, places.get(entry.name, {}), files) for entry in finished},
        made={entry.key: entry for entry in made},
    )
