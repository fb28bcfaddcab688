"""The graph that NetworkX holds: jobs and datasets as nodes, and what follows from its shape."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

import networkx as nx

from p3s.engine.collector import pause_collector
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from p3s.engine.plan import WorkflowPlan

__all__ = ["Node", "build_graph", "find_critical_path", "find_generations", "schedule_plan", "sort_jobs"]

#: ``("job", name)`` or ``("dataset", key)``.
Node = tuple[str, str]

#: Seconds that a job is expected to take where nothing is known.
UNKNOWN_SECONDS = 60.0


def build_graph(plan: WorkflowPlan) -> nx.DiGraph[Node]:
    r"""Return the graph of a plan.

    Parameters
    ----------
    plan : WorkflowPlan
        What `p3s.engine.expand.expand_dag` made.

    Returns
    -------
    networkx.DiGraph
        Nodes ``("job", name)`` and ``("dataset", key)``. Each edge has ``partial``: whether its target bears
        with whatever end the source takes (for an edge between jobs, ``done``).

    Examples
    --------
    >>> from p3s.engine.expand import expand_dag
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {outputs: [y], run: x}, b: {inputs: {y: partial}, run: z}}"
    >>> list(build_graph(expand_dag(load_dag(text, "x.yaml"), {}, {}, bundle=())).edges(data="partial"))
    [(('job', 'a'), ('dataset', 'y'), False), (('dataset', 'y'), ('job', 'b'), True)]
    """
    graph: nx.DiGraph[Node] = nx.DiGraph()
    with pause_collector():
        nodes: dict[str, Node] = {name: ("job", name) for name in plan.jobs}
        data: dict[str, Node] = {key: ("dataset", key) for key in plan.datasets}
        graph.add_nodes_from(nodes.values())
        graph.add_nodes_from(data.values())
        for name, job in plan.jobs.items():
            node = nodes[name]
            for output in job.outputs:
                graph.add_edge(node, data[output.key], partial=False)
            for item in job.inputs:
                graph.add_edges_from(((data[key], node) for key in item.keys), partial=item.partial)
            for parent, done in job.needs:
                graph.add_edge(nodes[parent], node, partial=done)
    return graph


def schedule_plan(plan: WorkflowPlan, expected: Mapping[str, float]) -> WorkflowPlan:
    r"""Return the plan with ranks, critical path, and which failures are tolerated.

    A job's rank is the longest expected time from its start to the end of the workflow: the upward rank of
    H. Topcuoglu, S. Hariri and M. Wu, IEEE Trans. Parallel Distrib. Syst. 13 (2002) 260, without costs of
    communication.

    Parameters
    ----------
    plan : WorkflowPlan
        What `p3s.engine.expand.expand_dag` made.
    expected : mapping of str to float
        Seconds that a job of each family took so far; a family that is not there is taken at the median of
        those that are, or at 60 s.

    Returns
    -------
    WorkflowPlan
        A new plan.

    Raises
    ------
    BadInput
        If the graph has a cycle, with one of them.

    Examples
    --------
    >>> from p3s.engine.expand import expand_dag
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {outputs: [y], run: x}, b: {inputs: {y: partial}, run: z}}"
    >>> plan = schedule_plan(expand_dag(load_dag(text, "x.yaml"), {}, {}, bundle=()), {"a": 5, "b": 7})
    >>> plan.critical_path, plan.jobs["a"].rank, plan.jobs["b"].rank, plan.jobs["a"].tolerated
    (12.0, 12.0, 7.0, True)
    """
    with pause_collector():
        graph = build_graph(plan)
        order = _sort_graph(graph)
        times = _find_times(plan, expected)
        rank: dict[Node, float] = {}
        # Whether every path down from a node meets a partial edge; a dataset that nobody reads stops no job.
        borne: dict[Node, bool] = {}
        has_followers: dict[Node, bool] = {}
        for node in reversed(order):
            kind, name = node
            below = graph.adj[node]
            rank[node] = max((rank[after] for after in below), default=0.0)
            if kind == "dataset":
                has_followers[node] = bool(below)
                borne[node] = all(edge["partial"] or borne[after] for after, edge in below.items())
                continue
            rank[node] += times[name]
            followers = [(after, edge) for after, edge in below.items() if after[0] == "job" or has_followers[after]]
            borne[node] = bool(followers) and all(edge["partial"] or borne[after] for after, edge in followers)
        jobs = {
            name: replace(job, rank=rank[("job", name)], tolerated=borne[("job", name)])
            for name, job in plan.jobs.items()
        }
    longest = max((job.rank for job in jobs.values()), default=0.0)
    return replace(plan, jobs=jobs, critical_path=longest)


def sort_jobs(plan: WorkflowPlan) -> list[str]:
    r"""Return the names of the jobs in topological order: each after all that it waits for.

    Parameters
    ----------
    plan : WorkflowPlan
        A plan without cycles.

    Returns
    -------
    list of str
        The names.

    Examples
    --------
    >>> from p3s.engine.expand import expand_dag
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {b: {needs: a, run: z}, a: {run: x}}"
    >>> sort_jobs(expand_dag(load_dag(text, "x.yaml"), {}, {}, bundle=()))
    ['a', 'b']
    """
    return [name for kind, name in _sort_graph(build_graph(plan)) if kind == "job"]


def find_generations(plan: WorkflowPlan) -> list[list[str]]:
    r"""Return the jobs in layers: each layer waits for the ones before only.

    Parameters
    ----------
    plan : WorkflowPlan
        A plan without cycles.

    Returns
    -------
    list of list of str
        Names of jobs, in the order of the document within each layer.

    Examples
    --------
    >>> from p3s.engine.expand import expand_dag
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {b: {needs: a, run: z}, a: {run: x}, c: {needs: a, run: z}}"
    >>> find_generations(expand_dag(load_dag(text, "x.yaml"), {}, {}, bundle=()))
    [['a'], ['b', 'c']]
    """
    graph = build_graph(plan)
    depth: dict[Node, int] = {}
    for node in _sort_graph(graph):
        before = max((depth[parent] for parent in graph.pred[node]), default=-1)
        # Only jobs count: a dataset has the depth of the job that makes it.
        depth[node] = before + (node[0] == "job")
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in plan.jobs:
        layers[depth[("job", name)]].append(name)
    return layers


def find_critical_path(plan: WorkflowPlan) -> list[str]:
    r"""Return the jobs along the longest expected path.

    Parameters
    ----------
    plan : WorkflowPlan
        A plan that `schedule_plan` made.

    Returns
    -------
    list of str
        Names of jobs, from first to last.

    Examples
    --------
    >>> from p3s.engine.expand import expand_dag
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {run: x}, b: {run: x}, c: {needs: [a, b], run: z}}"
    >>> plan = expand_dag(load_dag(text, "x.yaml"), {}, {}, bundle=())
    >>> find_critical_path(schedule_plan(plan, {"b": 9, "a": 1}))
    ['b', 'c']
    """
    graph = build_graph(plan)
    path: list[str] = []
    candidates = [name for name in plan.jobs if graph.in_degree(("job", name)) == 0 or not _find_parents(graph, name)]
    while candidates:
        # The first of equals, so that the answer does not change from call to call.
        best = max(candidates, key=lambda name: plan.jobs[name].rank)
        path.append(best)
        candidates = _find_children(graph, best)
    return path


def _find_parents(graph: nx.DiGraph[Node], name: str) -> list[str]:
    nodes = list(graph.pred[("job", name)])
    nodes += [parent for node in nodes if node[0] == "dataset" for parent in graph.pred[node]]
    return [name for kind, name in nodes if kind == "job"]


def _find_children(graph: nx.DiGraph[Node], name: str) -> list[str]:
    nodes = list(graph.adj[("job", name)])
    nodes += [child for node in nodes if node[0] == "dataset" for child in graph.adj[node]]
    return [name for kind, name in nodes if kind == "job"]


def _find_times(plan: WorkflowPlan, expected: Mapping[str, float]) -> dict[str, float]:
    families = {job.family for job in plan.jobs.values() if not job.noop}
    known = [expected[family] for family in families if family in expected]
    unknown = median(known) if known else UNKNOWN_SECONDS
    return {
        name: 0.0 if job.noop or job.skipped else expected.get(job.family, unknown) for name, job in plan.jobs.items()
    }


def _sort_graph(graph: nx.DiGraph[Node]) -> list[Node]:
    """Return the nodes in topological order, or raise with a cycle."""
    try:
        return list(nx.topological_sort(graph))
    except nx.NetworkXUnfeasible as error:
        # find_cycle on the whole graph may never return; in a strongly connected part it does at once.
        parts: Iterator[set[Node]] = nx.strongly_connected_components(graph)
        part = next((part for part in parts if len(part) > 1), None)
        edges: Any = nx.find_cycle(graph.subgraph(part) if part else graph)
        ring = [edge[0] for edge in edges]
        ring = [*ring, ring[0]]
        text = " -> ".join(f"dataset {name}" if kind == "dataset" else name for kind, name in ring[:20])
        raise BadInput(
            [Problem(f"these wait for each other in a cycle: {text}", where=f"jobs.{ring[0][1]}")]
        ) from error
