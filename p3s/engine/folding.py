"""A workflow's graph as it is drawn: closed families of jobs, and data of one name, are one node each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Families", "Graph", "Node", "count_families", "list_foreign", "list_links", "list_nodes", "list_parents"]

Id = TypeVar("Id")


@dataclass(frozen=True, slots=True)
class Graph(Generic[Id]):
    """Jobs and data with their edges, under ids of any kind.

    Attributes
    ----------
    jobs : dict of id to (uuid, name, family)
        In the order in which they were written.
    made : dict of id to (uuid, key, name, id of the job that makes it)
        Data of the workflow's own.
    reads : list of (number, id of a job, id of what it reads, name, key)
        What is not among `made` comes from elsewhere, and has here the name and key of its reader's workflow.
    needs : list of (id of a job, id of the parent that it needs)
        Edges without data.
    """

    jobs: dict[Id, tuple[str, str, str]]
    made: dict[Id, tuple[str, str, str, Id]]
    reads: list[tuple[int, Id, Id, str, str]]
    needs: list[tuple[Id, Id]]

    def __len__(self) -> int:
        return len(self.jobs) + len(self.made) + len(self.reads) + len(self.needs)


@dataclass(frozen=True, slots=True)
class Families:
    """How many jobs each family has, and how many data each external name stands for."""

    jobs: dict[str, int]
    externals: dict[str, int]

    def __len__(self) -> int:
        return len(self.jobs) + len(self.externals)


@dataclass(slots=True)
class Node:
    """A job or a dataset; or all of a family or of a name, with their number by state.

    Attributes
    ----------
    key : str
        ``job:NAME``, ``family:NAME``, ``dataset:KEY`` or ``group:NAME``.
    uuid : str
        Of the one that it stands for, or of any of them.
    external : bool
        Whether the workflow reads it and does not make it.
    """

    key: str
    uuid: str
    external: bool = False
    states: dict[str, int] = field(default_factory=dict)


def count_families(graph: Graph[Id]) -> Families:
    """Count the members of families of jobs and of external data.

    Examples
    --------
    >>> count_families(Graph({1: ("", "a-1", "a"), 2: ("", "a-2", "a")}, {}, [(1, 1, 7, "x", "x")], [])).jobs
    {'a': 2}
    """
    keys = {(name, key) for _, _, data, name, key in graph.reads if data not in graph.made}
    jobs = Counter(family for _, _, family in graph.jobs.values())
    return Families(dict(jobs), dict(Counter(name for name, _ in sorted(keys))))


def list_foreign(graph: Graph[Id]) -> list[int]:
    """Return the numbers of the edges from data that the workflow does not make itself.

    Examples
    --------
    >>> list_foreign(Graph({1: ("", "a", "a")}, {}, [(5, 1, 7, "x", "x")], []))
    [5]
    """
    return [number for number, _, data, _, _ in graph.reads if data not in graph.made]


def list_links(graph: Graph[Id], closed: Collection[str], shut: Collection[str]) -> list[tuple[str, str]]:
    """Return the edges between the nodes of a drawing, each once.

    Parameters
    ----------
    graph : Graph
        All of it.
    closed, shut : collection of str
        Families of jobs, and names of external data, that are one node each.

    Examples
    --------
    >>> jobs = {1: ("", "a-1", "a"), 2: ("", "a-2", "a"), 3: ("", "b", "b")}
    >>> list_links(Graph(jobs, {}, [], [(3, 1), (3, 2)]), {"a"}, set())
    [('family:a', 'job:b')]
    """
    jobs, made = _name_jobs(graph, closed), _name_made(graph, closed)
    links = dict.fromkeys((jobs[parent], jobs[child]) for child, parent in graph.needs)
    links |= dict.fromkeys((jobs[maker], made[ident]) for ident, (_, _, _, maker) in graph.made.items())
    links |= dict.fromkeys(
        (made[data] if data in made else _name_external(name, key, shut), jobs[reader])
        for _, reader, data, name, key in graph.reads
    )
    # A family whose members feed each other would be its own predecessor.
    return [link for link in links if link[0] != link[1]]


def list_nodes(
    graph: Graph[Id],
    closed: Collection[str],
    shut: Collection[str],
    states: Mapping[Id, str],
    uuids: Mapping[Id, str],
) -> list[Node]:
    """Return the nodes of a drawing.

    Parameters
    ----------
    graph : Graph
        All of it.
    closed, shut : collection of str
        Families of jobs, and names of external data, that are one node each.
    states : mapping of id to str
        Of jobs, and of data.
    uuids : mapping of id to str
        Of data from elsewhere.

    Examples
    --------
    >>> list_nodes(Graph({1: ("u", "a", "a")}, {}, [], []), set(), set(), {1: "failed"}, {})
    [Node(key='job:a', uuid='u', external=False, states={'failed': 1})]
    """
    nodes: dict[str, Node] = {}
    known: list[tuple[Id, str, str, bool]] = []
    known += [(ident, key, graph.jobs[ident][0], False) for ident, key in _name_jobs(graph, closed).items()]
    known += [(ident, key, graph.made[ident][0], False) for ident, key in _name_made(graph, closed).items()]
    outer = {data: _name_external(name, key, shut) for _, _, data, name, key in graph.reads if data not in graph.made}
    known += [(ident, key, uuids[ident], True) for ident, key in outer.items()]
    for ident, key, uuid, external in known:
        counts = nodes.setdefault(key, Node(key, uuid, external)).states
        counts[states[ident]] = counts.get(states[ident], 0) + 1
    return list(nodes.values())


def list_parents(graph: Graph[Id]) -> dict[Id, list[Id]]:
    """Return the parents of each job: those it needs, and those that make what it reads.

    Examples
    --------
    >>> list_parents(Graph({1: ("", "a", "a"), 2: ("", "b", "b")}, {7: ("", "y", "y", 1)}, [(1, 2, 7, "y", "y")], []))
    {2: [1]}
    """
    parents: dict[Id, list[Id]] = {}
    for child, parent in graph.needs:
        parents.setdefault(child, []).append(parent)
    for _, child, data, _, _ in graph.reads:
        if data in graph.made:
            parents.setdefault(child, []).append(graph.made[data][3])
    return parents


def _name_jobs(graph: Graph[Id], closed: Collection[str]) -> dict[Id, str]:
    return {
        ident: f"family:{family}" if family in closed else f"job:{name}"
        for ident, (_, name, family) in graph.jobs.items()
    }


def _name_made(graph: Graph[Id], closed: Collection[str]) -> dict[Id, str]:
    jobs = graph.jobs
    return {
        ident: f"group:{name}" if jobs[maker][2] in closed else f"dataset:{key}"
        for ident, (_, key, name, maker) in graph.made.items()
    }


def _name_external(name: str, key: str, shut: Iterable[str]) -> str:
    return f"group:{name}" if name in shut else f"dataset:{key}"
