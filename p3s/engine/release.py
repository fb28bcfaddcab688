"""The one rule, walked over the graph: the oracle that the server's counters are tested against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s.engine.states import FINAL_JOB, DatasetState, JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

    import networkx as nx

    from p3s.engine.graph import Node

__all__ = ["find_broken", "find_released"]

#: A dataset that is not expected any more has met its end, one way or another.
_ENDED_DATASET = frozenset(DatasetState) - {DatasetState.EXPECTED}
#: States in which a job has not begun and may be told that it never will.
_UNSTARTED = frozenset({JobState.HELD, JobState.WAITING})


def find_released(
    graph: nx.DiGraph[Node], job_states: Mapping[str, JobState], dataset_states: Mapping[str, DatasetState]
) -> set[str]:
    """Return the waiting jobs of which every predecessor is done.

    A parent job is done when it finished, an input dataset when it is available. Over an edge that is
    ``partial`` any end will do.

    Parameters
    ----------
    graph : networkx.DiGraph
        What `p3s.engine.graph.build_graph` made.
    job_states : mapping of str to JobState
        States by job name.
    dataset_states : mapping of str to DatasetState
        States by dataset key.

    Returns
    -------
    set of str
        Names of jobs that may be released now.

    Examples
    --------
    >>> import networkx as nx
    >>> graph = nx.DiGraph()
    >>> graph.add_edge(("dataset", "raw"), ("job", "a"), partial=False)
    >>> graph.add_edge(("job", "a"), ("job", "b"), partial=False)
    >>> states = {"a": JobState.WAITING, "b": JobState.WAITING}
    >>> find_released(graph, states, {"raw": DatasetState.AVAILABLE})
    {'a'}
    """
    return {
        name
        for name, state in job_states.items()
        if state is JobState.WAITING
        and all(
            _is_done(node, job_states, dataset_states)
            or (edge["partial"] and _has_ended(node, job_states, dataset_states))
            for node, edge in graph.pred[("job", name)].items()
        )
    }


def find_broken(
    graph: nx.DiGraph[Node], job_states: Mapping[str, JobState], dataset_states: Mapping[str, DatasetState]
) -> set[str]:
    """Return the jobs that will never run: some predecessor that they cannot do without ended badly.

    Parameters
    ----------
    graph : networkx.DiGraph
        What `p3s.engine.graph.build_graph` made.
    job_states : mapping of str to JobState
        States by job name.
    dataset_states : mapping of str to DatasetState
        States by dataset key.

    Returns
    -------
    set of str
        Names of held and waiting jobs that are to be skipped with the reason ``upstream``; what depends on
        them follows when their outputs are failed in turn.

    Examples
    --------
    >>> import networkx as nx
    >>> graph = nx.DiGraph()
    >>> graph.add_edge(("job", "a"), ("job", "b"), partial=False)
    >>> graph.add_edge(("job", "a"), ("job", "c"), partial=True)
    >>> states = {"a": JobState.FAILED, "b": JobState.WAITING, "c": JobState.WAITING}
    >>> find_broken(graph, states, {}), find_released(graph, states, {})
    ({'b'}, {'c'})
    """
    return {
        name
        for name, state in job_states.items()
        if state in _UNSTARTED
        and any(
            not edge["partial"]
            and _has_ended(node, job_states, dataset_states)
            and not _is_done(node, job_states, dataset_states)
            for node, edge in graph.pred[("job", name)].items()
        )
    }


def _is_done(node: Node, job_states: Mapping[str, JobState], dataset_states: Mapping[str, DatasetState]) -> bool:
    kind, name = node
    if kind == "job":
        return job_states[name] is JobState.FINISHED
    return dataset_states[name] is DatasetState.AVAILABLE


def _has_ended(node: Node, job_states: Mapping[str, JobState], dataset_states: Mapping[str, DatasetState]) -> bool:
    kind, name = node
    return job_states[name] in FINAL_JOB if kind == "job" else dataset_states[name] in _ENDED_DATASET
