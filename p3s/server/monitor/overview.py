"""The overview: is the system healthy."""

from __future__ import annotations

from p3s.server.monitor.frame import Page, core, page
from p3s.server.monitor.workflows import make_workflows
from p3s.server.queries.system import count_states

__all__: list[str] = []

#: Rows of its tables.
ROWS = 10


@page("/")
def overview() -> Page:
    """Show the state of the whole at one look."""
    with core().db.read() as connection:
        counts = count_states(connection)
        newest = make_workflows(connection, limit=ROWS)
    return Page("overview.html", "Overview", (newest,), {"counts": counts})
