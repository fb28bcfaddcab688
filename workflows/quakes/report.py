"""Turn the summary into one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Whose network a code of the catalogue is; a code that is not here is shown as it is.
NETWORKS = {
    "ak": "Alaska",
    "ci": "Southern California",
    "hv": "Hawaii",
    "mb": "Montana",
    "nc": "Northern California",
    "nm": "New Madrid",
    "nn": "Nevada",
    "pr": "Puerto Rico",
    "se": "Southeastern US",
    "us": "Worldwide (NEIC)",
    "uu": "Utah",
    "uw": "Pacific Northwest",
}
NOTHING = '<span class="none">&ndash;</span>'
CHART_WIDTH, CHART_HEIGHT = 460, 300
CHART_LEFT, CHART_RIGHT, CHART_TOP, CHART_BOTTOM = 50, 450, 12, 258


def format_value(value: float | None, digits: int = 1) -> str:
    """Return a number, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def format_b(estimate: dict[str, Any]) -> str:
    """Return a b-value with its standard error."""
    if estimate["b_value"] is None:
        return NOTHING
    return f"{estimate['b_value']:.2f} <span>± {estimate['b_uncertainty']:.2f}</span>"


def draw_bar(value: int | None, most: int) -> str:
    """Return a count with a bar under it, whose full width is the largest count of the column."""
    if value is None:
        return NOTHING
    width = 100 * value / max(most, 1)
    box = 'class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"'
    return f'{value}<svg {box}><rect width="{width:.1f}" height="6"/></svg>'


def write_notice(summary: dict[str, Any]) -> str:
    """Say which days are missing, or that none is."""
    missing = summary["missing"]
    if not missing:
        return f'<p class="notice good">All {summary["totals"]["days"]} days are complete.</p>'
    items = ""
    for day, parts in missing.items():
        what = "the whole day" if len(parts) == 3 else "no " + ", no ".join(parts)
        items += f"<li><b>{escape(day)}</b>: {what}</li>"
    return (
        '<div class="notice bad"><p>Not everything arrived. These are missing, and left out of every figure '
        "below:</p>"
        f"<ul>{items}</ul></div>"
    )


def write_tiles(summary: dict[str, Any]) -> str:
    """Return the figures that a watcher wants first."""
    totals = summary["totals"]
    largest = totals["largest"]
    tiles = [
        (str(totals["events"]), "events"),
        (f"{totals['complete_days']} of {totals['days']}", "days complete"),
        (str(totals["missing_magnitudes"]), "without magnitude"),
        (str(totals["possible_duplicates"]), "possible duplicates"),
    ]
    if largest:
        tiles.append((f"M {largest['magnitude']:.1f}", f"{largest['place']}, {largest['day']} {largest['clock']} UTC"))
    return "".join(f"<div><b>{escape(figure)}</b><span>{escape(text)}</span></div>" for figure, text in tiles)


