"""Cut a saved USGS feed into one GeoJSON file per UTC day of origin.

Usage: python3 cut_catalogue.py FEED.geojson DIRECTORY
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quakelib import CatalogueError, load_json, run_payload

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "USGS Earthquake Hazards Program"
#: Kept as they are; the others repeat these, point to web pages, or are null for nearly every event.
KEPT = (
    "mag",
    "magType",
    "place",
    "time",
    "updated",
    "status",
    "type",
    "net",
    "nst",
    "dmin",
    "rms",
    "gap",
    "sig",
    "tsunami",
)


def find_day(feature: dict[str, Any]) -> str:
    """Return the UTC day of a feature's origin as ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(feature["properties"]["time"] / 1000, UTC).date().isoformat()


def trim_feature(feature: dict[str, Any]) -> dict[str, Any]:
    """Return the feature with only the kept properties, in the feed's order, geometry and id untouched."""
    properties = {key: value for key, value in feature["properties"].items() if key in KEPT}
    return {**feature, "properties": properties}


def format_collection(metadata: dict[str, Any], features: list[dict[str, Any]]) -> str:
    """Return GeoJSON text with one feature a line, so that a changed event is a changed line."""
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False, separators=(",", ":")) for feature in features)
    head = json.dumps(metadata, ensure_ascii=False)
    return f'{{"type": "FeatureCollection", "metadata": {head},\n"features": [\n{lines}\n]}}\n'


def cut_catalogue(paths: list[Path]) -> None:
    """Write the daily files and check that they hold every event of the feed."""
    feed, folder = paths
    content = load_json(feed)
    try:
        stamp = datetime.fromtimestamp(content["metadata"]["generated"] / 1000, UTC)
        url = content["metadata"]["url"]
        days: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for feature in content["features"]:
            days[find_day(feature)].append(trim_feature(feature))
        promised = content["metadata"]["count"]
    except (KeyError, TypeError) as error:
        raise CatalogueError(f"{feed} is not a feed of the USGS ({error!r}): save the feed's GeoJSON again") from error
    total = sum(len(features) for features in days.values())
    if total != promised:
        raise CatalogueError(f"{feed} holds {total} events but its metadata says {promised}: save the feed again")
    folder.mkdir(parents=True, exist_ok=True)
    for day, features in sorted(days.items()):
        metadata = {
            "source": SOURCE,
            "url": url,
            "generated": stamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "day": day,
            "count": len(features),
        }
        (folder / f"quakes-{day}.geojson").write_text(format_collection(metadata, features), encoding="utf-8")
        print(f"{day}  {len(features):5}")
    print(f"total       {total:5}")


if __name__ == "__main__":
    run_payload(cut_catalogue, ("FEED.geojson", "DIRECTORY"))
