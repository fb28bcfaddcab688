"""Who writes what jobs ask of pilots: requirements, found by content, and narrowed by where data is."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.matching import BOTH, narrow
from p3s.server.db import insert_missing
from p3s.server.models import job, requirement
from p3s.server.prepared import Prepared, among
from p3s.server.queries.places import explain_conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from p3s.server.pipeline import Later
    from p3s.server.transitions.ledger import Ledger

__all__ = ["FIELDS", "digest_wish", "find_requirements", "look_for_requirements", "narrow_jobs"]

#: What a requirement says.
FIELDS = ("owner", "jobtype", "site", "cpus", "memory", "timelimit", "labels")


def digest_wish(wish: Mapping[str, Any]) -> str:
    """Return what a requirement is found by."""
    return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()


_FIND = Prepared(sa.select(requirement.c.digest, requirement.c.id).where(among(requirement.c.digest, "digests")))


def look_for_requirements(connection: sa.Connection, digests: Iterable[str]) -> Later:
    """Send for requirements, ahead of `find_requirements`."""
    return _FIND.send(connection, digests=list(digests))


def find_requirements(
    connection: sa.Connection, wishes: Iterable[dict[str, Any]], looked: Later | None = None
) -> dict[str, int]:
    """Find or insert requirements, and return their ids by digest; `looked` has those that were looked for before."""
    wanted = {digest_wish(wish): wish for wish in wishes}
    known = {row.digest: row.id for row in (looked or look_for_requirements(connection, wanted)).rows()}
    fresh = [wish | {"digest": digest} for digest, wish in wanted.items() if digest not in known]
    if fresh:
        insert_missing(connection, requirement, fresh)
        known = {row.digest: row.id for row in look_for_requirements(connection, wanted).rows()}
    return known


def narrow_jobs(ledger: Ledger, places: Mapping[int, set[str]], condition: sa.ColumnElement[bool]) -> dict[int, str]:
    """Let jobs ask for pilots that can read what has come for them.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    places : mapping of int to set of str
        By job: sites, and URLs.
    condition : sqlalchemy condition
        What holds for a job whose requirement may change.

    Returns
    -------
    dict of int to str
        Jobs that no pilot can ever run, and why.
    """
    wish = (requirement.c[name] for name in FIELDS)
    rows = ledger.connection.execute(
        sa.select(job.c.id, job.c.requirement_id, *(column.label(f"wish_{column.name}") for column in wish))
        .join(requirement, requirement.c.id == job.c.requirement_id)
        .where(job.c.id.in_(sorted(places)), condition)
        .order_by(job.c.id)
    ).all()
    changed: dict[tuple[int, str], list[int]] = {}
    wishes: dict[str, dict[str, Any]] = {}
    torn: list[int] = []
    for row in rows:
        old = {name: getattr(row, f"wish_{name}") for name in FIELDS}
        site, labels = narrow(old["site"], old["labels"], places[row.id])
        if (site, labels) == (old["site"], list(old["labels"])):
            continue
        new = old | {"site": site, "labels": labels}
        digest = digest_wish(new)
        wishes[digest] = new
        changed.setdefault((row.requirement_id, digest), []).append(row.id)
        if BOTH in site:
            torn.append(row.id)
    if wishes:
        ids = find_requirements(ledger.connection, wishes.values())
        for (_, digest), jobs in sorted(changed.items()):
            ledger.connection.execute(sa.update(job).where(job.c.id.in_(jobs)).values(requirement_id=ids[digest]))
    return {ident: explain_conflict(ledger.connection, ident) for ident in torn}