def write_day_rows(rows: Iterable[dict[str, Any]]) -> str:
    """Return the table's rows, one a day; a day that is missing altogether says so."""
    rows = list(rows)
    most = max((row["events"] or 0 for row in rows), default=0)
    lines = []
    for row in rows:
        day = escape(row["day"])
        if len(row["missing"]) == 3:
            lines.append(f'<tr class="gone"><th>{day}</th><td colspan="6">missing</td></tr>')
            continue
        span = f"{row['first_origin']}&ndash;{row['last_origin']}" if row["first_origin"] else ""
        twice, largest = row["possible_duplicates"], row["largest"]
        cells = [
            draw_bar(row["events"], most),
            format_value(row["missing_magnitudes"], 0),
            NOTHING if twice is None else str(len(twice)),
            f"{largest['magnitude']:.1f}" if largest else NOTHING,
            format_value(row["completeness"]),
            format_b(row),
        ]
        lines.append(f"<tr><th>{day}<small>{span}</small></th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return "\n".join(lines)


def write_network_rows(networks: dict[str, Any]) -> str:
    """Return the table's rows, one a network."""
    most = max((row["events"] for row in networks.values()), default=0)
    lines = []
    for code, row in networks.items():
        name = f"{escape(NETWORKS.get(code, code))}<small>{escape(code)}</small>"
        cells = [draw_bar(row["events"], most), format_value(row["completeness"]), str(row["events_used"])]
        cells.append(format_b(row))
        lines.append(f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return "\n".join(lines)


def write_duplicates(rows: Iterable[dict[str, Any]]) -> str:
    """Name the pairs that a person should look at."""
    pairs = [
        f"{' and '.join(pair['ids'])} ({row['day']}, {pair['seconds']:g} s and {pair['kilometres']:g} km apart)"
        for row in rows
        for pair in row["possible_duplicates"] or ()
    ]
    if not pairs:
        return ""
    return f"<p>Possible duplicates to look at: {escape('; '.join(pairs))}.</p>"


def draw_relation(relation: dict[str, Any]) -> str:
    """Return the magnitude-frequency relation of all networks as an SVG chart with a logarithmic axis."""
    bins, estimate = relation["bins"], relation["estimate"]
    if not bins:
        return "<p>No magnitudes arrived.</p>"
    low: int = math.floor(bins[0]["magnitude"])
    high: int = max(math.ceil(bins[-1]["magnitude"] + 0.1), low + 1)
    decades = max(math.ceil(math.log10(bins[0]["at_least"])), 1)

    def place_x(magnitude: float) -> float:
        share = (magnitude - low) / (high - low)
        return round(CHART_LEFT + share * (CHART_RIGHT - CHART_LEFT), 1)

    def place_y(count: float) -> float:
        share = max(math.log10(count), 0.0) / decades
        return round(CHART_BOTTOM - share * (CHART_BOTTOM - CHART_TOP), 1)

    parts = []
    for decade in range(decades + 1):
        y = place_y(10**decade)
        parts.append(f'<path class="grid" d="M{CHART_LEFT} {y}H{CHART_RIGHT}"/>')
        parts.append(f'<text x="{CHART_LEFT - 6}" y="{y + 4}" text-anchor="end">{10**decade:,}</text>')
    parts += [
        f'<text x="{place_x(magnitude)}" y="{CHART_BOTTOM + 17}" text-anchor="middle">{magnitude}</text>'
        for magnitude in range(low, high + 1)
    ]
    width = max((CHART_RIGHT - CHART_LEFT) / (high - low) / 10 - 1, 1)
    for row in bins:
        # A single event is log10(1) = 0 high; a sliver keeps it visible.
        y = min(place_y(row["count"]), CHART_BOTTOM - 2)
        box = f'x="{place_x(row["magnitude"]) - width / 2:.1f}" y="{y}" width="{width:.1f}"'
        parts.append(f'<rect class="count" {box} height="{CHART_BOTTOM - y:.1f}"/>')
    parts += [
        f'<circle class="sum" cx="{place_x(row["magnitude"])}" cy="{place_y(row["at_least"])}" r="2.6"/>'
        for row in bins
    ]
    if estimate["b_value"] is not None:
        # The line ends with the data, or where it predicts less than one earthquake.
        end = min(bins[-1]["magnitude"], estimate["a_value"] / estimate["b_value"])
        start = estimate["completeness"]
        last = math.pow(10, estimate["a_value"] - estimate["b_value"] * end)
        points = f"M{place_x(start)} {place_y(estimate['events_used'])}L{place_x(end):.1f} {place_y(last)}"
        parts.append(f'<path class="fit" d="{points}"/>')
    middle = (CHART_LEFT + CHART_RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{CHART_HEIGHT - 4}" text-anchor="middle">Magnitude</text>')
    label = "Number of earthquakes per bin and at or above each magnitude"
    return (
        f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}">'
        f"{''.join(parts)}</svg>"
    )


def write_maps(rows: Iterable[dict[str, Any]], maps: dict[str, str]) -> str:
    """Return the maps in the order of their days, with a place holder for each that is missing."""
    return "\n".join(
        f"<figure>{maps[row['day']]}</figure>"
        if row["day"] in maps
        else f'<figure class="gone"><figcaption>{escape(row["day"])}: map missing</figcaption></figure>'
        for row in rows
    )


def render_report(summary: dict[str, Any], maps: dict[str, str]) -> str:
    """Return the whole page; ``maps`` holds SVG text by day."""
    template = Template(Path(__file__).with_name("report.template.html").read_text(encoding="utf-8"))
    days = [row["day"] for row in summary["days"]]
    return template.substitute(
        span=escape(f"{days[0]} to {days[-1]}" if len(days) > 1 else days[0]),
        notice=write_notice(summary),
        tiles=write_tiles(summary),
        days=write_day_rows(summary["days"]),
        duplicates=write_duplicates(summary["days"]),
        networks=write_network_rows(summary["networks"]),
        chart=draw_relation(summary["relation"]),
        pooled=format_b(summary["relation"]["estimate"]),
        method=escape(summary["relation"]["method"]),
        maps=write_maps(summary["days"], maps),
        source=escape(summary["source"]),
    )
