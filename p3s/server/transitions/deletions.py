"""Who deletes data: refused while jobs need it; by force those are skipped first, and then it has failed.

The consumers end before the data does, so no job is ever released without what it needs (promise 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import FINAL_JOB, DatasetState, JobState, Signal, WorkflowState
from p3s.errors import Conflict
from p3s.server.db import lock_rows
from p3s.server.models import dataset, job, job_input, origin, workflow
from p3s.server.queries.origins import is_read
from p3s.server.transitions.spread import skip_jobs, spread_datasets, spread_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["check_consumers", "delete_dataset", "find_foreign_reader", "skip_consumers"]

#: Consumers that one transaction skips.
STEP = 250
_OUT = (JobState.DISPATCHED, JobState.RUNNING)


def find_foreign_reader(connection: sa.Connection, workflows: Sequence[int]) -> Any:
    """Return a job of another workflow that has not ended and reads what these workflows make, if there is one."""
    return connection.execute(
        _select_consumers()
        .join(origin, origin.c.dataset_id == job_input.c.dataset_id)
        .join(dataset, dataset.c.id == origin.c.source_id)
        .where(dataset.c.workflow_id.in_(workflows))
        .limit(1)
    ).one_or_none()


def check_consumers(connection: sa.Connection, row: Any, *, force: bool, owner: str | None) -> None:
    """Check that a dataset may be deleted; `row` is of ``dataset``.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    row : row
        The dataset.
    force : bool
        Whether jobs that wait for it may be skipped.
    owner : str or None
        Whose jobs may be skipped; None for all.

    Raises
    ------
    Conflict
        If jobs need it that may not be skipped.
    """
    mine = _select_consumers().where(is_read(row.id))
    running = connection.execute(mine.where(job.c.state.in_(_OUT)).limit(1)).one_or_none()
    if running is not None:
        raise Conflict(f"{_name(running)} is {running.state} and reads it; cancel that job first, or wait for its end")
    loading = connection.execute(mine.where(workflow.c.state == WorkflowState.LOADING).limit(1)).one_or_none()
    if loading is not None:
        raise Conflict(f"workflow {loading.workflow[:8]}, which reads it, is being loaded; try again when that is done")
    others = connection.execute(mine.where(workflow.c.owner != owner).limit(1)).one_or_none() if owner else None
    if force and others is not None:
        raise Conflict(f"{_name(others)} of {others.owner} waits for it; only {others.owner} or an admin may skip that")
    waiting = connection.execute(mine.limit(1)).one_or_none()
    if waiting is not None and not force:
        number = connection.scalar(sa.select(sa.func.count()).select_from(mine.subquery()))
        more = f" and {(number or 1) - 1} more" if (number or 1) > 1 else ""
        raise Conflict(f"{_name(waiting)}{more} needs it; `--force` fails it and skips what needs it")
    if row.state == DatasetState.EXPECTED and row.producer_id is not None:
        raise Conflict("it is not made yet; cancel the job that makes it instead")
    if row.state == DatasetState.FAILED and row.producer_id is not None and not _was_made(connection, row):
        raise Conflict("it was never made; there is nothing to delete")


def skip_consumers(ledger: Ledger, ident: int, message: str) -> tuple[int, bool]:
    """Skip up to `STEP` of the jobs that cannot do without a dataset; return how many, and whether some may be left."""
    ids = ledger.connection.scalars(
        lock_rows(
            sa.select(job.c.id)
            .where(
                job.c.id.in_(sa.select(job_input.c.job_id).where(_strict(ident))),
                job.c.state.in_((JobState.HELD, JobState.WAITING, JobState.DEFINED)),
            )
            .order_by(job.c.id)
            .limit(STEP)
        )
    ).all()
    if ids:
        skip_jobs(ledger, ids, message)
    return len(ids), len(ids) == STEP


def delete_dataset(ledger: Ledger, ident: int, message: str, *, failed: bool) -> bool:
    """Move a dataset to ``deleted``, or, if consumers were skipped for it, to ``failed``; return whether it moved.

    Raises
    ------
    Conflict
        If a job needs it after all: one that was loaded or given out at this moment.
    """
    row = ledger.connection.execute(lock_rows(sa.select(dataset).where(dataset.c.id == ident))).one_or_none()
    if row is None:
        return False
    consumers = _select_consumers().where(is_read(ident))
    needed = consumers.where(sa.or_(job_input.c.partial.is_(False), job.c.state.in_(_OUT)))
    if (late := ledger.connection.execute(needed.limit(1)).one_or_none()) is not None:
        raise Conflict(f"{_name(late)} needs it since a moment ago; look at it, then try again")
    bears = ledger.connection.execute(consumers.limit(1)).one_or_none() is not None
    signal = Signal.FAIL if failed or bears else Signal.DELETE
    moved = ledger.move("dataset", [ident], signal, message=message)
    if moved and row.state == DatasetState.EXPECTED:
        # Those that bear with its end count it as done now; once it was available they had done so already.
        spread_datasets(ledger, moved)
    spread_sources(ledger, moved)
    return bool(moved)


def _strict(ident: int) -> sa.ColumnElement[bool]:
    return sa.and_(is_read(ident), job_input.c.partial.is_(False))


def _was_made(connection: sa.Connection, row: Any) -> bool:
    return connection.scalar(sa.select(job.c.state).where(job.c.id == row.producer_id)) == JobState.FINISHED


def _select_consumers() -> sa.Select[Any]:
    """Return a look at the jobs that have not ended and read datasets."""
    return (
        sa.select(job.c.name, job.c.state, workflow.c.uuid.label("workflow"), workflow.c.owner)
        .join(job_input, job_input.c.job_id == job.c.id)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(job.c.state.not_in(sorted(FINAL_JOB)))
    )


def _name(row: Any) -> str:
    return f"job {row.name} of workflow {row.workflow[:8]}"
