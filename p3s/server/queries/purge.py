"""What a purge finds: candidates of each kind, how many there are, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from p3s.engine.fates import SETTLED
from p3s.engine.purging import PurgeKind
from p3s.engine.states import FINAL_WORKFLOW, PilotState, WorkflowState
from p3s.server.models import (
    archive,
    archive_blob,
    arrival,
    attempt,
    blob,
    bundle_file,
    dataset,
    event,
    job,
    job_input,
    job_spec,
    origin,
    pilot,
    workflow,
)

__all__ = ["Choice", "count_chosen", "find_workflows", "is_left_behind", "select_chosen"]

#: A content is kept for a day, whatever is asked for: a pilot may have sent it for a result that it reports later.
GRACE = 86400.0
#: Workflows that an estimate of sizes looks at.
SAMPLE = 50
#: States of pilots that are not heard any more.
GONE = (PilotState.STOPPED, PilotState.TIMEOUT)
#: Bytes that the rows of an event, a pilot and a file seen take, about.
_ROW = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of a kind.

    Attributes
    ----------
    before : float
        What ended, or was made, before this moment.
    state, owner, name : str or None
        Only those.
    """

    before: float
    state: str | None = None
    owner: str | None = None
    name: str | None = None


def select_chosen(kind: PurgeKind, choice: Choice) -> sa.Select[Any]:
    """Return a look at the ids of what is chosen; events are chosen by `is_left_behind` instead."""
    match kind:
        case PurgeKind.WORKFLOWS | PurgeKind.JOBS:
            alone = sa.exists().where(job.c.uuid == workflow.c.uuid)
            return (
                sa.select(workflow.c.id)
                .where(
                    workflow.c.ended < choice.before,
                    workflow.c.state.in_(sorted(FINAL_WORKFLOW)),
                    alone if kind is PurgeKind.JOBS else sa.and_(~alone, ~_is_source()),
                    *_filter(workflow, choice),
                )
                .order_by(workflow.c.ended, workflow.c.id)
            )
        case PurgeKind.PILOTS:
            last = sa.exists().where(attempt.c.pilot_id == pilot.c.id)
            states = [choice.state] if choice.state else GONE
            return sa.select(pilot.c.id).where(
                pilot.c.state.in_(states), pilot.c.state.in_(GONE), pilot.c.seen < choice.before, ~last
            )
        case PurgeKind.DATASETS:
            return _select_datasets(choice)
        case PurgeKind.ARRIVALS:
            return sa.select(arrival.c.id).where(arrival.c.fate.in_(sorted(SETTLED)), arrival.c.decided < choice.before)
        case PurgeKind.BLOBS:
            users = (
                sa.exists().where(table.c.digest == blob.c.digest) for table in (dataset, bundle_file, archive_blob)
            )
            return sa.select(blob.c.digest).where(blob.c.created < choice.before, ~sa.or_(*users))
        case PurgeKind.ARCHIVE:
            return (
                sa.select(archive.c.id)
                .where(archive.c.archived < choice.before, archive.c.moved == archive.c.jobs, *_filter(archive, choice))
                .order_by(archive.c.archived)
            )
        case PurgeKind.EVENTS:
            return sa.select(event.c.id).where(event.c.at < choice.before, is_left_behind())


def _select_datasets(choice: Choice) -> sa.Select[Any]:
    """Return a look at data from outside that nobody reads; all versions of a place go, or none."""
    other = dataset.alias("other")
    same = sa.and_(other.c.place == dataset.c.place, other.c.site == dataset.c.site, other.c.workflow_id.is_(None))
    kept = sa.or_(other.c.created >= choice.before, sa.exists().where(job_input.c.dataset_id == other.c.id))
    statement = sa.select(dataset.c.id).where(
        dataset.c.workflow_id.is_(None),
        dataset.c.created < choice.before,
        ~sa.exists().where(same, kept),
        # One that is being loaded may have found its data, and not written down yet who reads it.
        ~sa.exists().where(workflow.c.state == WorkflowState.LOADING),
    )
    return statement.where(dataset.c.state == choice.state) if choice.state else statement


