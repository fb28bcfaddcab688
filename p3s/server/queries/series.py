"""Series for plots: what happened over the last hour or day, and numbers of results."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from p3s.server.models import minute

__all__ = ["list_minutes"]


def list_minutes(connection: sa.Connection, first: int, step: int, number: int) -> list[dict[str, Any]]:
    """Return what happened in each of `number` spans of `step` seconds from `first` on.

    What no server lived through is None. `queue` is the longest of a span.
    """
    rows = connection.execute(
        sa.select(minute).where(minute.c.at >= first, minute.c.at < first + step * number).order_by(minute.c.at)
    )
    names = ("started", "finished", "failed", "queue")
    spans: list[dict[str, Any]] = [{"at": first + step * index} | dict.fromkeys(names) for index in range(number)]
    for row in rows:
        span = spans[(row.at - first) // step]
        for name in names[:3]:
            span[name] = (span[name] or 0) + getattr(row, name)
        span["queue"] = max(span["queue"] or 0, row.queue)
    return spans
