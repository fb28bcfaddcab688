"""Registering data by hand, changing what is said of it, and deleting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.names import check_checksum, check_label
from p3s.engine.places import check_location, normalise_place
from p3s.engine.states import DatasetState
from p3s.errors import BadInput, Conflict, Problem
from p3s.server.db import lock_rows
from p3s.server.models import dataset
from p3s.server.transitions.deletions import check_consumers, delete_dataset, skip_consumers
from p3s.server.transitions.externals import Facts, admit_externals
from p3s.server.transitions.removals import check_files, order_removal
from p3s.wire import DeleteDatasetReply

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import AdjustDatasetBody, RegisterDatasetBody

__all__ = ["adjust_dataset", "delete", "register_dataset"]


def register_dataset(core: Core, body: RegisterDatasetBody, by: str) -> int:
    """Say that data is there, and release who waited for it; return the dataset's row id.

    Equal content at a place is the same dataset, other content a new version of it.

    Raises
    ------
    BadInput
        If the place, the datatype or the checksum cannot be one.
    """
    problems = []
    if wrong := check_location(body.place):
        problems.append(Problem(f"'{body.place}' {wrong}", where="place"))
    problems += _check_facts(body.datatype, body.checksum)
    if problems:
        raise BadInput(problems)
    place = normalise_place(body.place)
    name = place.rstrip("/").rpartition("/")[2] or place
    facts = Facts(
        name[:300],
        name[:200],
        available=True,
        size=body.size,
        checksum=body.checksum,
        datatype=body.datatype,
        comment=body.comment,
    )
    return core.change(by, lambda ledger: admit_externals(ledger, body.site, {place: facts})[place])


def adjust_dataset(core: Core, row: Any, body: AdjustDatasetBody, by: str) -> None:
    """Change what is said of a dataset; size and checksum can be told where they are not known.

    Raises
    ------
    BadInput
        If nothing is asked for, or a value cannot be one.
    Conflict
        If the content would be another one.
    """
    wanted = body.model_dump(exclude_none=True)
    if not wanted:
        raise BadInput([Problem("say what to change: a datatype, a comment, a size, a checksum", where="comment")])
    if problems := _check_facts(body.datatype or "", body.checksum or ""):
        raise BadInput(problems)

    def action(ledger: Ledger) -> None:
        now = ledger.connection.execute(lock_rows(sa.select(dataset).where(dataset.c.id == row.id))).one()
        for name in ("size", "checksum"):
            known = getattr(now, name)
            if name in wanted and known not in {None, ""} and known != wanted[name]:
                raise Conflict(
                    f"its {name} is {known}; register {now.place or 'the place'} with other content as a new version"
                )
        ledger.connection.execute(sa.update(dataset).where(dataset.c.id == row.id).values(wanted))
        said = ", ".join(f"{name} {value}" for name, value in wanted.items())
        ledger.note("dataset", row.uuid, "adjust", before=now.state, after=now.state, cause=f"{by}: {said}")

    core.change(by, action)


def delete(core: Core, row: Any, by: str, *, force: bool, admin: bool, files: bool = False) -> DeleteDatasetReply:
    """Delete a dataset that nobody needs; by force, one that jobs wait for: these are skipped, and it has failed.

    With `files` a pilot deletes the file, too.

    Raises
    ------
    Conflict
        If jobs need it and may not be skipped.
    """
    message = f"was deleted by {by}"
    if files:
        check_files(row)
    with core.db.read() as connection:
        check_consumers(connection, row, force=force, owner=None if admin else by)
    skipped = 0
    left = force
    while left:
        more, left = core.change(by, lambda ledger: skip_consumers(ledger, row.id, f"dataset {row.key} {message}"))
        skipped += more

    def action(ledger: Ledger) -> str:
        delete_dataset(ledger, row.id, message, failed=skipped > 0)
        return order_removal(ledger, row.id, by) if files else ""

    became = core.change(by, action)
    with core.db.read() as connection:
        state = connection.scalar(sa.select(dataset.c.state).where(dataset.c.id == row.id))
    return DeleteDatasetReply(
        uuid=row.uuid, state=DatasetState(state or DatasetState.DELETED), skipped=skipped, files=became
    )


def _check_facts(datatype: str, checksum: str) -> list[Problem]:
    problems = []
    if datatype and (wrong := check_label(datatype)):
        problems.append(Problem(f"datatype '{datatype}' {wrong}", where="datatype"))
    if checksum and (wrong := check_checksum(checksum)):
        problems.append(Problem(f"checksum '{checksum}' {wrong}", where="checksum"))
    return problems
