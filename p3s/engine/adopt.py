"""Which jobs of an earlier workflow a corrected one may take over, and why the others run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx

from p3s.engine.graph import build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.engine.plan import WorkflowPlan

__all__ = ["find_adoptable"]


def find_adoptable(
    plan: WorkflowPlan, new: Mapping[str, str], finished: Mapping[str, str], *, below: str | None = None
) -> dict[str, str | None]:
    """Return, for each job of a plan, None if it is taken over, else why it runs again.

    A job is taken over only with all its predecessors: what they made is what it has read.

    Parameters
    ----------
    plan : WorkflowPlan
        The new workflow.
    new : mapping of str to str
        A digest of each job's description, parameters and files.
    finished : mapping of str to str
        The same of the jobs that finished in the earlier workflow.
    below : str, optional
        This job and all that depend on it run again; digests do not matter then.

    Returns
    -------
    dict of str to (str or None)
        In topological order.

    Examples
    --------
    >>> from p3s.engine.plan import JobPlan, WorkflowPlan
    >>> jobs = {"a": JobPlan("a", "a"), "b": JobPlan("b", "b", needs=(("a", False),))}
    >>> find_adoptable(WorkflowPlan("w", jobs, {}), {"a": "1", "b": "2"}, {"a": "1", "b": "3"})
    {'a': None, 'b': 'it is described otherwise now'}
    """
    graph = build_graph(plan)
    forced = (
        set()
        if below is None
        else {below, *(name for noun, name in nx.descendants(graph, ("job", below)) if noun == "job")}
    )
    fate: dict[str, str | None] = {}
    for noun, name in nx.topological_sort(graph):
        if noun != "job":
            continue
        parents = {
            parent
            for source in graph.predecessors((noun, name))
            for kind, parent in ([source] if source[0] == "job" else graph.predecessors(source))
            if kind == "job"
        }
        rerun = sorted(parent for parent in parents if fate[parent] is not None)
        if name == below:
            fate[name] = "it was named"
        elif name in forced:
            fate[name] = f"it depends on {below}"
        elif name not in finished:
            fate[name] = "it did not finish there"
        elif rerun:
            fate[name] = f"{rerun[0]}, on which it depends, runs again"
        elif below is None and new[name] != finished[name]:
            fate[name] = "it is described otherwise now"
        else:
            fate[name] = None
    return fate
