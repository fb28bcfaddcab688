"""Why a thing is where it is, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import BOTH, Offer, Requirement, find_mismatches
from p3s.engine.places import EXTRAS, STAGED
from p3s.engine.states import FINAL_ATTEMPT, DatasetState, JobState, PilotState, Reason
from p3s.server.models import (
    arrival,
    attempt,
    dataset,
    host,
    job,
    job_input,
    job_need,
    jobtype,
    meta,
    pilot,
    requirement,
    service,
    site,
    workflow,
)
from p3s.server.queries.arrivals import find_service_state
from p3s.server.queries.origins import describe_origin, explain_wait
from p3s.server.queries.pilots import LIVE
from p3s.server.queries.places import explain_conflict

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["explain", "explain_job"]

#: Names that a sentence spells out; the others are counted.
NAMED = 3


def explain(connection: sa.Connection, noun: str, row: Any, now: float) -> str:
    """Return in one sentence why the object `row` is where it is."""
    match noun:
        case "job":
            return explain_job(connection, row, now)
        case "workflow":
            return explain_workflow(connection, row)
        case "dataset":
            return explain_dataset(connection, row)
        case "attempt":
            return explain_attempt(connection, row)
        case "host":
            return explain_host(connection, row.uuid)
        case "site":
            return explain_site(connection, row.uuid)
        case "service":
            return explain_service(connection, row.uuid, now)
        case _:
            return explain_pilot(row, now)


def explain_job(connection: sa.Connection, row: Any, now: float) -> str:
    """Return why a job is where it is; `row` is of ``job``, with ``workflow_state`` if known."""
    match JobState(row.state):
        case JobState.HELD:
            uuid = _find_workflow(connection, row)
            return f"It is held: its workflow is loaded and not started; `p3s workflow start {uuid}` lets it go."
        case JobState.WAITING:
            return _explain_waiting(connection, row, now)
        case JobState.DEFINED:
            return _explain_queue(connection, row)
        case JobState.DISPATCHED | JobState.RUNNING:
            return _explain_running(connection, row, now)
        case JobState.FINISHED:
            return "It finished" + (f" at attempt {row.attempt}." if row.attempt else " by itself: it has no payload.")
        case JobState.CANCELLED:
            return f"It was {row.message or 'cancelled'}."
        case JobState.SKIPPED:
            return _explain_skipped(connection, row)
        case JobState.FAILED:
            detail = f": {row.message}" if row.message else ""
            return f"It failed ({row.reason}) after {row.attempt} attempt(s), and no further try is left{detail}."


def explain_workflow(connection: sa.Connection, row: Any) -> str:
    """Return why a workflow is where it is."""
    if row.state == "loading":
        return "Its jobs are being written."
    if row.state == "held":
        return f"It is held; `p3s workflow start {row.uuid[:8]}` lets it go."
    rows = connection.execute(
        sa.select(job.c.state, sa.func.count().label("number"))
        .where(job.c.workflow_id == row.id)
        .group_by(job.c.state)
        .order_by(job.c.state)
    )
    counts = ", ".join(f"{entry.number} {entry.state}" for entry in rows)
    if row.state in {"failed", "cancelled"}:
        failed = connection.scalars(
            sa.select(job.c.name).where(job.c.workflow_id == row.id, job.c.state == JobState.FAILED).limit(NAMED + 1)
        ).all()
        detail = f"; failed: {_join(failed)}" if failed else ""
        return f"It is {row.state}{f' ({row.message})' if row.message else ''}: {counts}{detail}."
    return f"It is {row.state}: {counts}."


def explain_dataset(connection: sa.Connection, row: Any) -> str:
    """Return why a dataset is where it is."""
    maker = connection.execute(sa.select(job.c.name, job.c.state).where(job.c.id == row.producer_id)).one_or_none()
    match DatasetState(row.state):
        case DatasetState.AVAILABLE:
            source = describe_origin(connection, row)[1]
            return f"It is available at {row.place}{f', from {source}' if source else ''}."
        case DatasetState.EXPECTED if maker is not None:
            return f"It is expected: job {maker.name}, which makes it, is {maker.state}."
        case DatasetState.EXPECTED if any(wait := explain_wait(connection, row.id)):
            return f"It is expected from {wait[0]}." if wait[0] else f"It is expected: {wait[1]}."
        case DatasetState.EXPECTED:
            return f"It is expected: nobody has registered {row.place}; `p3s dataset register {row.place}` does."
        case DatasetState.FAILED | DatasetState.DELETED if row.message:
            again = "" if row.producer_id or row.workflow_id else f"; `p3s dataset register {row.place}` brings it back"
            if row.workflow_id and not row.producer_id:
                again = "; retry that workflow, or start another, then retry this dataset's own"
            return f"It is {row.state}: it {row.message}{again}."
        case DatasetState.FAILED if maker is not None:
            return f"It will not come: job {maker.name}, which makes it, is {maker.state}."
        case _:
            return f"It is {row.state}."


def explain_attempt(connection: sa.Connection, row: Any) -> str:
    """Return whose attempt it is, and how it stands."""
    one = connection.execute(
        sa.select(job.c.name, job.c.state, workflow.c.uuid.label("workflow"))
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(job.c.id == row.job_id)
    ).one()
    host_name, uuid = connection.execute(sa.select(pilot.c.host, pilot.c.uuid).where(pilot.c.id == row.pilot_id)).one()
    reason = f" ({row.reason})" if row.reason else ""
    which = f"attempt {row.number} of job {one.workflow[:8]}/{one.name}, which is {one.state}"
    return f"It is {which}: it is {row.state}{reason} on {host_name} (pilot {uuid[:8]})."


def explain_host(connection: sa.Connection, name: str) -> str:
    """Return what there is to say of a host."""
    row = connection.execute(sa.select(host).where(host.c.name == name)).one_or_none()
    live = connection.scalar(
        sa.select(sa.func.count()).select_from(pilot).where(pilot.c.host == name, pilot.c.state.in_(LIVE))
    )
    if row is not None and row.banned:
        return f"It is banned ({row.reason}) and gets no jobs; `p3s host allow {name}` lets it go on."
    burnt = (
        f"; the last {len(row.burnt)} different job(s) could not be run there" if row is not None and row.burnt else ""
    )
    return f"It is allowed, with {live} live pilot(s){burnt}."


def explain_site(connection: sa.Connection, name: str) -> str:
    """Return how a site does: its pilots, what runs there, and what waits for it."""
    nominal = connection.scalar(sa.select(site.c.pilots).where(site.c.name == name))
    states = connection.execute(
        sa.select(pilot.c.state, sa.func.count().label("number"))
        .where(pilot.c.site == name, pilot.c.state.in_(LIVE))
        .group_by(pilot.c.state)
        .order_by(pilot.c.state)
    ).all()
    live = sum(row.number for row in states)
    counts = f" ({', '.join(f'{row.number} {row.state}' for row in states)})" if states else ""
    running = connection.scalar(
        sa.select(sa.func.count())
        .select_from(attempt)
        .join(pilot, pilot.c.id == attempt.c.pilot_id)
        .where(pilot.c.site == name, attempt.c.state.not_in(sorted(FINAL_ATTEMPT)))
    )
    waiting = connection.scalar(
        sa.select(sa.func.count())
        .select_from(job)
        .join(requirement, requirement.c.id == job.c.requirement_id)
        .where(job.c.state == JobState.DEFINED, requirement.c.site == name)
    )
    of = "" if nominal is None else f" of {nominal}"
    few = f"; `p3s pilot start --site {name}` starts one" if live < (nominal or 0) or (waiting and not live) else ""
    only = f", and {waiting} ready job(s) can run only there" if waiting else ""
    return f"It has {live}{of} live pilot(s){counts}, which run {running} job(s){only}{few}."


def explain_service(connection: sa.Connection, name: str, now: float) -> str:
    """Return whether a service lives, what it saw last and what became of what it saw."""
    row = connection.execute(sa.select(service).where(service.c.name == name)).one()
    heard = f"on {row.host} (process {row.pid}, last heard {max(0, round(now - row.seen))} s ago)"
    last = f"the last file it saw is {row.last}" if row.last else "it has seen no file"
    counts = connection.execute(
        sa.select(arrival.c.fate, sa.func.count().label("number"))
        .where(arrival.c.service_id == row.id)
        .group_by(arrival.c.fate)
        .order_by(arrival.c.fate)
    )
    fates = ", ".join(f"{entry.number} {entry.fate}" for entry in counts)
    state = find_service_state(row, now)
    return f"It is {state} {heard}; {last}{f'; its files: {fates}' if fates else ''}."


def explain_pilot(row: Any, now: float) -> str:
    """Return why a pilot is where it is."""
    age = f"last heard {max(0, round(now - row.seen))} s ago"
    if row.state == "idle":
        return f"It is idle: there is no job for it; {age}."
    reason = f" ({row.reason})" if row.reason else ""
    return f"It is {row.state}{reason}; {age}; {row.done} jobs done, {row.failed} failed."


def _explain_waiting(connection: sa.Connection, row: Any, now: float) -> str:
    if row.hold:
        return f"Somebody holds it; `p3s job adjust --release {row.uuid[:8]}` lets it go on."
    if row.missing == 0 and row.paused:
        held = connection.execute(sa.select(workflow).where(workflow.c.id == row.workflow_id)).one()
        resume = f"`p3s workflow resume {held.uuid[:8]}`"
        return f"It is held back: its workflow is {held.state} ({held.message}); {resume} lets it go on."
    if row.missing == 0:
        wait = max(0, round(row.not_before - now))
        said = f" ({row.message.strip().splitlines()[0]})" if row.message.strip() else ""
        return f"It waits {wait} s more before its next attempt: the last one ended with {row.reason}{said}."
    parents = connection.execute(
        sa.select(job.c.name, job.c.state)
        .join(job_need, job_need.c.parent_id == job.c.id)
        .where(job_need.c.job_id == row.id, job.c.state.not_in((JobState.FINISHED,)))
        .order_by(job.c.id)
        .limit(NAMED + 1)
    ).all()
    data = connection.execute(
        sa.select(job_input.c.key, dataset.c.id, dataset.c.place, job.c.name, job.c.state)
        .join(dataset, dataset.c.id == job_input.c.dataset_id)
        .outerjoin(job, job.c.id == dataset.c.producer_id)
        .where(job_input.c.job_id == row.id, dataset.c.state == DatasetState.EXPECTED)
        .order_by(job_input.c.id)
        .limit(NAMED + 1)
    ).all()
    causes = [f"job {parent.name} ({parent.state})" for parent in parents]
    causes += [
        f"dataset {entry.key} from job {entry.name} ({entry.state})"
        if entry.name
        else _name_elsewhere(connection, entry)
        if entry.place is None
        else f"dataset {entry.key}, which nobody has registered ({entry.place})"
        for entry in data
    ]
    more = f" and {row.missing - NAMED} more" if row.missing > NAMED and len(causes) > NAMED else ""
    lacks = [entry.place for entry in data if not entry.name and entry.place is not None]
    hint = f"; `p3s dataset register {lacks[0]}` says that it is there" if lacks else ""
    return f"It waits for {_join(causes[:NAMED])}{more}{hint}."


def _name_elsewhere(connection: sa.Connection, entry: Any) -> str:
    maker, lack = explain_wait(connection, entry.id)
    return f"dataset {entry.key} from {maker}" if maker else f"dataset {entry.key}, for which {lack}"


def _explain_queue(connection: sa.Connection, row: Any) -> str:
    wish_row = connection.execute(sa.select(requirement).where(requirement.c.id == row.requirement_id)).one()
    wish = Requirement(
        owner=wish_row.owner,
        jobtype=wish_row.jobtype,
        cpus=wish_row.cpus,
        memory=wish_row.memory,
        timelimit=wish_row.timelimit,
        labels=tuple(wish_row.labels),
        site=wish_row.site,
    )
    by = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "paused"))
    if by is not None:
        return f"It is ready, and the server gives out no jobs: paused by {by}; `p3s server resume` lets it go on."
    limit = connection.execute(sa.select(jobtype).where(jobtype.c.name == row.jobtype)).one_or_none()
    if limit is not None and limit.open >= limit.cap:
        full = "is suspended" if limit.cap == 0 else f"has {limit.open} open jobs, which is its cap"
        return f"It is ready, and its jobtype {row.jobtype} {full}; `p3s jobtype limit {row.jobtype} N` changes that."
    pilots = connection.execute(sa.select(pilot).where(pilot.c.state.in_(LIVE)).limit(1000)).all()
    if place := _explain_place(connection, row, wish, pilots):
        return place
    if not pilots:
        return "It is ready, and no pilot is alive; `p3s pilot start` starts one."
    banned = set(connection.scalars(sa.select(host.c.name).where(host.c.banned.is_(True))))
    misfits = [_find_misfits(entry, wish, banned) for entry in pilots]
    if all(misfits):
        here = [misfit for entry, misfit in zip(pilots, misfits, strict=True) if wish.site in {"", entry.site}]
        nearest = min(here, key=len)
        return (
            f"It is ready, and none of {len(pilots)} live pilot(s) can run it: the nearest one: {'; '.join(nearest)}. "
            "`p3s pilot list` shows them, `p3s pilot start --help` how one says what it offers."
        )
    ahead = sa.select(sa.func.count()).select_from(
        sa.select(job.c.id)
        .where(
            job.c.requirement_id == row.requirement_id,
            job.c.state == JobState.DEFINED,
            sa.or_(
                job.c.priority > row.priority,
                sa.and_(job.c.priority == row.priority, job.c.due < row.due),
                sa.and_(job.c.priority == row.priority, job.c.due == row.due, job.c.rank > row.rank),
                sa.and_(
                    job.c.priority == row.priority,
                    job.c.due == row.due,
                    job.c.rank == row.rank,
                    job.c.id < row.id,
                ),
            ),
        )
        .limit(10_000)
        .subquery()
    )
    return (
        f"It is ready: {connection.scalar(ahead)} job(s) of its kind are ahead of it, and "
        f"{sum(not misfit for misfit in misfits)} live pilot(s) can run it."
    )


def _explain_place(connection: sa.Connection, row: Any, wish: Requirement, pilots: Sequence[Any]) -> str:
    """Return that no live pilot is near a job's data, or nothing."""
    if BOTH in wish.site:
        return f"It is ready, and {explain_conflict(connection, row.id)}."
    if wish.site and all(entry.site != wish.site for entry in pilots):
        names = _list_data(connection, row.id, dataset.c.site == wish.site)
        why = f"because dataset {_join(names)} {'exists' if len(names) == 1 else 'exist'} only there"
        start = f"`p3s pilot start --site {wish.site}` starts one there"
        return f"It is ready, and waits for a pilot of site {wish.site}, {why}; {start}."
    for scheme in STAGED:
        if scheme in wish.labels and pilots and all(scheme not in entry.labels for entry in pilots):
            names = _list_data(connection, row.id, dataset.c.place.startswith(scheme, autoescape=True))
            what = f"dataset {_join(names)} is" if names else "its results go"
            hint = f"`pip install 'p3s[{EXTRAS[scheme]}]'` on a pilot's host, then start it anew"
            return f"It is ready, and no live pilot can stage {scheme}, where {what}; {hint}."
    return ""


