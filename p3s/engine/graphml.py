"""GraphML in: the schema of the original p3s, and what `p3s.engine.exports` writes.

In the original's schema nodes are jobs and edges are data. A node has ``payload``, ``env`` (JSON), ``jobtype``,
``timelimit`` and ``priority``; an edge ``name``, ``dirpath``, ``datatype``, ``datatag`` (the variable) and ``comment``.
Nodes without a payload, or of the jobtype ``noop``, are sync points. Between two nodes there may be several edges.
"""

from __future__ import annotations

import json
import posixpath
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import networkx as nx

from p3s.engine.checks import check_dag
from p3s.engine.exports import OWN, make_graph
from p3s.engine.load import validate_data
from p3s.engine.names import check_variable, make_extension, sanitise_value
from p3s.engine.paths import take_stem
from p3s.engine.payloads import convert_payload
from p3s.engine.problems import make_problems
from p3s.engine.spec import DagSpec
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["load_graphml"]

_NODE_KEYS = frozenset({"payload", "env", "jobtype", "timelimit", "priority"})
_EDGE_KEYS = frozenset({"name", "dirpath", "datatype", "datatag", "comment"})


def load_graphml(text: str, file: str) -> DagSpec:
    """Return the DAG that a GraphML file describes.

    Parameters
    ----------
    text : str
        GraphML.
    file : str
        The file's name: for messages, and for the DAG's name where the file has none.

    Returns
    -------
    DagSpec
        Checked.

    Raises
    ------
    BadInput
        With all problems: no GraphML, a cycle, attributes that do not fit.

    Examples
    --------
    >>> text = '''<graphml><key id="d" for="node" attr.name="payload" attr.type="string"/>
    ... <graph edgedefault="directed"><node id="a"><data key="d">/bin/date</data></node></graph></graphml>'''
    >>> load_graphml(text, "a.graphml").jobs["a"].payload
    '/bin/date'
    """
    graph = _parse(text, file)
    data = _read_own(graph, file) if OWN in graph.graph else _Original(graph, file).read()
    spec, faults = validate_data(DagSpec, data)
    if spec is not None:
        faults += check_dag(spec, whole=not faults)
    if faults or spec is None:
        raise BadInput([Problem(found.message, file=file, where=found.where) for found in make_problems(faults, None)])
    if OWN in graph.graph:
        _compare(graph, make_graph(spec), file)
    return spec


def _parse(text: str, file: str) -> nx.MultiDiGraph[str]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadInput([Problem("has a document type, which GraphML does not need; take it out", file=file)])
    try:
        with warnings.catch_warnings():
            # A key without a type is text, which NetworkX finds worth a warning.
            warnings.simplefilter("ignore")
            parsed: Any = nx.parse_graphml(text.lstrip("\ufeff \t\r\n"), force_multigraph=True)
    except ParseError as error:
        line, column = error.position
        message = f"is no XML here ({str(error).partition(':')[0]})"
        raise BadInput([Problem(message, file=file, line=line, column=column + 1)]) from error
    except (nx.NetworkXError, KeyError, ValueError, TypeError, AttributeError, StopIteration) as error:
        said = str(error).strip("'\"") or type(error).__name__
        message = f"is no GraphML that NetworkX can read: {said}; each <data> needs a <key> with the same id"
        raise BadInput([Problem(message, file=file)]) from error
    graph: nx.MultiDiGraph[str] = parsed
    if not graph.is_directed():
        message = 'is an undirected graph; write <graph edgedefault="directed">'
        raise BadInput([Problem(message, file=file)])
    if not graph:
        raise BadInput([Problem("has no nodes; each job is a <node>", file=file)])
    if not nx.is_directed_acyclic_graph(graph):
        # find_cycle on the whole graph may never return; in a strongly connected part it does at once.
        parts: Iterator[set[str]] = nx.strongly_connected_components(graph)
        part = next((part for part in parts if len(part) > 1), set(graph))
        ring = [edge[0] for edge in nx.find_cycle(graph.subgraph(part))]
        message = f"these wait for each other in a cycle: {' -> '.join([*ring[:20], ring[0]])}; take one edge out"
        raise BadInput([Problem(message, file=file)])
    return graph


def _read_own(graph: nx.MultiDiGraph[str], file: str) -> dict[str, Any]:
    """Return the data that an export carries along for its way back."""
    try:
        data: dict[str, Any] = json.loads(graph.graph[OWN])
        for part in ("datasets", "jobs"):
            # The order of a document is that of its nodes.
            found = {}
            for node, attributes in graph.nodes(data=True):
                if OWN in attributes and (kept := json.loads(attributes[OWN])).get("kind") == part:
                    found[kept.get("name", node)] = kept["spec"]
            if found:
                data[part] = found
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"has a damaged `{OWN}` attribute; export the DAG again"
        raise BadInput([Problem(message, file=file)]) from error
    return data


