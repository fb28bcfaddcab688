"""Registering kinds of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.names import check_extension, check_label
from p3s.errors import BadInput, Conflict, NotFound, Problem
from p3s.server.db import insert_new, lock_rows
from p3s.server.models import datatype

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core
    from p3s.wire import DatatypeBody

__all__ = ["add_datatype", "delete_datatype", "find_owner"]


def add_datatype(core: Core, name: str, body: DatatypeBody, by: str) -> None:
    """Register a datatype; the same again changes its comment only.

    Raises
    ------
    BadInput
        If the name or the extension cannot be one.
    Conflict
        If it is registered with another extension: workflows name files by it.
    """
    problems = []
    if wrong := check_label(name):
        problems.append(Problem(f"datatype '{name}' {wrong}", where="name"))
    if wrong := check_extension(body.ext):
        problems.append(Problem(f"'{body.ext}' {wrong}", where="ext"))
    if problems:
        raise BadInput(problems)

    def action(ledger: Ledger) -> None:
        row = {"name": name, "ext": body.ext, "comment": body.comment, "owner": by, "created": ledger.now}
        is_new = insert_new(ledger.connection, datatype, row)
        mine = datatype.c.name == name
        known = ledger.connection.execute(lock_rows(sa.select(datatype).where(mine))).one()
        if known.ext != body.ext:
            raise Conflict(
                f"datatype {name} is registered by {known.owner} with the extension {known.ext}; "
                f"`p3s datatype delete {name}` takes it out"
            )
        if is_new:
            ledger.note("datatype", name[:36], "add", cause=f"{name} {body.ext}, by {by}")
        if body.comment and known.comment != body.comment:
            ledger.connection.execute(sa.update(datatype).where(mine).values(comment=body.comment))
            ledger.note("datatype", name[:36], "adjust", cause=f"{name}: {body.comment}, by {by}")

    core.change(by, action)


def find_owner(core: Core, name: str) -> str:
    """Return who registered a datatype.

    Raises
    ------
    NotFound
        If nobody did.
    """
    with core.db.read() as connection:
        owner = connection.scalar(sa.select(datatype.c.owner).where(datatype.c.name == name))
    if owner is None:
        raise NotFound("datatype", name, "`p3s datatype list` shows those that are registered")
    return str(owner)


def delete_datatype(core: Core, name: str, by: str) -> None:
    """Take a datatype out; data of this type stays as it is, and keeps its name."""

    def action(ledger: Ledger) -> None:
        if ledger.connection.execute(sa.delete(datatype).where(datatype.c.name == name)).rowcount:
            ledger.note("datatype", name[:36], "delete", cause=f"{name}, by {by}")

    core.change(by, action)