def _list_data(connection: sa.Connection, job_id: int, condition: sa.ColumnElement[bool]) -> Sequence[str]:
    return connection.scalars(
        sa.select(job_input.c.key)
        .join(dataset, dataset.c.id == job_input.c.dataset_id)
        .where(job_input.c.job_id == job_id, condition)
        .order_by(job_input.c.id)
        .limit(NAMED + 1)
    ).all()


def _find_misfits(row: Any, wish: Requirement, banned: set[str]) -> list[str]:
    """Return what keeps a pilot, a row of ``pilot``, from a job."""
    if row.host in banned:
        return [f"its host {row.host} is banned, and `p3s host allow {row.host}` lets it go on"]
    if row.state == PilotState.DRAINING:
        return ["it ends what it has, and takes nothing more"]
    return find_mismatches(wish, make_offer(row))


def _find_workflow(connection: sa.Connection, row: Any) -> str:
    """Return the beginning of the id of a job's workflow."""
    return str(connection.scalar(sa.select(workflow.c.uuid).where(workflow.c.id == row.workflow_id)))[:8]


def make_offer(row: Any) -> Offer:
    """Return what a pilot offers when nothing runs on it; `row` is of ``pilot``."""
    return Offer(
        users=tuple(row.accepts["users"]),
        jobtypes=tuple(row.accepts["jobtypes"]),
        labels=tuple(row.labels),
        cpus=row.cpus,
        memory=row.memory or None,
        lifetime=row.lifetime,
        site=row.site,
    )


