"""Who an id means: a uuid, a unique prefix of one, ``@last``, WORKFLOW/JOB, or the name of a host, site or service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.errors import Ambiguous, Archived, NotFound
from p3s.server.models import attempt, dataset, host, job, pilot, service, site, workflow
from p3s.server.prepared import Prepared, param
from p3s.server.queries.archive import find_archived, refuse_archived
from p3s.server.queries.pilots import LIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NOUNS", "find_anything", "find_row"]

#: What has a uuid and is shown by it.
NOUNS = {"workflow": workflow, "job": job, "dataset": dataset, "pilot": pilot}
#: What has a uuid, in the order in which `find_anything` looks.
_TABLES = NOUNS | {"attempt": attempt}

#: What programs ask for.
_BY_UUID = {
    noun: Prepared(sa.select(table).where(table.c.uuid == param("ident", sa.Text()))) for noun, table in _TABLES.items()
}
_WHOLE = 36
_PREFIX = re.compile(r"^[0-9a-f][0-9a-f-]{3,35}$")
#: Characters of an id that tell enough in a message.
_SHORT = 13


def find_row(connection: sa.Connection, noun: str, ident: str, *, owner: str | None = None) -> Any:
    """Return the row that `ident` means.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    noun : str
        A key of `NOUNS`, or ``attempt``.
    ident : str
        A uuid, a prefix of at least four characters, ``@last``, or for jobs also WORKFLOW/NAME.
    owner : str, optional
        Whose newest object ``@last`` is.

    Raises
    ------
    NotFound
        If there is none.
    Ambiguous
        If a prefix fits several.
    Archived
        If it is in the archive, or on its way there.
    """
    table = _TABLES[noun]
    if ident == "@last":
        statement = sa.select(table).order_by(table.c.id.desc()).limit(1)
        if owner is not None and "owner" in table.c:
            statement = statement.where(table.c.owner == owner)
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(noun, ident)
        return row
    if "/" in ident and noun in {"job", "dataset"}:
        return _find_member(connection, noun, ident, owner)
    if not _PREFIX.match(ident):
        raise NotFound(noun, ident, "an id is a uuid, at least its first four characters, or @last")
    rows = (
        _BY_UUID[noun].run(connection, ident=ident)
        if len(ident) == _WHOLE
        else _find_prefixed(connection, table, ident)
    )
    if not rows:
        raise find_archived(connection, noun, ident) or NotFound(noun, ident)
    if len(rows) > 1:
        raise Ambiguous(noun, ident, [row.uuid[:_SHORT] for row in rows])
    if noun == "workflow":
        refuse_archived(connection, rows[0])
    return rows[0]


def _find_prefixed(connection: sa.Connection, table: sa.Table, ident: str) -> Sequence[Any]:
    # A range of the index: all that starts with the prefix lies below the prefix followed by the last hex digit's next.
    statement = sa.select(table).where(table.c.uuid >= ident, table.c.uuid < ident + "g").limit(6)
    return connection.execute(statement).all()


def find_anything(connection: sa.Connection, thing: str, *, owner: str | None = None) -> tuple[str, Any]:
    """Return the noun and the row that `thing` means, whatever kind it is.

    Raises
    ------
    NotFound
        If nothing has this id.
    Ambiguous
        If it fits objects of one kind or of several.
    Archived
        If it is in the archive, or on its way there.
    """
    if "/" in thing:
        for noun in ("job", "dataset"):
            try:
                return noun, find_row(connection, noun, thing, owner=owner)
            except NotFound as it:
                # It may be the workflow that is not there.
                absent = it
        if absent.noun == "workflow":
            raise absent
        parent = thing.partition("/")[0]
        raise NotFound("job or dataset", thing, f"`p3s job list --workflow {parent}` shows the jobs of that workflow")
    if thing == "@last":
        thing = find_row(connection, "workflow", thing, owner=owner).uuid
    found: list[tuple[str, Any]] = []
    archived: Archived | None = None
    for noun in _TABLES:
        try:
            found.append((noun, find_row(connection, noun, thing, owner=owner)))
        except NotFound:
            continue
        except Archived as it:
            archived = it
    if archived is not None and not found:
        raise archived
    # A standalone job shares its uuid with its workflow of one node; the job knows more.
    if [noun for noun, _ in found] == ["workflow", "job"] and found[0][1].uuid == found[1][1].uuid:
        return found[1]
    if not found:
        found = _find_named(connection, thing)
        if len(found) > 1:
            raise Ambiguous("object", thing, [f"{noun}:{thing}" for noun, _ in found])
    if not found:
        raise NotFound("object", thing, "`p3s workflow list` and `p3s job list` show ids")
    if len(found) > 1:
        raise Ambiguous("object", thing, [f"{noun} {row.uuid[:_SHORT]}" for noun, row in found])
    return found[0]


def _find_named(connection: sa.Connection, thing: str) -> list[tuple[str, Any]]:
    """Return what has a name instead of a uuid, with the name for its id; ``NOUN:NAME`` asks for one noun only."""
    wanted, colon, name = thing.partition(":")
    if not colon or wanted not in {"host", "site", "service"}:
        wanted, name = "", thing
    banned = sa.case((host.c.banned.is_(True), "banned"), else_="allowed").label("state")
    stopped = sa.case((service.c.stopped.is_(True), "stopped"), else_="started").label("state")
    statements: dict[str, Any] = {
        "host": sa.select(pilot.c.host.label("uuid"), banned)
        .outerjoin(host, host.c.name == pilot.c.host)
        .where(pilot.c.host == name),
        "site": sa.union_all(
            sa.select(site.c.name.label("uuid"), sa.literal("defined").label("state")).where(site.c.name == name),
            sa.select(pilot.c.site, sa.literal("not defined")).where(pilot.c.site == name, pilot.c.state.in_(LIVE)),
        ).order_by("state"),
        "service": sa.select(service.c.name.label("uuid"), stopped).where(service.c.name == name),
    }
    found = [
        (noun, connection.execute(statement.limit(1)).one_or_none())
        for noun, statement in statements.items()
        if wanted in {"", noun}
    ]
    return [(noun, row) for noun, row in found if row is not None]


def _find_member(connection: sa.Connection, noun: str, ident: str, owner: str | None) -> Any:
    head, _, name = ident.partition("/")
    try:
        parent = find_row(connection, "workflow", head, owner=owner)
    except Archived as it:
        raise find_archived(connection, noun, f"{it.uuid}/{name}") or NotFound(noun, ident) from it
    table = NOUNS[noun]
    column = job.c.name if noun == "job" else dataset.c.key
    row = connection.execute(sa.select(table).where(table.c.workflow_id == parent.id, column == name)).one_or_none()
    if row is None:
        raise NotFound(noun, ident, f"`p3s job list --workflow {parent.uuid[:8]}` shows the jobs of that workflow")
    return row
