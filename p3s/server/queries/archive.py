"""Archived workflows and jobs as people see them, and the form in which they are kept."""

from __future__ import annotations

import base64
import json
import re
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import DatasetState, WorkflowState
from p3s.errors import Ambiguous, Archived, NotFound
from p3s.server.models import archive, archive_item, archive_job, archive_part
from p3s.wire import (
    AttemptView,
    DatasetView,
    EventList,
    EventView,
    GraphView,
    JobList,
    JobView,
    LogView,
    WorkflowList,
    WorkflowView,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "explain_archived",
    "find_archived",
    "iterate_parts",
    "list_archived",
    "list_archived_events",
    "list_archived_jobs",
    "pack_part",
    "read_archived_log",
    "read_part",
    "refuse_archived",
    "show_archived",
    "show_archived_dataset",
    "show_archived_graph",
    "show_archived_job",
]

_PREFIX = re.compile(r"^[0-9a-f][0-9a-f-]{3,35}$")
#: Where the ids of each noun are.
_PLACES = {"workflow": archive, "job": archive_job, "dataset": archive_item, "attempt": archive_item}


def pack_part(part: dict[str, Any]) -> bytes:
    """Return a part as it is stored."""
    return zlib.compress(json.dumps(part, separators=(",", ":")).encode())


def find_archived(connection: sa.Connection, noun: str, ident: str) -> Archived | None:
    """Return what of the archive an id means, a uuid or the beginning of one, None if nothing.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    noun : str
        ``workflow``, ``job``, ``dataset`` or ``attempt``; of a job or dataset `ident` may be WORKFLOW/NAME.
    ident : str
        What was asked for.

    Raises
    ------
    Ambiguous
        If it fits several.
    NotFound
        If an archived workflow has no job or dataset of this name.
    """
    if noun in {"job", "dataset"} and "/" in ident:
        head, _, name = ident.partition("/")
        found = find_archived(connection, "workflow", head)
        return None if found is None else _find_member(connection, found, noun, name)
    if not _PREFIX.match(ident) or noun not in _PLACES:
        return None
    table = _PLACES[noun]
    wanted = sa.select(table).where(table.c.uuid >= ident, table.c.uuid < ident + "g").limit(6)
    rows = connection.execute(wanted if table is not archive_item else wanted.where(table.c.noun == noun)).all()
    if len(rows) > 1:
        raise Ambiguous(noun, ident, [row.uuid[:13] for row in rows])
    if not rows:
        return None
    if noun == "workflow":
        return Archived("workflow", rows[0].uuid, rows[0].id)
    return Archived(noun, rows[0].uuid, rows[0].archive_id)


def refuse_archived(connection: sa.Connection, row: Any) -> None:
    """Raise `Archived` for a workflow that is being moved into the archive; `row` is of ``workflow``."""
    if row.archived is not None:
        ident = connection.scalar(sa.select(archive.c.id).where(archive.c.uuid == row.uuid))
        raise Archived("workflow", row.uuid, ident or 0)


def list_archived(
    connection: sa.Connection,
    *,
    state: str | None,
    owner: str | None,
    name: str | None,
    limit: int,
    cursor: str | None,
) -> WorkflowList:
    """Return a page of the archive, what was archived last first."""
    statement = sa.select(archive).order_by(archive.c.id.desc()).limit(limit + 1)
    for column, value in ((archive.c.state, state), (archive.c.owner, owner), (archive.c.name, name)):
        if value:
            statement = statement.where(column == value)
    if cursor:
        statement = statement.where(archive.c.id < int(cursor))
    rows = connection.execute(statement).all()
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    return WorkflowList(items=[_view(row) for row in rows[:limit]], next=more)


def show_archived(connection: sa.Connection, it: Archived) -> WorkflowView:
    """Return an archived workflow."""
    return _view(_read(connection, it))


def list_archived_jobs(
    connection: sa.Connection, it: Archived, *, filters: dict[str, str | None], limit: int, cursor: str | None
) -> JobList:
    """Return a page of the jobs of an archived workflow, the last first; the cursor counts them."""
    row = _read(connection, it)
    begin = int(cursor or 0)
    found: list[JobView] = []
    for number, entry in enumerate(_iterate(connection, it.row)):
        fits = all(not value or entry[name] == value for name, value in filters.items())
        if number < begin or not fits:
            continue
        if len(found) == limit:
            return JobList(items=found, next=str(number))
        found.append(_view_job(row, entry))
    return JobList(items=found)


