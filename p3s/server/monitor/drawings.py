"""What the drawings of a workflow are made from: its graph, and the timeline of its attempts, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, jsonify, request

from p3s.engine.drawing import find_levels
from p3s.engine.timeline import assign_rows, find_critical_path
from p3s.errors import BadInput, Problem
from p3s.server.monitor.frame import blueprint, caller, core, shapes
from p3s.server.queries.drawings import (
    count_families,
    list_attempts,
    list_foreign,
    list_links,
    list_nodes,
    list_parents,
    read_ends,
)
from p3s.server.queries.find import find_row

if TYPE_CHECKING:
    import sqlalchemy as sa

    from p3s.server.queries.drawings import Families, Node

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


@blueprint.get("/workflows/<ident>/graph.json")
def graph(ident: str) -> Response:
    """Return the nodes and edges of a workflow's graph.

    ``open=NAME``, repeated, opens families; ``open=*`` opens all, ``fold=1`` closes those not named.
    """
    with core().db.read() as connection:
        row = find_row(connection, "workflow", ident, owner=caller().name)
        families = shapes().find(row, "families", lambda: count_families(connection, row.id))
        closed, shut = _choose_closed(families, set(request.args.getlist("open")), fold="fold" in request.args)
        _check_size(families, closed, shut)
        foreign = shapes().find(row, "foreign", lambda: list_foreign(connection, row.id))
        nodes = list_nodes(connection, row.id, closed, shut, foreign)
        folded = (frozenset(closed), frozenset(shut))
        links = shapes().find(row, ("links", folded), lambda: list_links(connection, row.id, closed, shut))
    shown: list[dict[str, Any]] = [_show_node(node) for node in nodes]
    if len(nodes) > LAYOUT:
        levels = shapes().find(row, ("levels", folded), lambda: find_levels([node.key for node in nodes], links))
        for entry in shown:
            entry["level"], entry["place"] = levels[entry["key"]]
    opened = sorted(name for name, number in families.jobs.items() if number > 1 and name not in closed)
    return answer_data({"nodes": shown, "links": links, "closed": sorted(closed), "opened": opened, "state": row.state})


@blueprint.get("/workflows/<ident>/timeline.json")
def timeline(ident: str) -> Response:
    """Return a workflow's attempts by pilot, those of the critical path marked."""
    with core().db.read() as connection:
        row = find_row(connection, "workflow", ident, owner=caller().name)
        attempts = list_attempts(connection, row.id, ATTEMPTS + 1)
        critical = _find_critical(connection, row) if row.jobs <= CRITICAL else []
    pilots: dict[str, dict[str, Any]] = {}
    chain = set(critical)
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
    response = jsonify(data)
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


def _show_node(node: Node) -> dict[str, Any]:
    kind, _, name = node.key.partition(":")
    return {
        "key": node.key,
        "noun": "job" if kind in {"job", "family"} else "dataset",
        "name": name,
        "family": kind in {"family", "group"},
        "uuid": node.uuid,
        "external": node.external,
        "states": node.states,
    }


def _find_critical(connection: sa.Connection, row: Any) -> list[int]:
    parents = shapes().find(row, "parents", lambda: list_parents(connection, row.id))
    return find_critical_path(read_ends(connection, row.id), parents)
