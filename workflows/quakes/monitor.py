"""Check one day of the catalogue: who reported, what is missing, what may be there twice, how complete it is.

Usage: python3 monitor.py CATALOGUE.geojson OUTPUT.json
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from quakelib import (
    DUPLICATE_KILOMETRES,
    DUPLICATE_SECONDS,
    Event,
    count_magnitudes,
    estimate_completeness,
    find_duplicates,
    measure_distance,
    read_catalogue,
    run_payload,
    write_json,
)

if TYPE_CHECKING:
    from pathlib import Path


def describe_event(event: Event) -> dict[str, Any]:
    """Return what the report says of a single event."""
    return {"id": event.id, "magnitude": event.magnitude, "place": event.place, "clock": event.clock}


def describe_networks(events: tuple[Event, ...]) -> dict[str, Any]:
    """Return counts, missing magnitudes and completeness per contributing network, busiest first."""
    table: dict[str, Any] = {}
    for network, count in Counter(event.network for event in events).most_common():
        own = [event for event in events if event.network == network]
        table[network] = {
            "events": count,
            "missing_magnitudes": sum(event.magnitude is None for event in own),
            "completeness": estimate_completeness(count_magnitudes(own)),
        }
    return table


def monitor_day(paths: list[Path]) -> None:
    """Write the quality figures of one day."""
    source, target = paths
    catalogue = read_catalogue(source)
    events = catalogue.events
    sized = [event for event in events if event.magnitude is not None]
    largest = max(sized, key=lambda event: event.magnitude or 0.0, default=None)
    duplicates = [
        {
            "ids": [one.id, other.id],
            "seconds": round((other.time - one.time) / 1000, 3),
            "kilometres": round(measure_distance(one, other), 2),
        }
        for one, other in find_duplicates(events)
    ]
    write_json(
        target,
        {
            "day": catalogue.day,
            "events": len(events),
            "first_origin": events[0].clock if events else None,
            "last_origin": events[-1].clock if events else None,
            "kinds": dict(Counter(event.kind for event in events).most_common()),
            "status": dict(Counter(event.status for event in events).most_common()),
            "networks": describe_networks(events),
            "missing_magnitudes": [event.id for event in events if event.magnitude is None],
            "duplicate_rule": {"seconds": DUPLICATE_SECONDS, "kilometres": DUPLICATE_KILOMETRES},
            "possible_duplicates": duplicates,
            "completeness": estimate_completeness(count_magnitudes(events)),
            "largest": describe_event(largest) if largest else None,
        },
    )
    missing = len(events) - len(sized)
    print(
        f"{catalogue.day}: {len(events)} events, {missing} without magnitude, {len(duplicates)} possibly entered twice"
    )


if __name__ == "__main__":
    run_payload(monitor_day, ("CATALOGUE.geojson", "OUTPUT.json"))