def _compare(graph: nx.MultiDiGraph[str], made: nx.MultiDiGraph[str], file: str) -> None:
    """Check that nobody edited what the `p3s` attributes say differently, so that no edit is lost in silence."""
    moved = sorted(set(graph) ^ set(made))
    problems = [f"node '{node}' was {'added' if node in graph else 'taken out'}" for node in moved]
    for node in sorted(set(graph) & set(made)):
        old, new = made.nodes[node], graph.nodes[node]
        wrong = [key for key in sorted(old.keys() | new.keys()) if _flatten(old.get(key)) != _flatten(new.get(key))]
        problems += [f"'{key}' of node '{node}' was edited" for key in wrong]
    for edge, number in (
        (_count_edges(graph) - _count_edges(made)) + (_count_edges(made) - _count_edges(graph))
    ).items():
        problems.append(f"edge '{edge[0]}:{edge[1]}' was edited ({number} differ)")
    if problems:
        hint = f"an export keeps the whole DAG in its `{OWN}` attributes: edit its YAML, or take those attributes out"
        raise BadInput([Problem(f"{problem}; {hint}", file=file) for problem in problems])


def _count_edges(graph: nx.MultiDiGraph[str]) -> Counter[tuple[Any, ...]]:
    edges = graph.edges(data=True)
    return Counter(
        (a, b, *sorted((key, _flatten(value)) for key, value in data.items() if key != "id")) for a, b, data in edges
    )


def _flatten(value: Any) -> str:
    # XML does not keep line ends as they are.
    return "" if value is None else " ".join(str(value).split())


@dataclass(slots=True)
class _Item:
    """One unit of data: who makes it, its tag, its file, and the variable that it becomes."""

    source: str
    tag: str
    folder: str
    file: str
    datatype: str
    comment: str
    variable: str = ""
    targets: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        return posixpath.join(self.folder, self.file)


