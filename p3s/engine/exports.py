"""DAGs for other programs: GraphML for graph editors, DOT for Graphviz."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import networkx as nx

from p3s.engine.checks import find_producers
from p3s.engine.writing import dump_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p3s.engine.spec import DagSpec

__all__ = ["OWN", "make_graph", "write_dot", "write_graphml"]

#: The attribute that keeps what the original's schema cannot say.
OWN = "p3s"
#: Nodes that are no jobs begin with a character that no job's name begins with.
_EXTERNAL, _END = "_data:", "_end"


def make_graph(spec: DagSpec) -> nx.MultiDiGraph[str]:
    r"""Return a DAG as nodes (jobs, external data) and edges (data and needs), with the original's attributes.

    Parameters
    ----------
    spec : DagSpec
        The DAG.

    Returns
    -------
    networkx.MultiDiGraph
        Families are one node each.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {outputs: [y], run: x}, b: {inputs: [y], run: z}}"
    >>> list(make_graph(load_dag(text, "x.yaml")).edges(data="datatag"))
    [('a', 'b', 'y')]
    """
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    whole = dump_spec(spec)
    jobs, datasets = whole.pop("jobs"), whole.pop("datasets", {})
    graph.graph[OWN] = json.dumps(whole)
    for name, data in datasets.items():
        kept = json.dumps({"kind": "datasets", "name": name, "spec": data})
        graph.add_node(_EXTERNAL + name, jobtype="noop", p3s=kept)
    for name, job in spec.jobs.items():
        env = {key: value for key, value in job.env.items() if isinstance(value, str)}
        shown = {
            "payload": _show(job.run if job.run is not None else " ".join([job.payload or "", *job.args])),
            "env": json.dumps(env),
            "jobtype": "noop" if job.run is None and job.payload is None else job.jobtype or "",
            "timelimit": round(job.timelimit or 0),
            "priority": job.priority or 0,
        }
        graph.add_node(name, **shown, p3s=json.dumps({"kind": "jobs", "name": name, "spec": jobs[name]}))
    for source, target, data in _list_edges(spec):
        if target == _END and _END not in graph:
            graph.add_node(_END, jobtype="noop")
        graph.add_edge(source, target, **{key: _show(value) for key, value in data.items() if value})
    return graph


def write_graphml(spec: DagSpec) -> str:
    """Return a DAG as GraphML, which `p3s.engine.graphml` reads as the same DAG."""
    return "\n".join(nx.generate_graphml(make_graph(spec))) + "\n"


def write_dot(spec: DagSpec) -> str:
    r"""Return a DAG in the language of Graphviz: jobs as boxes, data on the edges.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {outputs: [y], run: x}, b: {inputs: [y], run: z}}"
    >>> print(write_dot(load_dag(text, "x.yaml")))
    digraph "x" {
      rankdir=TB;
      "a" [shape=box, label="a"];
      "b" [shape=box, label="b"];
      "a" -> "b" [label="y"];
    }
    <BLANKLINE>
    """
    graph = make_graph(spec)
    lines = [f"digraph {_quote(spec.name)} {{", "  rankdir=TB;"]
    for node, data in graph.nodes(data=True):
        shape = "ellipse" if node.startswith("_") else "diamond" if data.get("jobtype") == "noop" else "box"
        label = node.removeprefix(_EXTERNAL) if node != _END else "end"
        external = spec.datasets.get(label) if node.startswith(_EXTERNAL) else None
        if external is not None and external.origin is not None:
            label += f"\nfrom {external.origin}"
        lines.append(f"  {_quote(node)} [shape={shape}, label={_quote(label)}];")
    for source, target, data in graph.edges(data=True):
        label = f" [label={_quote(data['datatag'])}]" if "datatag" in data else " [style=dashed]"
        lines.append(f"  {_quote(source)} -> {_quote(target)}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def _list_edges(spec: DagSpec) -> Iterator[tuple[str, str, dict[str, Any]]]:
    producers, _ = find_producers(spec)
    readers: dict[str, list[str]] = {}
    for name, job in spec.jobs.items():
        for variable in job.inputs:
            readers.setdefault(variable, []).append(name)
    for variable, external in spec.datasets.items():
        places = external.paths or [external.path or external.glob or external.origin or ""]
        head, _, tail = places[0].rpartition("/")
        data = {
            "name": tail,
            "dirpath": head,
            "datatype": external.type,
            "datatag": variable,
            "comment": external.comment,
        }
        yield from ((_EXTERNAL + variable, reader, data) for reader in readers.get(variable, []))
    for variable, producer in producers.items():
        job = spec.jobs[producer]
        output = job.outputs[variable]
        head, _, tail = job.publish.get(variable, output.path or variable).rpartition("/")
        data = {"name": tail, "dirpath": head, "datatype": output.type, "datatag": variable, "comment": output.comment}
        yield from ((producer, reader, data) for reader in readers.get(variable, [_END]))
    for name, job in spec.jobs.items():
        yield from ((parent, name, {}) for parent in job.needs)


def _show(text: str) -> str:
    """Return text as XML can hold it; what is exact stands in the `p3s` attribute."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
