"""What the verdict and the tiles of the overview are made of. Each statement reads a bounded number of rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.fates import Fate
from p3s.engine.states import AttemptState, DatasetState, JobState, PilotState, Reason, WorkflowState
from p3s.engine.trend import Trend, find_trend
from p3s.engine.verdict import Facts
from p3s.server.models import (
    arrival,
    attempt,
    dataset,
    host,
    job,
    jobtype,
    minute,
    pilot,
    process,
    service,
    site,
    workflow,
)
from p3s.server.queries.arrivals import find_service_state
from p3s.server.queries.pilots import LIVE
from p3s.server.queries.sites import count_live

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Capacity",
    "Failure",
    "Flow",
    "Latency",
    "Lateness",
    "list_failures",
    "measure_latency",
    "read_capacity",
    "read_facts",
    "read_flow",
    "read_lateness",
    "read_services",
]

#: Seconds for which a failure, a lost pilot or a lost process is told of.
RECENT = 600.0
#: Seconds that the tiles look back on what failed and what was dropped.
HOUR = 3600.0
#: Rows that one statement reads at most; what is counted beyond is shown as "many".
MANY = 10_000
#: Seconds by which the longest wait must change to be called better or worse.
LEAST_CHANGE = 5.0
#: Newest attempts that tell how a jobtype fares, and how fast jobs start.
NEWEST = 1000


def _spell(column: sa.Column[Any], *states: str) -> sa.ColumnElement[bool]:
    """Return that a state is one of these, spelled out, so that the database sees which partial index fits."""
    return column.in_([sa.literal_column(f"'{state}'") for state in states])


_OPEN = _spell(attempt.c.state, AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)
_RUNNING = workflow.c.state == sa.literal_column(f"'{WorkflowState.RUNNING}'")


@dataclass(frozen=True, slots=True)
class Flow:
    """Data in and out: the file seen last, the result made last, and how many files were dropped within an hour."""

    seen: str
    seen_at: float | None
    result: str
    result_at: float | None
    result_workflow: str
    dropped: int


@dataclass(frozen=True, slots=True)
class Lateness:
    """What is due: the job that is ready for longest, the next deadline, and how many workflows are past theirs.

    `trend` is how the longest wait changed over the last hour, with its seconds then and now; None if little is known.
    """

    ready: int
    oldest: float | None
    oldest_job: str
    oldest_deadline: float | None
    trend: tuple[Trend, float, float] | None
    deadline: float | None
    deadline_workflow: str
    overdue: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """Who works: live pilots, slots that they have and use, and services that live of those that are not stopped.

    `sites` has, for each site that says how many pilots it should have, its name, its live pilots and that number.
    """

    pilots: int
    sites: Sequence[tuple[str, int, int]]
    slots: int
    used: int
    alive: int
    services: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Attempts that ended badly for one reason, of one kind of jobs, on one host; and the newest of their jobs."""

    name: str
    jobtype: str
    reason: str
    host: str
    number: int
    job: str
    at: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from ready to running of the newest attempts: how many, their median and 95 %."""

    number: int
    median: float
    high: float


def read_services(connection: sa.Connection) -> Sequence[Any]:
    """Return the rows of ``service``: a handful, which facts and capacity share."""
    return connection.execute(sa.select(service).order_by(service.c.name)).all()


def read_facts(
    connection: sa.Connection, now: float, services: Sequence[Any], *, short: Sequence[str], paused_by: str | None
) -> Facts:
    """Return what the verdict is made of.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    now : float
        The server's clock.
    services : sequence of rows
        See `read_services`.
    short : sequence of str
        What the server says of its own disks and database.
    paused_by : str or None
        Who paused the server.
    """
    since = now - RECENT
    silent = sa.select(pilot.c.host).where(pilot.c.state == PilotState.TIMEOUT, pilot.c.seen > since)
    lost = connection.execute(sa.select(process.c.host, process.c.pid).where(process.c.lost > since)).all()
    banned = sa.select(host.c.name, host.c.reason).where(host.c.banned.is_(True)).order_by(host.c.name)
    full = (
        sa.select(pilot.c.host)
        .join(attempt, attempt.c.pilot_id == pilot.c.id)
        .where(_ended_badly(since), attempt.c.reason == Reason.NO_SPACE)
    )
    late = sa.select(workflow.c.name).where(_RUNNING, workflow.c.late.is_(True))
    return Facts(
        ready=_count_ready(connection),
        running=_count(connection, sa.select(attempt.c.id).where(_OPEN)),
        pilots=_count(connection, sa.select(pilot.c.id).where(pilot.c.state.in_(LIVE))),
        silent_pilots=connection.scalars(silent.limit(MANY)).all(),
        dead_servers=[f"process {row.pid} on {row.host}" for row in lost],
        banned=[(row.name, row.reason) for row in connection.execute(banned.limit(MANY))],
        suspended=_list_suspended(connection),
        silent_services=[(row.kind, row.name) for row in services if find_service_state(row, now) == "silent"],
        full=connection.scalars(full.limit(MANY)).all(),
        short=short,
        ended=_count_ended(connection, since),
        overdue=connection.scalars(late.order_by(workflow.c.deadline).limit(MANY)).all(),
        paused_by=paused_by,
    )


def read_flow(connection: sa.Connection, now: float, services: Sequence[Any]) -> Flow:
    """Return what came in and went out last."""
    seen = max((row for row in services if row.last_at is not None), key=lambda row: row.last_at, default=None)
    made = connection.execute(
        sa.select(dataset.c.key, job.c.ended, workflow.c.uuid)
        .join(job, job.c.id == dataset.c.producer_id)
        .join(workflow, workflow.c.id == dataset.c.workflow_id)
        .where(dataset.c.result.is_(True), dataset.c.state == DatasetState.AVAILABLE)
        .order_by(dataset.c.id.desc())
        .limit(1)
    ).one_or_none()
    newest = sa.select(arrival.c.fate, arrival.c.decided).order_by(arrival.c.id.desc()).limit(MANY).subquery()
    dropped = sa.select(sa.func.count()).where(newest.c.fate == Fate.DROPPED, newest.c.decided > now - HOUR)
    return Flow(
        seen=seen.last if seen else "",
        seen_at=seen.last_at if seen else None,
        result=made.key if made else "",
        result_at=made.ended if made else None,
        result_workflow=made.uuid if made else "",
        dropped=connection.scalar(dropped) or 0,
    )


def read_lateness(connection: sa.Connection, now: float, overdue: int, ready: int) -> Lateness:
    """Return what is due; `overdue` and `ready` are known from the facts."""
    first = connection.execute(
        sa.select(job.c.uuid, job.c.released, workflow.c.deadline)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(job.c.state == JobState.DEFINED)
        .order_by(job.c.id)
        .limit(1)
    ).one_or_none()
    waits = connection.scalars(sa.select(minute.c.wait).where(minute.c.at > now - HOUR).order_by(minute.c.at)).all()
    due = connection.execute(
        sa.select(workflow.c.uuid, workflow.c.deadline)
        .where(_RUNNING, workflow.c.late.is_(False), workflow.c.deadline.is_not(None))
        .order_by(workflow.c.deadline)
        .limit(1)
    ).one_or_none()
    return Lateness(
        ready=ready,
        oldest=first.released if first else None,
        oldest_job=first.uuid if first else "",
        oldest_deadline=first.deadline if first else None,
        trend=find_trend(waits, LEAST_CHANGE),
        deadline=due.deadline if due else None,
        deadline_workflow=due.uuid if due else "",
        overdue=overdue,
    )


def read_capacity(connection: sa.Connection, now: float, services: Sequence[Any], facts: Facts) -> Capacity:
    """Return who works."""
    slots = connection.scalar(sa.select(sa.func.sum(pilot.c.slots)).where(pilot.c.state.in_(LIVE)))
    states = [find_service_state(row, now) for row in services]
    nominal = sa.select(site.c.name, site.c.pilots).where(site.c.pilots > 0).order_by(site.c.name)
    sites = connection.execute(nominal).all()
    live = count_live(connection) if sites else {}
    return Capacity(
        pilots=facts.pilots,
        sites=[(row.name, live.get(row.name, 0), row.pilots) for row in sites],
        slots=int(slots or 0),
        used=facts.running,
        alive=states.count("alive"),
        services=len(states) - states.count("stopped"),
    )


def list_failures(connection: sa.Connection, now: float, limit: int) -> list[Failure]:
    """Return what failed within an hour, grouped by job, reason and host, the most frequent first."""
    rows = connection.execute(
        sa.select(job.c.family, job.c.jobtype, job.c.uuid, attempt.c.reason, attempt.c.ended, pilot.c.host)
        .join(job, job.c.id == attempt.c.job_id)
        .join(pilot, pilot.c.id == attempt.c.pilot_id)
        .where(_ended_badly(now - HOUR))
        .order_by(attempt.c.ended.desc())
        .limit(MANY)
    ).all()
    groups: dict[tuple[str, str, str, str], list[Any]] = {}
    for row in rows:
        groups.setdefault((row.family, row.jobtype, row.reason or "", row.host), []).append(row)
    found = [
        Failure(*key, number=len(members), job=members[0].uuid, at=members[0].ended) for key, members in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.number, one.name))[:limit]


def measure_latency(connection: sa.Connection) -> Latency | None:
    """Return how long the newest attempts took from ready to running; None if none did."""
    rows = connection.execute(
        sa.select(job.c.released, attempt.c.started)
        .join(job, job.c.id == attempt.c.job_id)
        .where(attempt.c.number == 1)
        .order_by(attempt.c.id.desc())
        .limit(NEWEST)
    )
    waits = [max(0.0, row.started - row.released) for row in rows if row.started and row.released]
    if not waits:
        return None
    high = quantiles(waits, n=20, method="inclusive")[-1] if len(waits) > 1 else waits[0]
    return Latency(len(waits), median(waits), high)


def _ended_badly(since: float) -> sa.ColumnElement[bool]:
    return sa.and_(_spell(attempt.c.state, AttemptState.FAILED, AttemptState.LOST), attempt.c.ended > since)


def _count(connection: sa.Connection, statement: sa.Select[Any]) -> int:
    """Return how many rows there are, at most `MANY`."""
    return connection.scalar(sa.select(sa.func.count()).select_from(statement.limit(MANY).subquery())) or 0


def _count_ready(connection: sa.Connection) -> int:
    return _count(connection, sa.select(job.c.id).where(job.c.state == JobState.DEFINED))


def _list_suspended(connection: sa.Connection) -> list[tuple[str, int]]:
    names = connection.scalars(sa.select(jobtype.c.name).where(jobtype.c.cap == 0).order_by(jobtype.c.name)).all()
    if not names:
        return []
    ready = sa.select(job.c.jobtype).where(job.c.state == JobState.DEFINED).limit(MANY).subquery()
    rows = connection.execute(sa.select(ready.c.jobtype, sa.func.count()).group_by(ready.c.jobtype)).all()
    counts: Mapping[str, int] = {row[0]: row[1] for row in rows}
    return [(name, counts.get(name, 0)) for name in names]


def _count_ended(connection: sa.Connection, since: float) -> list[tuple[str, int, int]]:
    """Return for each jobtype how many of the newest attempts failed, and how many ended."""
    newest = sa.select(attempt).order_by(attempt.c.id.desc()).limit(NEWEST).subquery()
    rows = connection.execute(
        sa.select(job.c.jobtype, newest.c.state, newest.c.reason)
        .join(job, job.c.id == newest.c.job_id)
        .where(newest.c.ended > since)
    ).all()
    # A full disk is the host's doing, and has a fault of its own.
    failed = Counter(row.jobtype for row in rows if row.state == AttemptState.FAILED and row.reason != Reason.NO_SPACE)
    ended = Counter(row.jobtype for row in rows)
    return sorted((name, failed[name], number) for name, number in ended.items() if failed[name])
