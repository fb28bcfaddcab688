"""Datatypes, and the extensions that they give to files."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.server.models import datatype
from p3s.server.prepared import Prepared
from p3s.wire import DatatypeList, DatatypeView

__all__ = ["list_datatypes", "read_extensions"]


def list_datatypes(connection: sa.Connection) -> DatatypeList:
    """Return all datatypes by name."""
    rows = connection.execute(sa.select(datatype).order_by(datatype.c.name))
    return DatatypeList(
        items=[DatatypeView(name=row.name, ext=row.ext, comment=row.comment, owner=row.owner) for row in rows]
    )


_EXTENSIONS = Prepared(sa.select(datatype.c.name, datatype.c.ext))


def read_extensions(connection: sa.Connection) -> dict[str, str]:
    """Return the extension of each datatype."""
    return {row.name: row.ext for row in _EXTENSIONS.run(connection)}
