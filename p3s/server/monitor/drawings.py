"""What the drawings of a workflow are made from: its graph, and the timeline of its attempts, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from flask import Response, request

from p3s.engine.drawing import find_levels
from p3s.engine.timeline import assign_rows, find_critical_path
from p3s.errors import BadInput, Problem
from p3s.server.monitor.frame import blueprint, core
from p3s.server.monitor.subjects import find_subject

if TYPE_CHECKING:
    from p3s.engine.folding import Families, Node

__all__ = ["answer_data"]

#: Up to so many jobs and external data, all are shown one by one, unless the address says otherwise.
OPEN = 20
#: Most nodes of a drawing.
NODES = 10_000
#: Above this the browser's layout takes too long: levels are computed here.
LAYOUT = 5_000
#: Most attempts of a timeline, and most jobs of a workflow whose critical path is looked for.
ATTEMPTS = 3_000
CRITICAL = 20_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """The nodes and edges of a drawing as JSON without its braces, and a mark of what it says."""

    text: str
    mark: str
    size: int

    def __len__(self) -> int:
        return self.size


@blueprint.get("/workflows/<ident>/graph.json")
def graph(ident: str) -> Response:
    """Return the nodes and edges of a workflow's graph, and the states of the nodes in their order.

    ``open=NAME``, repeated, opens families; ``open=*`` opens all, ``fold=1`` closes those not named. Whoever has the
    nodes and edges already says so by their ``mark`` in ``known``, and gets the states alone.
    """
    with core().db.read() as connection:
        it = find_subject(connection, ident)
        families = it.count_families()
        closed, shut = _choose_closed(families, set(request.args.getlist("open")), fold="fold" in request.args)
        _check_size(families, closed, shut)
        nodes = it.list_nodes(closed, shut)
        # A dataset's row may be replaced by that of another version.
        folded = (frozenset(closed), frozenset(shut), hash(tuple([(node.key, node.uuid) for node in nodes])))
        drawn = it.find(("drawn", folded), lambda: _draw(nodes, it.list_links(closed, shut)))
    # Most nodes stand for one job or dataset, which has one state.
    states = [node.states if len(node.states) != 1 or _is_many(node) else next(iter(node.states)) for node in nodes]
    opened = sorted(name for name, number in families.jobs.items() if number > 1 and name not in closed)
    rest = {"mark": drawn.mark, "states": states, "closed": sorted(closed), "opened": opened, "state": it.row.state}
    text = json.dumps(rest)
    if request.args.get("known") != drawn.mark:
        text = f"{{{drawn.text}, {text[1:]}"
    return _answer_text(text)


def _draw(nodes: list[Node], links: list[tuple[str, str]]) -> Drawn:
    """Return the part of a drawing that does not change."""
    shown: list[dict[str, Any]] = [
        {"key": node.key, "uuid": node.uuid} | ({"external": True} if node.external else {}) for node in nodes
    ]
    numbers = {node.key: number for number, node in enumerate(nodes)}
    # Of a workflow that is being loaded, edges may be there whose nodes were not.
    links = [link for link in links if link[0] in numbers and link[1] in numbers]
    if len(nodes) > LAYOUT:
        levels = find_levels(numbers, links)
        for entry in shown:
            entry["level"], entry["place"] = levels[entry["key"]]
    pairs = [(numbers[source], numbers[target]) for source, target in links]
    text = json.dumps({"nodes": shown, "links": pairs})[1:-1]
    return Drawn(text, sha256(text.encode()).hexdigest()[:16], len(nodes) + len(links))


@blueprint.get("/workflows/<ident>/timeline.json")
def timeline(ident: str) -> Response:
    """Return a workflow's attempts by pilot, those of the critical path marked."""
    with core().db.read() as connection:
        it = find_subject(connection, ident)
        row = it.row
        attempts = it.list_attempts(ATTEMPTS + 1)
        chain = set(find_critical_path(it.read_ends(), it.list_parents())) if row.jobs <= CRITICAL else set()
    pilots: dict[str, dict[str, Any]] = {}
    for one in attempts[-ATTEMPTS:]:
        lane = pilots.setdefault(one.pilot, {"uuid": one.pilot, "name": one.pilot_name, "host": one.host, "bars": []})
        lane["bars"].append(
            {
                "job": one.job,
                "name": one.name,
                "number": one.number,
                "state": one.state,
                "reason": one.reason,
                "claimed": one.created,
                "started": one.started,
                "ended": one.ended,
                # Earlier attempts of such a job decided the end, too.
                "critical": one.job_id in chain,
            }
        )
    for lane in pilots.values():
        spans = [(bar["claimed"], bar["ended"] or float("inf")) for bar in lane["bars"]]
        for bar, number in zip(lane["bars"], assign_rows(spans), strict=True):
            bar["row"] = number
    return answer_data(
        {
            "pilots": sorted(pilots.values(), key=lambda lane: (lane["name"], lane["uuid"])),
            "begin": row.started or row.created,
            "end": row.ended,
            "deadline": row.deadline,
            "left_out": len(attempts) > ATTEMPTS,
            "path": row.jobs <= CRITICAL,
        }
    )


def answer_data(data: dict[str, Any]) -> Response:
    """Answer JSON that a drawing asks for again and again: without a body where it says the same as before."""
    return _answer_text(json.dumps(data))


def _answer_text(text: str) -> Response:
    response = Response(text, mimetype="application/json")
    response.add_etag(weak=True)
    response.make_conditional(request)
    return response


def _choose_closed(families: Families, asked: set[str], *, fold: bool) -> tuple[set[str], set[str]]:
    """Return the families of jobs, and the names of external data, that are one node each."""
    many = {name for name, number in families.jobs.items() if number > 1}
    several = {name for name, number in families.externals.items() if number > 1}
    small = sum(families.jobs.values()) + sum(families.externals.values()) <= OPEN
    if "*" in asked or (small and not fold and not asked):
        return set(), set()
    return many - asked, several - asked


def _check_size(families: Families, closed: set[str], shut: set[str]) -> None:
    number = sum(1 if name in closed else count for name, count in families.jobs.items())
    number += sum(1 if name in shut else count for name, count in families.externals.items())
    if number > NODES:
        raise BadInput(
            [
                Problem(
                    f"{number:,} jobs and data are more than a drawing can show ({NODES:,}); close some", where="open"
                )
            ]
        )


def _is_many(node: Node) -> bool:
    return node.key.startswith(("family:", "group:"))
