"""Who has files deleted: orders to pilots that can reach them, repeated until one says that they are gone.

Only what jobs made is deleted, below the folder of its attempt and under the name that it was published as. What came
from outside is left to those who brought it.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.places import find_staged, name_site, normalise_place
from p3s.engine.states import DatasetState
from p3s.errors import Conflict
from p3s.server.db import lock_rows
from p3s.server.models import dataset, job_spec, pilot, publication, removal, workflow
from p3s.server.prepared import Prepared, param, there_is
from p3s.server.queries.pilots import LIVE
from p3s.wire import RemovalOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.prepared import Conditions
    from p3s.server.transitions.ledger import Ledger
    from p3s.wire import RemovalReport

__all__ = [
    "HAS_REMOVALS",
    "are_unassigned",
    "assign_removals",
    "check_files",
    "note_removed",
    "order_removal",
    "read_removals",
]

#: Seconds after which an order that no pilot carried out goes to one again; and after which one is looked for again.
PATIENCE, PAUSE = 60.0, 5.0
#: Orders that a pilot gets at once, and that one transaction hands out.
STEP = 100
#: Workflow, job and attempt in the place of what a job made, as acceptance saw to it.
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FENCE = re.compile(f"(?<=/){_UUID}/[^/]+/{_UUID}(?=/)")


def check_files(row: Any) -> None:
    """Check that the files of a dataset are p3s's to delete; `row` is of ``dataset``.

    Raises
    ------
    Conflict
        If no job made it.
    """
    if row.producer_id is None and row.workflow_id is not None:
        raise Conflict(f"dataset {row.key} was made by another workflow; delete it there (`p3s dataset show` names it)")
    if row.producer_id is None:
        raise Conflict(f"no job made {row.place}; p3s deletes no files that came from outside: delete it yourself")


def order_removal(ledger: Ledger, ident: int, by: str) -> str:
    """Have the file of a dataset that was just deleted, or had failed, deleted; return what becomes of it."""
    row = ledger.connection.execute(
        sa.select(dataset, workflow.c.uuid.label("workflow"), workflow.c.site.label("workflow_site"), job_spec.c.body)
        .join(workflow, workflow.c.id == dataset.c.workflow_id)
        .join(job_spec, job_spec.c.job_id == dataset.c.producer_id)
        .where(dataset.c.id == ident)
    ).one()
    if row.state not in (DatasetState.DELETED, DatasetState.FAILED) or row.place is None:
        return ""
    if ledger.connection.scalar(sa.select(removal.c.id).where(removal.c.dataset == row.uuid).limit(1)) is not None:
        return "its files are being deleted already"
    sharing = ledger.connection.execute(
        lock_rows(
            sa.select(dataset.c.key, workflow.c.uuid)
            .join(workflow, workflow.c.id == dataset.c.workflow_id)
            .where(
                dataset.c.place == row.place,
                dataset.c.site == row.site,
                dataset.c.id != ident,
                dataset.c.state == DatasetState.AVAILABLE,
            )
            .limit(1)
        )
    ).one_or_none()
    if sharing is not None:
        return f"its file stays: dataset {sharing.key} of workflow {sharing.uuid[:8]} has the same place"
    fence = _find_fence(row.place)
    if fence is None:
        return f"its file stays: {row.place} lies in no folder of an attempt that is known; delete it yourself"
    values = {
        "uuid": str(uuid.uuid4()),
        "dataset": row.uuid,
        "place": row.place,
        "fence": fence,
        "published": _find_published(ledger.connection, row),
        "site": row.site,
        "owner": by,
        "created": ledger.now,
    }
    ledger.connection.execute(sa.insert(removal).values(values))
    ledger.note("dataset", row.uuid, "delete-files", before=row.state, after=row.state, cause=f"by {by}")
    assign_removals(ledger)
    return "its file is deleted by a pilot that can reach it"


def _find_fence(place: str) -> str | None:
    """Return the workflow, job and attempt whose folder a place lies in; an earlier workflow's, where it took over."""
    found = _FENCE.findall(place)
    return found[-1] if found else None


