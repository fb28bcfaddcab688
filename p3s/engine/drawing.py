"""A graph drawn in layers: as lines of text, or as SVG, with states as colours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar
from xml.sax.saxutils import escape

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["COLORS", "Picture", "draw_svg", "find_levels", "list_rows"]

Node = TypeVar("Node")

#: State to the colour of its box; what is in none of these states is white.
COLORS: Mapping[str, str] = {
    "held": "#e0e0e0",
    "waiting": "#f2f2f2",
    "expected": "#f2f2f2",
    "defined": "#fff2b3",
    "dispatched": "#cfe8ff",
    "running": "#8ec7ff",
    "finished": "#a8e0a0",
    "available": "#a8e0a0",
    "failed": "#ff9d94",
    "deleted": "#d9c7b8",
    "cancelled": "#ffd08a",
    "skipped": "#e6cff2",
}

#: Sizes in pixels.
_CHAR, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 7.5, 34, 24, 46, 20


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn.

    Attributes
    ----------
    states : dict of (str, str) to str
        State by node; nodes are ``("job", name)`` and ``("dataset", key)``. Without states, empty text.
    edges : tuple of (node, node)
        From predecessor to successor.
    """

    states: dict[tuple[str, str], str]
    edges: tuple[tuple[tuple[str, str], tuple[str, str]], ...]


def list_rows(picture: Picture) -> list[tuple[int, str, str, str, list[str]]]:
    """Return the nodes from first to last: layer, noun, name, state, and the names of what they wait for.

    Parameters
    ----------
    picture : Picture
        A graph without cycles.

    Returns
    -------
    list of tuple
        In the order of layers.

    Examples
    --------
    >>> a, y, b = ("job", "a"), ("dataset", "y"), ("job", "b")
    >>> list_rows(Picture({a: "finished", y: "available", b: "running"}, ((a, y), (y, b))))[1]
    (1, 'job', 'b', 'running', ['y from a'])
    """
    graph = _make_graph(picture)
    return [
        (layer, *node, picture.states.get(node, ""), _name_parents(graph, node))
        for layer, nodes in enumerate(_find_layers(graph))
        for node in nodes
    ]


def draw_svg(picture: Picture, title: str) -> str:
    """Return the graph as SVG: layers from top to bottom, a box for each job, a pill for data that no job makes.

    Parameters
    ----------
    picture : Picture
        A graph without cycles.
    title : str
        What it is.

    Returns
    -------
    str
        A whole document.

    Examples
    --------
    >>> draw_svg(Picture({("job", "a"): "failed"}, ()), "x").count(COLORS["failed"])
    2
    """
    graph = _make_graph(picture)
    layers = _find_layers(graph)
    places = _place_nodes(graph, layers)
    width = max((x + w / 2 for x, _, w in places.values()), default=0) + _MARGIN
    bottom = max((y for _, y, _ in places.values()), default=0) + _HEIGHT + _MARGIN
    used = [state for state in COLORS if state in picture.states.values()]
    width = max(width, 2 * _MARGIN + 90 * len(used), 2 * _MARGIN + _CHAR * len(title))
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + 30:.0f}" '
            f'width="{width:.0f}" height="{bottom + 30:.0f}" font-family="monospace" font-size="12">'
        ),
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for source, target in graph.edges:
        (x1, y1, _), (x2, y2, _) = places[source], places[target]
        top, middle = y1 + _HEIGHT, (y1 + _HEIGHT + y2) / 2
        path = f"M{x1:.0f},{top:.0f} C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{y2:.0f}"
        lines.append(f'<path d="{path}" fill="none" stroke="#777"/>')
    for node, (x, y, w) in places.items():
        noun, name = node
        state = picture.states.get(node, "")
        radius = 4 if noun == "job" else _HEIGHT / 2
        lines += [
            f"<g><title>{escape(f'{noun} {name} {state}'.strip())}</title>",
            (
                f'<rect x="{x - w / 2:.0f}" y="{y:.0f}" width="{w:.0f}" height="{_HEIGHT}" rx="{radius:.0f}" '
                f'fill="{COLORS.get(state, "white")}" stroke="#444"/>'
            ),
            f'<text x="{x:.0f}" y="{y + _HEIGHT / 2 + 4:.0f}" text-anchor="middle">{escape(name)}</text></g>',
        ]
    for number, state in enumerate(used):
        x = _MARGIN + 90 * number
        lines.append(f'<rect x="{x}" y="{bottom:.0f}" width="12" height="12" fill="{COLORS[state]}" stroke="#444"/>')
        lines.append(f'<text x="{x + 17}" y="{bottom + 10:.0f}">{state}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def find_levels(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Return the level of each node, and its place within the level, near those that it follows.

    Parameters
    ----------
    nodes : iterable of str
        All of them.
    edges : iterable of (str, str)
        From predecessor to successor. Where families of jobs are one node each, they may go round in a circle; the
        nodes of a circle share a level.

    Returns
    -------
    dict of str to (int, int)
        Both from 0.

    Examples
    --------
    >>> find_levels(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "b")])
    {'a': (0, 0), 'b': (1, 0), 'c': (1, 1)}
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    try:
        layers = [list(layer) for layer in nx.topological_generations(graph)]
    except nx.NetworkXUnfeasible:
        circles = nx.condensation(graph)
        layers = [
            [node for circle in layer for node in sorted(circles.nodes[circle]["members"])]
            for layer in nx.topological_generations(circles)
        ]
    _order_layers(graph, layers)
    return {node: (level, place) for level, layer in enumerate(layers) for place, node in enumerate(layer)}


