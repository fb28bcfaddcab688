"""What must hold in any database at rest, whatever a test did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.states import FINAL_JOB, FINAL_WORKFLOW
from p3s.server.models import attempt, dataset, event, job, job_input, job_need, jobtype, origin, ripple, workflow
from p3s.server.transitions.bindings import find_newest

if TYPE_CHECKING:
    from p3s.server.db import Database


def check_invariants(db: Database) -> None:
    """Raise AssertionError for the first invariant that does not hold."""
    with db.read() as connection:
        _check_one_success(connection)
        _check_order(connection)
        _check_counters(connection)
        _check_accepted_places(connection)
        _check_caps(connection)
        _check_origins(connection)


def _check_caps(connection: sa.Connection) -> None:
    """The counter of a capped jobtype is the number of its open attempts that stand in it."""
    opened = sa.and_(attempt.c.counted.is_(True), attempt.c.state.in_(("dispatched", "running", "stopping")))
    for row in connection.execute(sa.select(jobtype)).all():
        counted = sa.select(sa.func.count()).select_from(attempt).join(job, job.c.id == attempt.c.job_id)
        found = connection.scalar(counted.where(opened, job.c.jobtype == row.name))
        assert row.open == found, f"jobtype {row.name} counts {row.open} open attempts, there are {found}"
    closed = sa.select(attempt.c.uuid).where(attempt.c.counted.is_(True), sa.not_(opened))
    assert not connection.scalars(closed).all(), "an attempt that ended stands in a counter"


def _check_origins(connection: sa.Connection) -> None:
    """Data that another DAG makes is bound if a workflow that matches was started, and is what its source is."""
    source = dataset.alias("source")
    pending = sa.select(ripple.c.id).limit(1)
    if connection.scalar(pending) is not None:
        return
    rows = connection.execute(
        sa.select(origin, dataset.c.state, dataset.c.place, source.c.state.label("now"), source.c.place.label("where"))
        .join(dataset, dataset.c.id == origin.c.dataset_id)
        .outerjoin(source, source.c.id == origin.c.source_id)
    ).all()
    for row in rows:
        if row.waiting:
            found = find_newest(connection, row.owner, row.dag, row.match)
            assert found is None, f"{row.key} waits for {row.dag}, and workflow {found.uuid} was started"
            assert row.state in {"expected", "failed"}, f"{row.key} is {row.state} and comes from nowhere"
        elif row.now is not None:
            state = "failed" if row.now == "deleted" else row.now
            assert row.state == state, f"{row.key} is {row.state}, its source {row.now}"
            assert row.state != "available" or row.place == row.where, f"{row.key} is at {row.place}, not {row.where}"


def _check_one_success(connection: sa.Connection) -> None:
    """No job has two accepted attempts, nor an accepted one without being finished."""
    succeeded = sa.select(attempt.c.job_id, sa.func.count().label("number")).where(attempt.c.state == "succeeded")
    rows = connection.execute(succeeded.group_by(attempt.c.job_id)).all()
    assert all(row.number == 1 for row in rows), f"accepted twice: {rows}"
    finished = set(connection.scalars(sa.select(job.c.id).where(job.c.state == "finished")))
    assert {row.job_id for row in rows} <= finished, "accepted attempts of jobs that are not finished"
    opened = ("dispatched", "running", "stopping")
    current = sa.select(attempt.c.job_id).where(attempt.c.state.in_(opened[:2]))
    counts = connection.execute(
        sa.select(attempt.c.job_id, sa.func.count().label("number"))
        .where(attempt.c.job_id.in_(current), attempt.c.state.in_(opened[:2]))
        .group_by(attempt.c.job_id)
    ).all()
    assert all(row.number == 1 for row in counts), f"two open attempts of one job: {counts}"


def _check_order(connection: sa.Connection) -> None:
    """No job was released before all its predecessors were done.

    Times cannot tell: that of a transaction is when it began, and it may then have waited for another. Its events are
    numbered at its end, when it holds the rows that it changed.
    """
    parent = job.alias("parent")
    released = _find_last(event.c.signal == "release", "released")
    ended = _find_last(event.c.after == "finished", "ended")
    early = connection.execute(
        sa.select(job.c.name, parent.c.name.label("parent"))
        .join(job_need, job_need.c.job_id == job.c.id)
        .join(parent, parent.c.id == job_need.c.parent_id)
        .outerjoin(released, released.c.uuid == job.c.uuid)
        .outerjoin(ended, ended.c.uuid == parent.c.uuid)
        .where(
            job.c.released.is_not(None),
            # An edge that bears with any end may lead from a parent that was retried afterwards.
            job_need.c.done.is_(False),
            sa.or_(parent.c.state != "finished", ended.c.id > released.c.id),
        )
    ).all()
    assert not early, f"released before a parent was done: {early}"
    early = connection.execute(
        sa.select(job.c.name, dataset.c.key)
        .join(job_input, job_input.c.job_id == job.c.id)
        .join(dataset, dataset.c.id == job_input.c.dataset_id)
        .outerjoin(parent, parent.c.id == dataset.c.producer_id)
        .outerjoin(released, released.c.uuid == job.c.uuid)
        .outerjoin(ended, ended.c.uuid == parent.c.uuid)
        .where(
            job.c.released.is_not(None),
            job_input.c.partial.is_(False),
            sa.or_(dataset.c.state != "available", ended.c.id > released.c.id),
            # What nobody needed any more may have been deleted since.
            ~sa.and_(job.c.state.in_(sorted(FINAL_JOB)), sa.or_(dataset.c.message != "", parent.c.id.is_(None))),
        )
    ).all()
    assert not early, f"released before an input was there: {early}"


def _find_last(which: sa.ColumnElement[bool], name: str) -> sa.Subquery:
    """Return the number of the last such event of each job."""
    found = sa.select(event.c.uuid, sa.func.max(event.c.id).label("id")).where(event.c.noun == "job", which)
    return found.group_by(event.c.uuid).subquery(name)


def _check_counters(connection: sa.Connection) -> None:
    """Workflow counters and states say what the jobs' rows say; nobody that misses nothing waits for ever."""
    rows = connection.execute(
        sa.select(
            workflow.c.uuid,
            workflow.c.state,
            workflow.c.remaining,
            sa.func.count(job.c.id).filter(job.c.state.not_in(sorted(FINAL_JOB))).label("open"),
        )
        .join(job, job.c.workflow_id == workflow.c.id)
        .where(workflow.c.state != "loading")
        .group_by(workflow.c.id, workflow.c.uuid, workflow.c.state, workflow.c.remaining)
    ).all()
    for row in rows:
        assert row.remaining == row.open, f"workflow {row.uuid} counts {row.remaining} open jobs, there are {row.open}"
        assert (row.state in FINAL_WORKFLOW) == (row.open == 0), (
            f"workflow {row.uuid} is {row.state} with {row.open} open"
        )
    negative = connection.scalars(sa.select(job.c.name).where(job.c.missing < 0)).all()
    assert not negative, f"counters below zero: {negative}"


def _check_accepted_places(connection: sa.Connection) -> None:
    """Every produced dataset that is available lies in the folder of the accepted attempt."""
    rows = connection.execute(
        sa.select(dataset.c.key, dataset.c.place, attempt.c.uuid)
        .join(attempt, sa.and_(attempt.c.job_id == dataset.c.producer_id, attempt.c.state == "succeeded"))
        .where(dataset.c.state == "available")
    ).all()
    for row in rows:
        assert f"/{row.uuid}/" in row.place, f"dataset {row.key} at {row.place} is not of attempt {row.uuid}"
