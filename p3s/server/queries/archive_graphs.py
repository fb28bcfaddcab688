"""The graph and the attempts of a workflow in the archive, as its drawings need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from p3s.engine.folding import Graph
from p3s.errors import Conflict
from p3s.server.queries.archive import iterate_parts, show_archived

if TYPE_CHECKING:
    from collections.abc import Iterable

    import sqlalchemy as sa

    from p3s.errors import Archived

__all__ = ["Kept", "read_kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What drawings of an archived workflow are made of, by uuid.

    Attributes
    ----------
    graph : Graph
        Its jobs and data.
    states : dict of uuid to str
        Of jobs, and of data.
    uuids : dict of uuid to uuid
        Of data from elsewhere.
    ends : dict of uuid to float
        When its jobs ended.
    attempts : list
        Oldest first, with their jobs and pilots.
    """

    graph: Graph[str] = field(default_factory=lambda: Graph({}, {}, [], []))
    states: dict[str, str] = field(default_factory=dict)
    uuids: dict[str, str] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    attempts: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.graph) + len(self.states) + len(self.uuids) + len(self.ends) + len(self.attempts)


def read_kept(connection: sa.Connection, it: Archived) -> Kept:
    """Read what drawings of an archived workflow are made of.

    Raises
    ------
    Conflict
        If some of it is not in the archive yet.
    """
    view = show_archived(connection, it)
    kept = Kept()
    entries: list[dict[str, Any]] = []
    data: dict[str, dict[str, Any]] = {}
    for part in iterate_parts(connection, it.row):
        data |= part["datasets"]
        entries += part["jobs"]
    if len(entries) < view.jobs:
        message = f"workflow {view.uuid[:8]} is being moved into the archive; its drawings are there when all of it is"
        raise Conflict(message)
    # The last jobs were moved first.
    entries.reverse()
    names = {entry["name"]: entry["uuid"] for entry in entries}
    for entry in entries:
        _add_job(kept, entry, data, names)
    kept.uuids.update({uuid: uuid for _, _, uuid, _, _ in kept.graph.reads if uuid not in kept.graph.made})
    kept.states.update({uuid: data[uuid]["state"] for uuid in (*kept.graph.made, *kept.uuids)})
    kept.attempts.sort(key=lambda one: one.created)
    return kept


def _add_job(kept: Kept, entry: dict[str, Any], data: dict[str, dict[str, Any]], names: dict[str, str]) -> None:
    uuid, graph, spec = entry["uuid"], kept.graph, entry["spec"]
    graph.jobs[uuid] = (uuid, entry["name"], entry["family"])
    kept.states[uuid] = entry["state"]
    if entry["ended"] is not None:
        kept.ends[uuid] = entry["ended"]
    outputs = {one["key"]: one["name"] for one in spec.get("outputs", ())}
    for made in entry["outputs"]:
        key = data[made]["key"]
        graph.made[made] = (made, key, outputs.get(key, key), uuid)
    inputs = [one["name"] for one in spec.get("inputs", ())]
    for read, key, _ in entry["inputs"]:
        graph.reads.append((len(graph.reads), uuid, read, _name_input(key, inputs), key))
    graph.needs.extend((uuid, names[parent]) for parent, _ in entry["needs"])
    for one in entry["attempts"]:
        kept.attempts.append(
            SimpleNamespace(
                number=one["number"],
                state=one["state"],
                reason=one["reason"],
                created=one["created"],
                started=one["started"],
                ended=one["ended"],
                job_id=uuid,
                job=uuid,
                name=entry["name"],
                pilot=one["pilot"],
                pilot_name=one.get("pilot_name", ""),
                host=one["host"],
            )
        )


def _name_input(key: str, names: Iterable[str]) -> str:
    """Return which of a job's inputs a member belongs to, whose key begins with the input's name."""
    return max((name for name in names if key == name or key.startswith(f"{name}-")), key=len, default=key)
