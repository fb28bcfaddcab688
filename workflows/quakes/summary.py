"""Merge the days that arrived into one JSON file and one HTML report, naming those that are missing.

Each list is a file with one path a line; an empty one is fine as long as another is not.

Usage: python3 summary.py MONITORING.list SPECTRA.list MAPS.list SUMMARY.json REPORT.html
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from quakelib import CatalogueError, load_json, run_payload, write_json
from report import render_report
from spectrum import describe_relation

#: The parts of a complete day, as people call them.
PARTS = ("monitoring", "spectrum", "map")
METHOD = (
    "The binned magnitudes of all days whose spectrum arrived are added up; completeness (maximum curvature "
    "+ 0.2), b-value (Aki 1965, Utsu 1966) and its standard error (Shi and Bolt 1982) are then estimated "
    "once, from the sum."
)


def read_list(path: Path) -> list[Path]:
    """Return the paths that a collection's list names."""
    try:
        return [Path(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except OSError as error:
        raise CatalogueError(f"the list {path} cannot be read ({error.strerror}): give a file of paths") from error


def collect_days(path: Path) -> dict[str, Any]:
    """Return the decoded members of a collection of JSON files by their day."""
    days = {}
    for member in read_list(path):
        content = load_json(member)
        if not isinstance(content, dict) or not isinstance(content.get("day"), str):
            raise CatalogueError(f"{member} names no day: give files that monitor.py or spectrum.py made")
        days[content["day"]] = content
    return days


def collect_maps(path: Path) -> dict[str, str]:
    """Return the SVG texts of a collection of maps by the day that each names."""
    maps = {}
    for member in read_list(path):
        try:
            text = member.read_text(encoding="utf-8")
        except OSError as error:
            raise CatalogueError(f"{member} cannot be read ({error.strerror}): run evdisp.py again") from error
        found = re.match(r'<svg [^>]*data-day="([^"]+)"', text)
        if found is None:
            raise CatalogueError(f"{member} is not a map of a day: give files that evdisp.py made")
        maps[found[1]] = text
    return maps


def find_absent_days() -> set[str]:
    """Return the days that the manifest lists as missing; without p3s there is no manifest, and no day is."""
    manifest = os.environ.get("P3S_MANIFEST")
    if not manifest:
        return set()
    missing = load_json(Path(manifest)).get("missing", [])
    return set(re.findall(r"quakes-(\d{4}-\d{2}-\d{2})", json.dumps(missing)))


def fill_calendar(days: set[str]) -> list[str]:
    """Return every date from the first day to the last, so that a day without any file shows as a gap."""
    try:
        first, last = date.fromisoformat(min(days)), date.fromisoformat(max(days))
    except ValueError:
        return sorted(days)
    dates = [(first + timedelta(step)).isoformat() for step in range((last - first).days + 1)]
    return sorted({*dates, *days})


def describe_day(day: str, monitoring: dict[str, Any], spectrum: dict[str, Any], missing: list[str]) -> dict[str, Any]:
    """Return a day's row; what did not arrive is null."""
    estimate = spectrum.get("all", {}).get("estimate", {})
    unsized, twice = monitoring.get("missing_magnitudes"), monitoring.get("possible_duplicates")
    return {
        "day": day,
        "events": monitoring.get("events"),
        "first_origin": monitoring.get("first_origin"),
        "last_origin": monitoring.get("last_origin"),
        "missing_magnitudes": None if unsized is None else len(unsized),
        "possible_duplicates": twice,
        "largest": monitoring.get("largest"),
        "completeness": estimate.get("completeness"),
        "b_value": estimate.get("b_value"),
        "b_uncertainty": estimate.get("b_uncertainty"),
        "missing": missing,
    }


def pool_relations(relations: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up binned relations and estimate anew from the sum."""
    counts: Counter[int] = Counter()
    for relation in relations:
        for row in relation["bins"]:
            counts[round(row["magnitude"] * 10)] += row["count"]
    return describe_relation(counts)


def pool_networks(monitoring: dict[str, Any], spectra: dict[str, Any]) -> dict[str, Any]:
    """Return each network's events, missing magnitudes and pooled relation, busiest first."""
    events: Counter[str] = Counter()
    unsized: Counter[str] = Counter()
    for day in monitoring.values():
        for network, row in day["networks"].items():
            events[network] += row["events"]
            unsized[network] += row["missing_magnitudes"]
    for day in spectra.values():
        # A network may be known from a spectrum alone, when that day's monitoring is missing.
        events.update(dict.fromkeys(day["networks"], 0))
    table = {}
    for network, count in events.most_common():
        own = [day["networks"][network] for day in spectra.values() if network in day["networks"]]
        relation = pool_relations(own)
        table[network] = {"events": count, "missing_magnitudes": unsized[network], **relation["estimate"]}
    return table


def summarise_days(monitoring: dict[str, Any], spectra: dict[str, Any], maps: dict[str, str]) -> dict[str, Any]:
    """Return the summary of all days, complete or not."""
    arrived = dict(zip(PARTS, (monitoring, spectra, maps), strict=True))
    days = fill_calendar({*monitoring, *spectra, *maps, *find_absent_days()})
    rows = []
    for day in days:
        missing = [part for part in PARTS if day not in arrived[part]]
        rows.append(describe_day(day, monitoring.get(day, {}), spectra.get(day, {}), missing))
    kinds: Counter[str] = Counter()
    status: Counter[str] = Counter()
    for content in monitoring.values():
        kinds.update(content["kinds"])
        status.update(content["status"])
    largest = [row["largest"] | {"day": row["day"]} for row in rows if row["largest"]]
    return {
        "source": "USGS Earthquake Hazards Program",
        "missing": {row["day"]: row["missing"] for row in rows if row["missing"]},
        "totals": {
            "days": len(rows),
            "complete_days": sum(not row["missing"] for row in rows),
            "events": sum(row["events"] or 0 for row in rows),
            "missing_magnitudes": sum(row["missing_magnitudes"] or 0 for row in rows),
            "possible_duplicates": sum(len(row["possible_duplicates"] or ()) for row in rows),
            "largest": max(largest, key=lambda event: float(event["magnitude"]), default=None),
            "kinds": dict(kinds.most_common()),
            "status": dict(status.most_common()),
        },
        "days": rows,
        "networks": pool_networks(monitoring, spectra),
        "relation": {
            "method": METHOD,
            "days_used": sorted(spectra),
            **pool_relations([content["all"] for content in spectra.values()]),
        },
    }


def merge_week(paths: list[Path]) -> None:
    """Write the summary and the report."""
    monitoring_list, spectra_list, maps_list, summary_path, report_path = paths
    monitoring, spectra = collect_days(monitoring_list), collect_days(spectra_list)
    maps = collect_maps(maps_list)
    if not (monitoring or spectra or maps):
        raise CatalogueError("no day arrived at all: look at the jobs before this one, then retry")
    try:
        summary = summarise_days(monitoring, spectra, maps)
    except (KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"a day's file has not the expected shape ({error!r}): make the days again") from error
    write_json(summary_path, summary)
    report_path.write_text(render_report(summary, maps), encoding="utf-8")
    totals = summary["totals"]
    print(f"{totals['complete_days']} of {totals['days']} days are complete, {totals['events']} events")
    for day, missing in summary["missing"].items():
        print(f"{day}: no {', no '.join(missing)}")


if __name__ == "__main__":
    run_payload(merge_week, ("MONITORING.list", "SPECTRA.list", "MAPS.list", "SUMMARY.json", "REPORT.html"))