def _is_source() -> sa.ColumnElement[bool]:
    """Return the condition on workflows that the next reader of their DAG's data would be bound to."""
    newer = workflow.alias("newer")
    same = sa.and_(newer.c.owner == workflow.c.owner, newer.c.name == workflow.c.name, newer.c.id > workflow.c.id)
    read = sa.select(origin.c.owner, origin.c.dag).distinct()
    finished = newer.c.state == WorkflowState.FINISHED
    return sa.and_(
        workflow.c.state == WorkflowState.FINISHED,
        sa.tuple_(workflow.c.owner, workflow.c.name).in_(read),
        ~sa.exists().where(same, finished),
    )


def is_left_behind() -> sa.ColumnElement[bool]:
    """Return the condition on events that tell of nothing that is still in the tables of work."""
    there = (sa.exists().where(table.c.uuid == event.c.uuid) for table in (workflow, job, attempt, dataset, pilot))
    return ~sa.or_(*there)


def find_workflows(connection: sa.Connection, kind: PurgeKind, choice: Choice, *, skip: int, limit: int) -> list[int]:
    """Return ids of workflows to archive, the longest ended first, after the `skip` first ones."""
    return list(connection.scalars(select_chosen(kind, choice).offset(skip).limit(limit)))


def count_chosen(connection: sa.Connection, kind: PurgeKind, choice: Choice) -> tuple[int, int, int, bool]:
    """Return how many are chosen, how many jobs they have, how many bytes, and whether that is an estimate."""
    chosen = select_chosen(kind, choice).order_by(None)
    if kind in {PurgeKind.WORKFLOWS, PurgeKind.JOBS}:
        inner = chosen.subquery()
        row = connection.execute(
            sa.select(sa.func.count().label("number"), sa.func.coalesce(sa.func.sum(workflow.c.jobs), 0).label("jobs"))
            .select_from(workflow)
            .join(inner, inner.c.id == workflow.c.id)
        ).one()
        return row.number, row.jobs, _estimate(connection, kind, choice, row.jobs), True
    if kind in {PurgeKind.BLOBS, PurgeKind.ARCHIVE}:
        table, key = (blob, blob.c.digest) if kind is PurgeKind.BLOBS else (archive, archive.c.id)
        jobs = sa.literal(0) if kind is PurgeKind.BLOBS else sa.func.coalesce(sa.func.sum(archive.c.jobs), 0)
        row = connection.execute(
            sa.select(
                sa.func.count().label("number"),
                sa.func.coalesce(sa.func.sum(table.c.size), 0).label("size"),
                jobs.label("jobs"),
            ).where(key.in_(chosen))
        ).one()
        return row.number, row.jobs, int(row.size), False
    number = connection.scalar(sa.select(sa.func.count()).select_from(chosen.subquery())) or 0
    return number, 0, number * _ROW, True


def _estimate(connection: sa.Connection, kind: PurgeKind, choice: Choice, jobs: int) -> int:
    """Return about how many bytes the rows of jobs take, from the descriptions and the events of some."""
    sample = find_workflows(connection, kind, choice, skip=0, limit=SAMPLE)
    mine = sa.select(job.c.id, job.c.uuid).where(job.c.workflow_id.in_(sample)).limit(100 * SAMPLE).subquery()
    seen = connection.scalar(sa.select(sa.func.count()).select_from(mine)) or 0
    if not seen:
        return 0
    bodies = connection.scalar(
        sa.select(sa.func.sum(sa.func.length(sa.cast(job_spec.c.body, sa.Text)))).join(
            mine, mine.c.id == job_spec.c.job_id
        )
    )
    events = connection.scalar(sa.select(sa.func.count()).select_from(event).join(mine, mine.c.uuid == event.c.uuid))
    rows = seen * 3 + (events or 0)
    return int(jobs * ((bodies or 0) + rows * _ROW) / seen)


def _filter(table: sa.Table, choice: Choice) -> list[sa.ColumnElement[bool]]:
    wanted = (("state", choice.state), ("owner", choice.owner), ("name", choice.name))
    return [table.c[name] == value for name, value in wanted if value]
