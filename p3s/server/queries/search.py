"""What a text may mean: the beginning of an id, a name, a file's path, or a param."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from p3s.server.models import archive, archive_job, arrival, dag, dataset, job, pilot, workflow
from p3s.server.queries.find import NOUNS
from p3s.server.queries.params import matches_param

__all__ = ["search"]

#: Hits of each kind.
HITS = 20
#: Newest rows among which names and params are looked for.
WINDOW = 20_000

_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{3,35}\Z")
_PARAM = re.compile(r"[A-Za-z][A-Za-z0-9_]*\s*=")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def search(connection: sa.Connection, text: str) -> list[dict[str, Any]]:
    """Return what a text may mean, as noun, uuid, name, state and time; the number of statements is bounded."""
    found: list[dict[str, Any]] = []
    if _PARAM.match(text):
        return _pick(connection, "workflow", _newest(connection, workflow), matches_param(text))
    if "/" in text:
        found += _pick(connection, "file", arrival.c.place == text)
        found += _pick(connection, "dataset", dataset.c.workflow_id.is_(None), dataset.c.place == text)
        # What jobs make lies below folders that are named after them.
        for uuid in _UUID.findall(text)[:2]:
            found += _find_ids(connection, uuid)
        head, _, name = text.partition("/")
        if _PREFIX.match(head):
            within = sa.select(workflow.c.id).where(workflow.c.uuid >= head, workflow.c.uuid < head + "g").limit(HITS)
            found += _pick(connection, "job", job.c.workflow_id.in_(within), job.c.name == name)
        return _unique(found)
    if _PREFIX.match(text):
        found += _find_ids(connection, text)
    for noun, column in (
        ("workflow", workflow.c.name),
        ("job", job.c.name),
        ("pilot", pilot.c.name),
        ("host", pilot.c.host),
    ):
        table = column.table
        assert isinstance(table, sa.Table)
        starts = column.startswith(text, autoescape=True)
        found += _pick(connection, "pilot" if noun == "host" else noun, _newest(connection, table), starts)
    found += _pick(connection, "dag", dag.c.name.startswith(text, autoescape=True))
    return _unique(found)


def _find_ids(connection: sa.Connection, prefix: str) -> list[dict[str, Any]]:
    found = []
    for noun, table in NOUNS.items():
        found += _pick(connection, noun, table.c.uuid >= prefix, table.c.uuid < prefix + "g")
    # What is in the archive is shown at its old address.
    for noun, place in (("workflow", archive), ("job", archive_job.join(archive))):
        uuid = (archive if noun == "workflow" else archive_job).c.uuid
        name = archive.c.name if noun == "workflow" else sa.literal("a job of ") + archive.c.name
        rows = connection.execute(
            sa.select(uuid.label("uuid"), name.label("name"), sa.literal("archived").label("state"), archive.c.created)
            .select_from(place)
            .where(uuid >= prefix, uuid < prefix + "g")
            .limit(HITS)
        )
        found += [{"noun": noun, **row._mapping} for row in rows]  # noqa: SLF001 - the documented way
    return found


def _newest(connection: sa.Connection, table: sa.Table) -> sa.ColumnElement[bool]:
    newest = connection.scalar(sa.select(sa.func.max(table.c.id))) or 0
    return table.c.id > newest - WINDOW


def _pick(connection: sa.Connection, noun: str, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    table = {"file": arrival, "dag": dag, **NOUNS}[noun]
    name = {"file": arrival.c.place, "dataset": dataset.c.key}.get(noun, table.c.get("name"))
    state = {"file": arrival.c.fate}.get(noun, table.c.get("state", sa.literal("")))
    uuid = dag.c.digest if noun == "dag" else table.c.uuid
    when = arrival.c.arrived if noun == "file" else table.c.created
    assert name is not None
    statement = sa.select(
        uuid.label("uuid"), name.label("name"), sa.type_coerce(state, sa.Text).label("state"), when.label("created")
    )
    rows = connection.execute(statement.where(*where).order_by(table.c.id.desc()).limit(HITS))
    return [{"noun": noun, **row._mapping} for row in rows]  # noqa: SLF001 - the documented way


def _unique(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(one["noun"], one["uuid"]): one for one in found}.values())
