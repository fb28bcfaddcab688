"""What plots are made from, as JSON: panels of series over one x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, request

from p3s.clock import read_clock
from p3s.errors import BadInput, Problem
from p3s.server.monitor.drawings import answer_data
from p3s.server.monitor.frame import blueprint, core
from p3s.server.monitor.reading import read_text
from p3s.server.queries.numbers import list_numbers
from p3s.server.queries.series import list_minutes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.wire import NumberView

__all__: list[str] = []

#: Spans of the overview's plots: how many, and the seconds of each.
SPANS = {"hour": (60, 60), "day": (144, 600)}
#: Most results of a plot, and most series.
POINTS = 1000
SERIES = 8


@blueprint.get("/overview/series.json")
def series() -> Response:
    """Return how many jobs started, finished and failed, and how many were ready to run, over an hour or a day."""
    span = request.args.get("span", "hour")
    if span not in SPANS:
        raise BadInput([Problem(f"'{span}' is none of: {', '.join(SPANS)}", where="span")])
    number, step = SPANS[span]
    first = (int(read_clock()) // step - number + 1) * step
    with core().db.read() as connection:
        spans = list_minutes(connection, first, step, number)

    def pick(name: str, state: str, style: str = "line") -> dict[str, Any]:
        return {"name": name, "state": state, "style": style, "values": [span[name] for span in spans]}

    each = "minute" if step == 60 else f"{step // 60} minutes"
    jobs = [pick("finished", "finished", "area"), pick("started", "running"), pick("failed", "failed")]
    queue = pick("queue", "defined", "area") | {"name": "ready to run"}
    return answer_data(
        {
            "x": [span["at"] for span in spans],
            "time": True,
            "group": "overview",
            "panels": [
                {"title": f"Jobs in each {each}", "counts": True, "series": jobs},
                {"title": "Jobs waiting for a pilot", "counts": True, "height": 110, "series": [queue]},
            ],
        }
    )


@blueprint.get("/results/series.json")
def result_series() -> Response:
    """Return numbers of a DAG's JSON results (`dag`, `key`), over time or against the param `x`."""
    name = read_text("dag")
    if name is None:
        raise BadInput([Problem("name a DAG", where="dag")])
    against = read_text("x") or "time"
    with core().db.read() as connection:
        found = list_numbers(
            connection, name=name, owner=read_text("owner"), key=read_text("key"), limit=POINTS, cursor=None
        ).items
    points = [item for item in found if against == "time" or against in item.params]
    places, labels = _place([item.created if against == "time" else item.params[against] for item in points])
    order = sorted(range(len(points)), key=lambda index: places[index])
    title = f"{read_text('key') or 'Numbers'} {'over time' if against == 'time' else f'against {against}'}"
    return answer_data(
        {
            "x": [places[index] for index in order],
            "time": against == "time",
            "labels": labels,
            "group": f"results {name}",
            "empty": f"No result of {name} has {'such a number' if read_text('key') else 'numbers'} yet.",
            "panels": [{"title": title, "series": _make_series([points[index] for index in order])}],
        }
    )


def _place(values: Sequence[float | str]) -> tuple[list[float], list[str] | None]:
    """Return where values stand on an axis: as numbers if all are, else in the order of their names."""
    try:
        return [float(value) for value in values], None
    except ValueError:
        labels = sorted({str(value) for value in values})
        return [float(labels.index(str(value))) for value in values], labels


def _make_series(points: Sequence[NumberView]) -> list[dict[str, Any]]:
    """Return a series for each number of each result, the first few of them."""
    names = dict.fromkeys((point.result, key) for point in points for key in point.numbers)
    return [
        {
            "name": f"{result} {key}",
            "style": "points",
            "values": [point.numbers.get(key) if point.result == result else None for point in points],
        }
        for result, key in list(names)[:SERIES]
    ]