def _find_published(connection: sa.Connection, row: Any) -> str:
    """Return the name that a dataset was published as, if no other workflow has published there since."""
    target = row.body.get("publish", {}).get(row.name, "")
    if not target:
        return ""
    place = normalise_place(target)
    holder = connection.scalar(
        sa.select(publication.c.workflow_id).where(
            publication.c.place == place, publication.c.site == name_site(place, row.workflow_site)
        )
    )
    return place if holder == row.workflow_id else ""


def are_unassigned(now: Any) -> Conditions:
    """Return what holds of orders that no pilot has, or whose pilot has gone or had its time."""
    gone = sa.exists().where(pilot.c.id == removal.c.pilot_id, pilot.c.state.not_in(LIVE))
    return removal.c.done.is_(None), sa.or_(removal.c.due <= now, gone)


def assign_removals(ledger: Ledger) -> bool:
    """Give orders to pilots that can reach the files; return whether some may be left.

    An order goes to another pilot if its own has gone or does not carry it out.
    """
    rows = ledger.connection.execute(
        lock_rows(
            sa.select(removal).where(*are_unassigned(ledger.now)).order_by(removal.c.due, removal.c.id).limit(STEP),
            skip_locked=True,
        )
    ).all()
    if not rows:
        return False
    pilots = ledger.connection.execute(sa.select(pilot).where(pilot.c.state.in_(LIVE)).order_by(pilot.c.id)).all()
    for row in rows:
        able = [one for one in pilots if _can_reach(one, row)]
        if able:
            # Not always the same one: it may be the one that cannot do it.
            chosen = able[round(ledger.now) % len(able)]
            values: dict[str, Any] = {"pilot_id": chosen.id, "due": ledger.now + PATIENCE}
            ledger.poked.add(chosen.id)
        else:
            scheme = find_staged(row.place)
            what = f"can stage {scheme}" if scheme else f"of site {row.site} has a data folder"
            message = f"no live pilot {what} that holds {row.place}"
            values = {"pilot_id": None, "due": ledger.now + PAUSE, "message": message}
        ledger.connection.execute(sa.update(removal).where(removal.c.id == row.id).values(values))
    return len(rows) == STEP


def _can_reach(one: Any, row: Any) -> bool:
    if scheme := find_staged(row.place):
        return scheme in one.labels
    return bool(one.site == row.site and row.place.startswith(f"{one.data.rstrip('/')}/"))


_MINE = sa.and_(removal.c.pilot_id == param("pilot", sa.BigInteger()), removal.c.done.is_(None))
_READ = Prepared(sa.select(removal).where(_MINE).order_by(removal.c.id).limit(STEP))
#: Whether a pilot, the row of an enclosing statement, has orders.
HAS_REMOVALS = there_is(removal.c.pilot_id == sa.literal_column("pilot.id"), removal.c.done.is_(None))


def read_removals(connection: sa.Connection, pilot_id: int) -> list[RemovalOrder]:
    """Return what a pilot is to delete."""
    return [
        RemovalOrder(uuid=row.uuid, place=row.place, fence=row.fence, published=row.published)
        for row in _READ.run(connection, pilot=pilot_id)
    ]


def note_removed(ledger: Ledger, pilot_id: int, reports: Sequence[RemovalReport]) -> None:
    """Take what a pilot says of its orders; one that failed is given out again later."""
    for report in reports:
        mine = sa.and_(removal.c.uuid == report.uuid, removal.c.pilot_id == pilot_id, removal.c.done.is_(None))
        done: dict[str, Any] = {"message": report.message}
        done |= {"pilot_id": None, "due": ledger.now + PATIENCE} if report.message else {"done": ledger.now}
        found = ledger.connection.execute(
            sa.update(removal).where(mine).values(done).returning(removal.c.dataset, removal.c.place)
        ).one_or_none()
        if found is not None:
            signal = "files-not-deleted" if report.message else "files-deleted"
            ledger.note("dataset", found.dataset, signal[:16], cause=report.message or found.place)
