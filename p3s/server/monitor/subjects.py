"""What is drawn: a workflow, or one in the archive; both tell the same of their jobs, data and attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from p3s.engine.folding import count_families, list_foreign, list_links, list_nodes, list_parents
from p3s.errors import Archived, BadInput, Problem
from p3s.server.monitor.frame import caller, shapes
from p3s.server.queries import drawings
from p3s.server.queries.archive import show_archived
from p3s.server.queries.archive_graphs import read_kept
from p3s.server.queries.find import find_row

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence, Sized

    import sqlalchemy as sa

    from p3s.engine.folding import Families, Graph, Node
    from p3s.server.queries.archive_graphs import Kept
    from p3s.wire import WorkflowView

__all__ = ["Subject", "find_subject"]

#: Most jobs of a workflow in the archive that is drawn: its parts are read one by one.
ARCHIVED = 10_000

Value = TypeVar("Value", bound="Sized")


class Subject:
    """A workflow and what its drawings show.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        An open connection.
    row : row of ``workflow``, or WorkflowView
        Which one.
    """

    def __init__(self, connection: sa.Connection, row: Any) -> None:
        self._connection = connection
        self._seen: dict[Hashable, Sized] = {}
        self.row = row

    def find(self, what: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is known of the workflow under `what`: within one answer all of it is made once."""
        if what not in self._seen:
            self._seen[what] = shapes().find(self.row, what, make)
        return cast("Value", self._seen[what])

    def count_families(self) -> Families:
        """Count the members of its families."""
        return self.find("families", lambda: count_families(self._find_graph()))

    def list_links(self, closed: set[str], shut: set[str]) -> list[tuple[str, str]]:
        """Return the edges between its nodes."""
        return list_links(self._find_graph(), closed, shut)

    def list_nodes(self, closed: set[str], shut: set[str]) -> list[Node]:
        """Return its nodes with their states."""
        foreign = self.find("foreign", lambda: list_foreign(self._find_graph()))
        return drawings.list_nodes(self._connection, self.row.id, closed, shut, foreign)

    def list_attempts(self, limit: int) -> Sequence[Any]:
        """Return its newest attempts, oldest first."""
        return drawings.list_attempts(self._connection, self.row.id, limit)

    def read_ends(self) -> dict[Any, float]:
        """Return when its jobs ended."""
        return drawings.read_ends(self._connection, self.row.id)

    def list_parents(self) -> dict[Any, list[Any]]:
        """Return the parents of its jobs."""
        return self.find("parents", lambda: list_parents(self._find_graph()))

    def _find_graph(self) -> Graph[Any]:
        return self.find("graph", lambda: drawings.read_graph(self._connection, self.row.id))


class KeptSubject(Subject):
    """A workflow in the archive, which changes no more."""

    def __init__(self, connection: sa.Connection, it: Archived, view: WorkflowView) -> None:
        super().__init__(connection, view)
        self._it = it

    def find(self, what: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is known of it: not by the numbers of its rows, as before it was archived, but by uuids."""
        return super().find(("archived", what), make)

    def list_nodes(self, closed: set[str], shut: set[str]) -> list[Node]:
        """Return its nodes with their states."""
        kept = self._find_kept()
        return list_nodes(kept.graph, closed, shut, kept.states, kept.uuids)

    def list_attempts(self, limit: int) -> Sequence[Any]:
        """Return its newest attempts, oldest first."""
        return self._find_kept().attempts[-limit:]

    def read_ends(self) -> dict[Any, float]:
        """Return when its jobs ended."""
        return self._find_kept().ends

    def _find_graph(self) -> Graph[Any]:
        return self._find_kept().graph

    def _find_kept(self) -> Kept:
        return self.find("kept", lambda: read_kept(self._connection, self._it))


def find_subject(connection: sa.Connection, ident: str) -> Subject:
    """Return what an id means that a drawing is asked of.

    Raises
    ------
    NotFound
        If there is none.
    Conflict
        If it is on its way into the archive.
    BadInput
        If it is in the archive, and too large to be drawn from there.
    """
    try:
        return Subject(connection, find_row(connection, "workflow", ident, owner=caller().name))
    except Archived as it:
        view = show_archived(connection, it)
        if view.jobs > ARCHIVED:
            short = view.uuid[:8]
            message = (
                f"workflow {short} is in the archive and has {view.jobs:,} jobs, more than are drawn from there "
                f"({ARCHIVED:,}); `p3s workflow graph {short}` reads them all"
            )
            raise BadInput([Problem(message, where="ident")]) from None
        return KeptSubject(connection, it, view)