def show_archived_job(connection: sa.Connection, it: Archived) -> JobView:
    """Return an archived job with its description, attempts, data and events."""
    row = _read(connection, it)
    part, entry = _read_job(connection, it)
    known = part["datasets"]
    uuids = {entry["uuid"], *(attempt["uuid"] for attempt in entry["attempts"])}
    return _view_job(row, entry).model_copy(
        update={
            "spec": entry["spec"],
            "why": f"{entry['why']} {_tell(row)}",
            "attempts": [AttemptView.model_validate(attempt) for attempt in entry["attempts"]],
            "inputs": [
                DatasetView.model_validate(known[uuid]) for uuid in dict.fromkeys(i[0] for i in entry["inputs"])
            ],
            "outputs": [DatasetView.model_validate(known[uuid]) for uuid in entry["outputs"]],
            "events": [EventView.model_validate(one) for one in part["events"] if one["uuid"] in uuids],
        }
    )


def show_archived_dataset(connection: sa.Connection, it: Archived) -> DatasetView:
    """Return a dataset of an archived workflow, with the jobs that read it and the attempts that wrote it."""
    row = _read(connection, it)
    view = DatasetView.model_validate(read_part(connection, it)["datasets"][it.uuid])
    attempts: list[AttemptView] = []
    consumers: list[str] = []
    for entry in _iterate(connection, it.row):
        if it.uuid in entry["outputs"]:
            attempts = [AttemptView.model_validate(attempt) for attempt in entry["attempts"]]
        if any(uuid == it.uuid for uuid, *_ in entry["inputs"]):
            consumers.append(f"{row.uuid[:8]}/{entry['name']}")
    why = f"{_tell_dataset(row, view)} {_tell(row)}"
    return view.model_copy(update={"why": why, "attempts": attempts, "consumers": consumers[::-1]})


def read_archived_log(
    connection: sa.Connection, it: Archived, *, number: int | None, stream: str, offset: int
) -> LogView:
    """Return what was kept of the output of an archived job's attempt, from byte `offset` on.

    Raises
    ------
    NotFound
        If the job had no such attempt.
    """
    _, entry = _read_job(connection, it)
    for attempt in reversed(entry["attempts"]):
        if number in {None, attempt["number"]}:
            break
    else:
        raise NotFound("attempt", it.uuid[:8], f"`p3s job show {it.uuid[:8]}` shows those that the job had")
    start, text = attempt["logs"].get(stream, (offset, ""))
    data = base64.b64decode(text)
    first = max(start, offset)
    return LogView(
        attempt=attempt["uuid"],
        number=attempt["number"],
        stream=stream,
        offset=first,
        next=max(offset, start + len(data)),
        text=data[first - start :].decode("utf-8", "replace"),
        final=True,
    )


def show_archived_graph(connection: sa.Connection, it: Archived) -> GraphView:
    """Return the nodes and edges of an archived workflow's graph."""
    row = _read(connection, it)
    jobs, edges = [], []
    datasets: dict[str, DatasetView] = {}
    for part in iterate_parts(connection, it.row):
        datasets |= {uuid: DatasetView.model_validate(view) for uuid, view in part["datasets"].items()}
        for entry in part["jobs"]:
            name = f"job:{entry['name']}"
            jobs.append(_view_job(row, entry))
            edges += [{"source": f"job:{parent}", "target": name, "partial": done} for parent, done in entry["needs"]]
            edges += [
                {"source": f"dataset:{key}", "target": name, "partial": partial} for _, key, partial in entry["inputs"]
            ]
            edges += [
                {"source": name, "target": f"dataset:{part['datasets'][uuid]['key']}", "partial": False}
                for uuid in entry["outputs"]
            ]
    return GraphView(jobs=jobs[::-1], datasets=list(datasets.values()), edges=edges)


def list_archived_events(connection: sa.Connection, it: Archived, *, noun: str | None, limit: int) -> EventList:
    """Return the newest events of an archived workflow or job, oldest first."""
    uuids = {it.uuid}
    if it.noun == "job":
        part, entry = _read_job(connection, it)
        uuids |= {attempt["uuid"] for attempt in entry["attempts"]}
        found = part["events"]
    else:
        found = [event for part in iterate_parts(connection, it.row) for event in part["events"]]
    chosen = (event for event in found if event["uuid"] in uuids and noun in {None, event["noun"]})
    mine = sorted(chosen, key=lambda event: float(event["at"]))
    return EventList(items=[EventView.model_validate(event) for event in mine[-limit:]], next="0-0")


def explain_archived(connection: sa.Connection, it: Archived) -> tuple[str, str]:
    """Return the state of what is archived, and in a sentence what became of it."""
    row = _read(connection, it)
    if it.noun == "dataset":
        view = DatasetView.model_validate(read_part(connection, it)["datasets"][it.uuid])
        return view.state, f"{_tell_dataset(row, view)} {_tell(row)}"
    if it.noun == "attempt":
        for entry in read_part(connection, it)["jobs"]:
            for attempt in entry["attempts"]:
                if attempt["uuid"] == it.uuid:
                    return attempt["state"], f"{_tell_attempt(row, entry, attempt)} {_tell(row)}"
    if it.noun == "job":
        _, entry = _read_job(connection, it)
        return entry["state"], f"{entry['why']} {_tell(row)}"
    counts = ", ".join(f"{number} {state}" for state, number in row.counts.items())
    detail = f" ({row.message})" if row.message else ""
    return row.state, f"It is {row.state}{detail}: {counts}. {_tell(row)}"