def _explain_running(connection: sa.Connection, row: Any, now: float) -> str:
    found = connection.execute(
        sa.select(pilot.c.host, pilot.c.uuid, pilot.c.seen)
        .join(attempt, attempt.c.pilot_id == pilot.c.id)
        .where(attempt.c.job_id == row.id, attempt.c.number == row.attempt)
    ).one()
    where = f"on {found.host} (pilot {found.uuid[:8]}, heard {max(0, round(now - found.seen))} s ago)"
    if row.state == JobState.DISPATCHED:
        return f"Attempt {row.attempt} was given to a pilot {where} and has not started."
    return f"Attempt {row.attempt} has been running for {max(0, round(now - row.started))} s {where}."


def _explain_skipped(connection: sa.Connection, row: Any) -> str:
    if row.reason == Reason.IF:
        return "It was skipped: its `if` said no."
    if row.reason == Reason.MISSING_INPUT or (row.reason == Reason.UPSTREAM and row.message):
        return f"It was skipped: {row.message}."
    bad = [JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED]
    by_need = sa.select(job_need.c.parent_id).where(job_need.c.job_id == row.id)
    by_data = (
        sa.select(dataset.c.producer_id)
        .join(job_input, job_input.c.dataset_id == dataset.c.id)
        .where(job_input.c.job_id == row.id, dataset.c.producer_id.is_not(None))
    )
    parents = connection.execute(
        sa.select(job.c.name, job.c.state)
        # One list of ids, and an order that no index has: else the database goes through all jobs in these states.
        .where(job.c.id.in_(sa.union_all(by_need, by_data)), job.c.state.in_(bad))
        .order_by(job.c.name)
        .limit(NAMED)
    ).all()
    return f"It was skipped: {_join([f'job {parent.name} is {parent.state}' for parent in parents])}."


def _join(names: Sequence[str]) -> str:
    shown = list(names[:NAMED])
    return ", ".join(shown) + (" and more" if len(names) > NAMED else "")