class _Original:
    """Reads the original's schema."""

    def __init__(self, graph: nx.MultiDiGraph[str], file: str) -> None:
        self.graph = graph
        self.file = file
        self.problems: list[Problem] = []
        self.items: list[_Item] = []
        self.needs: dict[str, list[str]] = {}

    def read(self) -> dict[str, Any]:
        """Return the DAG as plain data."""
        for node, attributes in self.graph.nodes(data=True):
            self._refuse_unknown(f"node '{node}'", attributes, _NODE_KEYS)
        for source, target, attributes in self.graph.edges(data=True):
            self._refuse_unknown(f"edge '{source}:{target}'", attributes, _EDGE_KEYS | {"id"})
            self._add_edge(source, target, attributes)
        self._name_variables()
        jobs = {node: self._make_job(node) for node in self.graph}
        datasets = {
            item.variable: _drop_empty({"path": item.place, "type": item.datatype, "comment": item.comment})
            for item in self.items
            if self._is_noop(item.source)
        }
        if self.problems:
            raise BadInput(self.problems)
        name = sanitise_value(str(self.graph.graph.get("name") or take_stem(self.file))).lstrip("_.:-") or "dag"
        travelling = [job["payload"] for job in jobs.values() if not job.get("payload", "/").startswith("/")]
        return (
            {"name": name}
            | _drop_empty({"files": list(dict.fromkeys(travelling)), "datasets": datasets})
            | {"jobs": jobs}
        )

    def _refuse_unknown(self, what: str, attributes: dict[str, Any], known: frozenset[str]) -> None:
        for key in sorted(attributes.keys() - known):
            self._blame(f"{what} has an unknown attribute '{key}'; known are {', '.join(sorted(known - {'id'}))}")

    def _blame(self, message: str) -> None:
        self.problems.append(Problem(message, file=self.file))

    def _is_noop(self, node: str) -> bool:
        attributes = self.graph.nodes[node]
        return attributes.get("jobtype") == "noop" or not str(attributes.get("payload") or "").strip()

    def _add_edge(self, source: str, target: str, attributes: dict[str, Any]) -> None:
        tag = str(attributes.get("datatag") or "").strip()
        noop = self._is_noop(source)
        if noop or not tag:
            needs = self.needs.setdefault(target, [])
            needs += [source] if source not in needs else []
        what = f"edge '{source}:{target}'"
        if not tag:
            if attributes.get("name"):
                self._blame(f"{what} names a file and has no `datatag`, the variable that payloads know it by")
            return
        file, datatype = str(attributes.get("name") or ""), str(attributes.get("datatype") or "")
        if not file and noop:
            self._blame(f"{what} leaves a sync point, so its data is there before: give the file's `name`")
        item = _Item(
            source,
            tag,
            str(attributes.get("dirpath") or ""),
            file,
            datatype,
            str(attributes.get("comment") or ""),
        )
        for known in self.items:
            same = (known.tag, known.place) == (tag, item.place)
            if same and (known.source == source or (noop and self._is_noop(known.source))):
                known.targets += [target] if target not in known.targets else []
                return
            if known.source == source and known.tag == tag and not noop:
                names = [one.place or "unnamed" for one in (item, known)]
                self._blame(f"{what} says that '{tag}' is {names[0]}, another edge of '{source}' {names[1]}")
                return
        item.targets.append(target)
        self.items.append(item)

    def _name_variables(self) -> None:
        """Give each item a variable of its own: its tag, or where several share one, the tag and the source."""
        uses = Counter(item.tag for item in self.items)
        taken = set(uses)
        for item in self.items:
            item.variable = item.tag
            if wrong := check_variable(item.tag):
                self._blame(f"datatag '{item.tag}' {wrong}")
            if uses[item.tag] > 1:
                start = name = f"{item.tag}_{sanitise_value(item.source)}".translate(str.maketrans(".:-", "___"))
                number = 2
                while name in taken:
                    name, number = f"{start}_{number}", number + 1
                item.variable = name
                taken.add(name)

    def _make_job(self, node: str) -> dict[str, Any]:
        made = [item for item in self.items if item.source == node and not self._is_noop(node)]
        read = [item for item in self.items if node in item.targets]
        job: dict[str, Any] = _drop_empty(
            {"needs": self.needs.get(node, []), "inputs": [item.variable for item in read]}
        )
        if self._is_noop(node):
            return job
        attributes = self.graph.nodes[node]
        env = self._read_env(node, str(attributes.get("env") or ""))
        payload = str(attributes["payload"]).strip()
        job |= self._alias(node, convert_payload(payload, env), [*made, *read])
        job |= _drop_empty({"env": env, "jobtype": str(attributes.get("jobtype") or "")})
        for key in ("timelimit", "priority"):
            # No limit was written as 0.
            if attributes.get(key):
                job[key] = str(attributes[key])
        outputs = {}
        publish = {}
        for item in made:
            path = item.file if posixpath.isabs(item.place) else item.place
            if path.endswith("/"):
                path += item.variable + make_extension(item.datatype, {})
            # A file without a name is named by its variable and its datatype.
            outputs[item.variable] = _drop_empty({"path": path, "type": item.datatype, "comment": item.comment})
            if posixpath.isabs(item.place):
                publish[item.variable] = self._choose_target(item)
        return job | _drop_empty({"outputs": outputs, "publish": publish})

    def _choose_target(self, item: _Item) -> str:
        """Return where a file is published: its place, or, where several producers name one, a name beside it."""
        makers = [other for other in self.items if other.place == item.place and not self._is_noop(other.source)]
        if len(makers) == 1:
            return item.place
        stem, extension = posixpath.splitext(item.place)
        return f"{stem}-{item.variable}{extension}"

    def _read_env(self, node: str, text: str) -> dict[str, str]:
        try:
            env = json.loads(text) if text.strip() else {}
        except ValueError:
            env = None
        if not isinstance(env, dict) or not all(isinstance(value, str | int | float) for value in env.values()):
            self._blame(f"`env` of node '{node}' must be a JSON object of texts, is {text[:60]!r}")
            return {}
        return {name: str(value) for name, value in env.items()}

    def _alias(self, node: str, how: dict[str, Any], items: list[_Item]) -> dict[str, Any]:
        """Have a payload find its data under its tags where the variables had to be named otherwise."""
        double = [tag for tag, number in Counter(item.tag for item in items).items() if number > 1]
        for tag in double:
            self._blame(f"node '{node}' has several data with the datatag '{tag}'; give each a tag of its own")
        lines = [f'export {item.tag}="${item.variable}"\n' for item in items if item.tag != item.variable]
        if not lines:
            return how
        if "payload" in how:
            words = [how["payload"], *how.get("args", [])]
            how = {"run": "exec " + " ".join(_quote(word) for word in words), "shell": "sh"}
        return how | {"run": "".join(lines) + how["run"]}


def _quote(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _drop_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value}
