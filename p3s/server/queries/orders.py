"""Job orders: all that a pilot needs to run what it claimed, in a fixed number of statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from p3s.engine.states import FINAL_ATTEMPT, FINAL_JOB, AttemptState, DatasetState
from p3s.server.models import attempt, bundle_file, dataset, job, job_input, job_spec, workflow
from p3s.server.prepared import Prepared, among, param
from p3s.server.secrets import derive_attempt_token
from p3s.wire import BundleEntry, InputOrder, JobOrder, Leftover, OutputOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Given", "find_leftovers", "make_orders", "read_orders"]


class Given(NamedTuple):
    """A job that was given to a pilot: the attempt, and what its order says."""

    uuid: str
    number: int
    job_id: int
    job_uuid: str
    name: str
    owner: str
    jobtype: str
    timelimit: float
    body: dict[str, Any]
    workflow_id: int
    workflow_uuid: str
    workflow_name: str
    params: dict[str, Any]
    bundle_id: int | None


def find_leftovers(connection: sa.Connection, attempts: Sequence[str]) -> list[Leftover]:
    """Return those of the attempts that nothing can come of any more.

    An attempt that was lost may still succeed late as long as no other was made of its job, so it is not among them.
    """
    rows = connection.execute(
        sa.select(
            attempt.c.uuid,
            attempt.c.state,
            workflow.c.uuid.label("workflow_uuid"),
            job.c.name,
        )
        .join(job, job.c.id == attempt.c.job_id)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(
            attempt.c.uuid.in_(attempts),
            attempt.c.state.in_(FINAL_ATTEMPT),
            sa.or_(
                attempt.c.state != AttemptState.LOST,
                attempt.c.number < job.c.attempt,
                job.c.state.in_(FINAL_JOB),
            ),
        )
    )
    return [
        Leftover(
            attempt=row.uuid,
            workflow=row.workflow_uuid,
            job_name=row.name,
            rejected=row.state != AttemptState.SUCCEEDED,
        )
        for row in rows
    ]


_ORDERS = Prepared(
    sa.select(
        attempt.c.uuid,
        attempt.c.number,
        job.c.id.label("job_id"),
        job.c.uuid.label("job_uuid"),
        job.c.name,
        job.c.owner,
        job.c.jobtype,
        job.c.timelimit,
        job_spec.c.body,
        workflow.c.uuid.label("workflow_uuid"),
        workflow.c.name.label("workflow_name"),
        workflow.c.params,
        workflow.c.bundle_id,
    )
    .join(job, job.c.id == attempt.c.job_id)
    .join(job_spec, job_spec.c.job_id == job.c.id)
    .join(workflow, workflow.c.id == job.c.workflow_id)
    .where(
        attempt.c.pilot_id == param("pilot", sa.BigInteger),
        attempt.c.claim == param("claim", sa.Integer),
        # Written out, so that the index of open attempts is used whatever the parameters.
        attempt.c.state.in_(
            sa.literal_column(f"'{state}'") for state in (AttemptState.DISPATCHED, AttemptState.RUNNING)
        ),
    )
    .order_by(attempt.c.id)
)


def read_orders(connection: sa.Connection, pilot_id: int, claim: int, secret: str) -> list[JobOrder]:
    """Return the orders of one claim whose attempts are still open, in the order of work.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open transaction.
    pilot_id, claim : int
        Whose claim, and its number.
    secret : str
        The server's secret, from which attempt tokens are derived.
    """
    return make_orders(connection, _ORDERS.run(connection, pilot=pilot_id, claim=claim), secret)


def make_orders(connection: sa.Connection, rows: Sequence[Given], secret: str) -> list[JobOrder]:
    """Return the orders of what was given, in its order; arguments as those of `read_orders`."""
    inputs = _read_inputs(connection, [row.job_id for row in rows if row.body.get("inputs")])
    outputs = _read_results(connection, [row.job_id for row in rows if row.body.get("outputs")])
    bundles = _read_bundles(connection, {row.bundle_id for row in rows if row.bundle_id is not None})
    return [
        _build_order(
            row,
            inputs.get(row.job_id, []),
            outputs,
            bundles.get(row.bundle_id or 0, []),
            derive_attempt_token(secret, row.uuid),
        )
        for row in rows
    ]


def _build_order(
    row: Given, inputs: list[Any], results: set[tuple[int, str]], bundle: list[BundleEntry], token: str
) -> JobOrder:
    body = row.body
    lists = {entry["name"] for entry in body.get("inputs", []) if entry["collection"]}
    publish = body.get("publish", {})
    return JobOrder(
        attempt=row.uuid,
        number=row.number,
        token=token,
        job=row.job_uuid,
        job_name=row.name,
        workflow=row.workflow_uuid,
        workflow_name=row.workflow_name,
        owner=row.owner,
        jobtype=row.jobtype,
        run=body.get("run"),
        payload=body.get("payload"),
        shell=body["shell"],
        args=body.get("args", []),
        env=body.get("env", {}),
        params=row.params,
        axes=body.get("axes", {}),
        inputs=[
            InputOrder(
                name=entry.name,
                key=entry.key,
                place=entry.place,
                size=entry.size,
                checksum=entry.checksum,
                collection=entry.name in lists,
            )
            for entry in inputs
            if entry.state == DatasetState.AVAILABLE
        ],
        collections=sorted(lists),
        missing=[entry.key for entry in inputs if entry.state != DatasetState.AVAILABLE],
        outputs=[
            OutputOrder(
                name=output["name"],
                key=output["key"],
                path=output["path"],
                result=(row.job_id, output["key"]) in results,
                publish=publish.get(output["name"]),
            )
            for output in body.get("outputs", [])
        ],
        bundle=bundle,
        timelimit=row.timelimit,
        cpus=body.get("cpus", 1),
        memory=body.get("memory", 0),
        exclusive=body.get("exclusive", False),
        verify=body.get("verify", False),
    )


_INPUTS = Prepared(
    sa.select(
        job_input.c.job_id,
        job_input.c.name,
        job_input.c.key,
        dataset.c.state,
        dataset.c.place,
        dataset.c.size,
        dataset.c.checksum,
    )
    .join(dataset, dataset.c.id == job_input.c.dataset_id)
    .where(among(job_input.c.job_id, "jobs"))
    .order_by(job_input.c.id)
)


def _read_inputs(connection: sa.Connection, jobs: list[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    if jobs:
        for row in _INPUTS.run(connection, jobs=jobs):
            found.setdefault(row.job_id, []).append(row)
    return found


_RESULTS = Prepared(
    sa.select(dataset.c.producer_id, dataset.c.key).where(among(dataset.c.producer_id, "jobs"), dataset.c.result)
)


def _read_results(connection: sa.Connection, jobs: list[int]) -> set[tuple[int, str]]:
    rows = _RESULTS.run(connection, jobs=jobs) if jobs else []
    return {(row.producer_id, row.key) for row in rows}


_BUNDLES = Prepared(
    sa.select(bundle_file).where(among(bundle_file.c.bundle_id, "bundles")).order_by(bundle_file.c.path)
)


def _read_bundles(connection: sa.Connection, bundles: set[int]) -> dict[int, list[BundleEntry]]:
    found: dict[int, list[BundleEntry]] = {}
    if bundles:
        for row in _BUNDLES.run(connection, bundles=sorted(bundles)):
            entry = BundleEntry(path=row.path, digest=row.digest, executable=row.executable)
            found.setdefault(row.bundle_id, []).append(entry)
    return found
