"""Files that arrive: the one place that decides what becomes of each, and the services that watch for them."""

from __future__ import annotations

import uuid as uuids
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.fates import SETTLED, Fate
from p3s.engine.names import check_label, quote_name
from p3s.errors import BadInput, Conflict, NotAllowed, Problem
from p3s.server.db import insert_missing, lock_rows, split_batches
from p3s.server.models import arrival, service
from p3s.server.queries.arrivals import view_arrivals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import ArrivalView, BeatBody, Sighting, SightingsBody

__all__ = ["beat_service", "record_arrivals"]

#: Fates of a content that keep the same content under another name from being started.
_TAKEN = (Fate.STARTING, Fate.STARTED)
#: Fates that are not the last word, and no promise either.
_OPEN = frozenset(Fate) - SETTLED - {Fate.STARTING}


class _DryRun(Exception):
    """Takes the answer out of a transaction that is rolled back."""

    def __init__(self, views: list[ArrivalView]) -> None:
        self.views = views


def record_arrivals(core: Core, body: SightingsBody, owner: str) -> list[ArrivalView]:
    """Decide about files that an injector saw, and return what holds of each, in the order of the sightings.

    A decision stands: whoever asks again, after a lost reply or a crash, gets the same answer and the same uuid for
    the workflow. What is settled changes only with `again`.

    Raises
    ------
    NotAllowed
        If the service belongs to somebody else.
    """

    def action(ledger: Ledger) -> list[ArrivalView]:
        ident = _lock_service(ledger, body.service, owner)
        known = _read_rows(ledger.connection, ident, body.items)
        views = view_arrivals(ledger.connection, [_record(ledger, ident, item, known) for item in body.items])
        if body.dry_run:
            raise _DryRun(views)
        return views

    try:
        return core.change(owner, action)
    except _DryRun as answer:
        return answer.views


def beat_service(core: Core, name: str, body: BeatBody, owner: str) -> None:
    """Write down that a service lives, or that it leaves.

    Raises
    ------
    BadInput
        If no service can be called so.
    NotAllowed
        If a service of this name belongs to somebody else.
    Conflict
        If another process of this name has taken over.
    """
    if wrong := check_label(name):
        raise BadInput([Problem(f"service {quote_name(name)} {wrong}", where="name")])

    def action(ledger: Ledger) -> None:
        ident = _lock_service(ledger, name, owner)
        row = ledger.connection.execute(sa.select(service).where(service.c.id == ident)).one()
        if row.instance != body.instance and not body.arriving:
            raise Conflict(
                f"another {row.kind} called {name} has taken over, on {row.host} with process id {row.pid}; give "
                "one of the two another name"
            )
        values: dict[str, Any] = {
            "kind": body.kind,
            "instance": body.instance,
            "host": body.host,
            "pid": body.pid,
            "period": body.period,
            "seen": ledger.now,
            "stopped": body.leaving,
        }
        if body.last and body.last != row.last:
            values |= {"last": body.last, "last_at": ledger.now}
        ledger.connection.execute(sa.update(service).where(service.c.id == ident).values(values))

    core.change(owner, action)


def _lock_service(ledger: Ledger, name: str, owner: str) -> int:
    """Find or make a service and lock its row: what is decided for it is decided in turn."""
    fresh = {"name": name, "kind": "injector", "owner": owner, "seen": ledger.now, "stopped": True}
    find = lock_rows(sa.select(service.c.id, service.c.owner).where(service.c.name == name))
    row = ledger.connection.execute(find).one_or_none()
    if row is None:
        insert_missing(ledger.connection, service, [fresh])
        row = ledger.connection.execute(find).one()
    if row.owner != owner:
        raise NotAllowed(f"the service {name} belongs to {row.owner}; give this one another name")
    return int(row.id)


def _read_rows(connection: sa.Connection, ident: int, items: Sequence[Sighting]) -> dict[tuple[str, str, str], Any]:
    """Return what is known of the files by rule, place and identity."""
    rows: dict[tuple[str, str, str], Any] = {}
    for places in split_batches(sorted({item.place for item in items})):
        found = connection.execute(sa.select(arrival).where(arrival.c.service_id == ident, arrival.c.place.in_(places)))
        rows |= {(row.rule, row.place, row.identity): row for row in found}
    return rows


def _record(ledger: Ledger, ident: int, item: Sighting, known: dict[tuple[str, str, str], Any]) -> int:
    """Write one decision, unless an earlier one stands, and return its row."""
    row = _find_row(ledger.connection, item, known)
    if row is not None and not _may_change(row, item):
        if row.stamp != item.stamp:
            ledger.connection.execute(sa.update(arrival).where(arrival.c.id == row.id).values(stamp=item.stamp))
        return int(row.id)
    values = {
        "stamp": item.stamp,
        "size": item.size,
        "identity": item.identity,
        "fate": item.fate,
        "message": item.message,
        "workflow": item.workflow,
        "decided": ledger.now,
    }
    if item.identity and item.fate in {Fate.WAITING, Fate.STARTING} and not item.again:
        first = _find_first(ledger.connection, ident, item)
        if first is not None:
            values |= {"fate": Fate.DUPLICATE, "message": f"the same content is {first.place}", "workflow": None}
    if row is None:
        values |= {
            "uuid": str(uuids.uuid4()),
            "service_id": ident,
            "rule": item.rule,
            "place": item.place,
            "arrived": ledger.now - item.age,
        }
        statement: Any = sa.insert(arrival).values(values).returning(arrival)
    else:
        statement = sa.update(arrival).where(arrival.c.id == row.id).values(values).returning(arrival)
    written = ledger.connection.execute(statement).one()
    if row is not None:
        known.pop((item.rule, item.place, row.identity), None)
    known[item.rule, item.place, written.identity] = written
    if row is None or row.fate != written.fate:
        before = "" if row is None else row.fate
        ledger.note("file", written.uuid, "decide", before=before, after=written.fate, cause=item.message or None)
    return int(written.id)


def _find_row(connection: sa.Connection, item: Sighting, known: dict[tuple[str, str, str], Any]) -> Any:
    """Return the row that a sighting is about; None if it is to have one.

    A file has a row for each content that was settled, and at most one that is open: it becomes that of its content.
    """
    exact = known.get((item.rule, item.place, item.identity))
    of_file = [row for key, row in known.items() if key[:2] == (item.rule, item.place)]
    opened = next((row for row in of_file if row is not exact and row.fate in _OPEN), None)
    if exact is None or opened is None:
        return exact or opened
    connection.execute(sa.delete(arrival).where(arrival.c.id == opened.id))
    known.pop((item.rule, item.place, opened.identity))
    return exact


def _may_change(row: Any, item: Sighting) -> bool:
    """Tell whether a sighting may replace what is decided."""
    if row.fate == Fate.STARTING:
        # Only what became of this very start is news.
        return item.fate not in {Fate.STARTING, Fate.WAITING} and item.workflow == row.workflow
    return row.fate not in SETTLED or item.again


def _find_first(connection: sa.Connection, ident: int, item: Sighting) -> Any:
    """Return a file of another name with this content that was started; None if there is none."""
    return connection.execute(
        sa.select(arrival.c.place)
        .where(
            arrival.c.service_id == ident,
            arrival.c.rule == item.rule,
            arrival.c.identity == item.identity,
            arrival.c.place != item.place,
            arrival.c.fate.in_(_TAKEN),
        )
        .order_by(arrival.c.id)
        .limit(1)
    ).one_or_none()
