"""The server's own processes: those that serve, and those that ended without saying so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.server.models import process

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["list_processes"]

#: Rows that are shown.
MOST = 50


def list_processes(connection: sa.Connection) -> Sequence[Any]:
    """Return the processes that are known, those that were lost last first, then those that serve."""
    lost = process.c.lost.is_(None)
    return connection.execute(sa.select(process).order_by(lost, process.c.lost.desc(), process.c.id).limit(MOST)).all()