def _tell(row: Any) -> str:
    day = datetime.fromtimestamp(row.archived, UTC).strftime("%Y-%m-%d")
    if row.moved < row.jobs:
        return f"It is being moved into the archive: {row.moved} of {row.jobs} jobs are there."
    return f"It is in the archive since {day}: it can be shown, and changes no more."


def _tell_dataset(row: Any, view: DatasetView) -> str:
    place = f" at {view.place}" if view.place and view.state == DatasetState.AVAILABLE else ""
    maker = f", made by job {view.producer} of" if view.producer else ", read by"
    reason = f" ({view.message})" if view.message else ""
    return f"It was {view.state}{place}{reason}{maker} workflow {row.name} {row.uuid[:8]}, which is {row.state}."


def _tell_attempt(row: Any, entry: dict[str, Any], attempt: dict[str, Any]) -> str:
    reason = f" ({attempt['reason']})" if attempt["reason"] else ""
    which = f"attempt {attempt['number']} of job {row.uuid[:8]}/{entry['name']}, which is {entry['state']}"
    return f"It is {which}: it is {attempt['state']}{reason} on {attempt['host']} (pilot {attempt['pilot'][:8]})."


def _read(connection: sa.Connection, it: Archived) -> Any:
    row = connection.execute(sa.select(archive).where(archive.c.id == it.row)).one_or_none()
    if row is None:
        raise NotFound(it.noun, it.uuid, "it was purged from the archive a moment ago")
    return row


def _find_member(connection: sa.Connection, it: Archived, noun: str, name: str) -> Archived:
    for part in iterate_parts(connection, it.row):
        if noun == "job":
            found = [entry["uuid"] for entry in part["jobs"] if entry["name"] == name]
        else:
            mine = (view for view in part["datasets"].values() if view.get("workflow") == it.uuid)
            found = [view["uuid"] for view in mine if view["key"] == name]
        if found:
            return Archived(noun, found[0], it.row)
    raise NotFound(noun, f"{it.uuid[:8]}/{name}", f"`p3s job list --workflow {it.uuid[:8]}` shows its jobs")


def read_part(connection: sa.Connection, it: Archived) -> dict[str, Any]:
    """Return the part that a job, a dataset or an attempt is in."""
    table = _PLACES[it.noun]
    same = sa.and_(table.c.archive_id == archive_part.c.archive_id, table.c.number == archive_part.c.number)
    body = connection.scalar(sa.select(archive_part.c.body).join(table, same).where(table.c.uuid == it.uuid))
    if body is None:
        raise NotFound(it.noun, it.uuid, "it was purged from the archive a moment ago")
    return _unpack(body)


def _read_job(connection: sa.Connection, it: Archived) -> tuple[dict[str, Any], dict[str, Any]]:
    part = read_part(connection, it)
    return part, next(entry for entry in part["jobs"] if entry["uuid"] == it.uuid)


def _iterate(connection: sa.Connection, ident: int) -> Iterator[dict[str, Any]]:
    for part in iterate_parts(connection, ident):
        yield from part["jobs"]


def iterate_parts(connection: sa.Connection, ident: int) -> Iterator[dict[str, Any]]:
    """Yield the parts one by one: a large workflow has a thousand of them."""
    numbers = sa.select(archive_part.c.number).where(archive_part.c.archive_id == ident)
    for number in connection.scalars(numbers.order_by(archive_part.c.number)).all():
        chosen = sa.and_(archive_part.c.archive_id == ident, archive_part.c.number == number)
        body = connection.scalar(sa.select(archive_part.c.body).where(chosen))
        if body is not None:
            yield _unpack(body)


def _unpack(body: bytes) -> dict[str, Any]:
    part: dict[str, Any] = json.loads(zlib.decompress(body))
    return part


def _view(row: Any) -> WorkflowView:
    return WorkflowView(
        uuid=row.uuid,
        name=row.name,
        owner=row.owner,
        state=WorkflowState(row.state),
        dag=row.dag,
        version=row.version,
        params=row.params,
        overrides=row.overrides or {},
        counts=row.counts,
        jobs=row.jobs,
        key=row.key,
        created=row.created,
        started=row.started,
        ended=row.ended,
        deadline=row.deadline,
        message=row.message,
        archived=row.archived,
    )


def _view_job(row: Any, entry: dict[str, Any]) -> JobView:
    known = {name: entry[name] for name in JobView.model_fields if name in entry and name not in _LATER}
    return JobView.model_validate(known | {"workflow": row.uuid, "workflow_name": row.name})


#: Fields of a job that only `show` fills.
_LATER = frozenset({"spec", "why", "attempts", "inputs", "outputs", "events"})