def _make_graph(picture: Picture) -> nx.DiGraph[tuple[str, str]]:
    """Return jobs, and data that no job makes; what a job makes is an edge."""
    whole: nx.DiGraph[tuple[str, str]] = nx.DiGraph()
    whole.add_nodes_from(picture.states)
    whole.add_edges_from(picture.edges)
    graph: nx.DiGraph[tuple[str, str]] = nx.DiGraph()
    for node in whole:
        if node[0] == "job" or not whole.pred[node]:
            graph.add_node(node)
    for source, target in whole.edges:
        if source not in graph:
            continue
        # What a job makes leads on to who reads it.
        for after, key in [(target, "")] if target in graph else [(after, target[1]) for after in whole.adj[target]]:
            known: list[str] = graph.edges[source, after]["via"] if graph.has_edge(source, after) else []
            graph.add_edge(source, after, via=[*known, *([key] if key else [])])
    return graph


def _find_layers(graph: nx.DiGraph[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    layers = [list(layer) for layer in nx.topological_generations(graph)]
    _order_layers(graph, layers)
    return layers


def _order_layers(graph: nx.DiGraph[Node], layers: list[list[Node]]) -> None:
    """Put nodes below their parents."""
    for above, layer in pairwise(layers):
        order = {node: number for number, node in enumerate(above)}
        layer.sort(key=lambda node: _average([order[parent] for parent in graph.pred[node] if parent in order]))


def _average(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def _place_nodes(
    graph: nx.DiGraph[tuple[str, str]], layers: list[list[tuple[str, str]]]
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Return the middle, top and width of each node; each layer is centred."""
    widths = {node: max(60.0, _CHAR * len(node[1]) + 20) for node in graph}
    totals = [sum(widths[node] + _GAP_X for node in layer) - _GAP_X for layer in layers]
    widest = max(totals, default=0.0)
    places = {}
    for number, (layer, total) in enumerate(zip(layers, totals, strict=True)):
        x = _MARGIN + (widest - total) / 2
        for node in layer:
            places[node] = (x + widths[node] / 2, float(_MARGIN + number * (_HEIGHT + _GAP_Y)), widths[node])
            x += widths[node] + _GAP_X
    return places


def _name_parents(graph: nx.DiGraph[tuple[str, str]], node: tuple[str, str]) -> list[str]:
    names: list[str] = []
    for parent in graph.pred[node]:
        via: list[str] = graph.edges[parent, node]["via"]
        names += [f"{key} from {parent[1]}" for key in via] or [parent[1]]
    return names
