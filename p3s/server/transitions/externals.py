"""Who finds and admits data that no job makes: each place has versions, and new content is a new one.

Whoever reads a version keeps it: a workflow is bound to rows, not to places.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.places import name_site
from p3s.engine.states import DatasetState, Signal
from p3s.server.db import Overtaken, insert_missing, split_batches
from p3s.server.models import dataset
from p3s.server.transitions.recounts import recount_below
from p3s.server.transitions.spread import spread_datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["Facts", "admit_externals"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What somebody says of the data at a place; `available` says that it is there now."""

    key: str
    name: str
    available: bool
    size: int | None = None
    checksum: str = ""
    datatype: str = ""
    comment: str = ""

    def describe(self) -> dict[str, Any]:
        """Return as columns what is said at all."""
        said = {"size": self.size, "checksum": self.checksum, "datatype": self.datatype, "comment": self.comment}
        return {name: value for name, value in said.items() if value not in {None, ""}}

    def contradicts(self, row: Any) -> bool:
        """Tell whether this is other content than what a row describes."""
        other_sum = bool(self.checksum and row.checksum and self.checksum != row.checksum)
        return other_sum or (self.size is not None and row.size is not None and self.size != row.size)


def admit_externals(ledger: Ledger, site: str, wanted: Mapping[str, Facts]) -> dict[str, int]:
    """Find the dataset of each place, in the version that is meant, and return row ids by place.

    What is said to be there becomes available, which releases whoever waits for it; other content than what is known
    is a new version. What nobody has is expected.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    site : str
        Whose paths; URLs are the same everywhere.
    wanted : mapping of str to Facts
        By normalised place; at most some hundred.
    """
    sites: dict[str, dict[str, Facts]] = {}
    for place, facts in wanted.items():
        sites.setdefault(name_site(place, site), {})[place] = facts
    return {
        place: ident for where, some in sorted(sites.items()) for place, ident in _admit(ledger, where, some).items()
    }


def _admit(ledger: Ledger, site: str, wanted: Mapping[str, Facts]) -> dict[str, int]:
    known = _read_newest(ledger.connection, site, sorted(wanted))
    fresh = {place: number for place, facts in wanted.items() if (number := _choose_version(known.get(place), facts))}
    if fresh:
        _insert(ledger, site, {place: (wanted[place], number) for place, number in fresh.items()})
        known |= _read_newest(ledger.connection, site, sorted(fresh))
        if any(_choose_version(known[place], wanted[place]) for place in fresh):
            # Somebody else registered yet other content at the same moment.
            raise Overtaken
    ids = {place: int(known[place].id) for place in wanted}
    there = {place: facts for place, facts in wanted.items() if facts.available}
    _register(ledger, [(known[place], facts) for place, facts in sorted(there.items())])
    given_up = [row.id for place, row in known.items() if place not in there and row.state == DatasetState.FAILED]
    if given_up:
        # Somebody waits for it again; who bore with its end counts it anew.
        recount_below(ledger, (), ledger.move("dataset", sorted(given_up), Signal.RETRY, message=""))
    return ids


def _choose_version(row: Any, facts: Facts) -> int | None:
    """Return the number of the version to be made, None if the newest one is meant."""
    if row is None:
        return 1
    if facts.available:
        return int(row.version) + 1 if row.state != DatasetState.EXPECTED and facts.contradicts(row) else None
    return int(row.version) + 1 if row.state == DatasetState.DELETED else None


def _register(ledger: Ledger, entries: Sequence[tuple[Any, Facts]]) -> None:
    arrived: list[int] = []
    for row, facts in entries:
        if row.state == DatasetState.EXPECTED:
            values = {"size": facts.size, "checksum": facts.checksum} | facts.describe()
            arrived += ledger.move("dataset", [row.id], Signal.REGISTER, expected=DatasetState.EXPECTED, **values)
        elif row.state != DatasetState.AVAILABLE:
            # Its consumers have ended, or did without it: there is nobody to tell.
            ledger.move("dataset", [row.id], Signal.REGISTER, message="", **facts.describe())
        elif news := {name: value for name, value in facts.describe().items() if getattr(row, name) != value}:
            ledger.connection.execute(sa.update(dataset).where(dataset.c.id == row.id).values(news))
            said = ", ".join(f"{name} {value}" for name, value in news.items())
            ledger.note(
                "dataset", row.uuid, "adjust", before=row.state, after=row.state, cause=f"{ledger.cause}: {said}"
            )
    spread_datasets(ledger, arrived)


def _read_newest(connection: sa.Connection, site: str, places: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for batch in split_batches(places):
        rows = connection.execute(
            sa.select(dataset)
            .where(dataset.c.workflow_id.is_(None), dataset.c.site == site, dataset.c.place.in_(batch))
            .order_by(dataset.c.version)
            # A purge may not forget them before it is written down who reads them.
            .with_for_update(read=True, key_share=True)
        )
        # The newest version of each place comes last.
        found |= {row.place: row for row in rows}
    return found


def _insert(ledger: Ledger, site: str, wanted: Mapping[str, tuple[Facts, int]]) -> None:
    rows = [
        {
            "uuid": str(uuid.uuid4()),
            "key": facts.key,
            "name": facts.name,
            "state": DatasetState.EXPECTED,
            "place": place,
            "version": number,
            "site": site,
            "datatype": facts.datatype,
            "comment": facts.comment,
            "result": False,
            "created": ledger.now,
        }
        for place, (facts, number) in sorted(wanted.items())
    ]
    insert_missing(ledger.connection, dataset, rows)
