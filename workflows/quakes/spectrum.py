"""Make the magnitude-frequency relation of one day, with its b-value, for all networks and for each.

Usage: python3 spectrum.py CATALOGUE.geojson OUTPUT.json
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quakelib import BIN_WIDTH, count_magnitudes, estimate_relation, read_catalogue, run_payload, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def describe_relation(counts: Mapping[int, int]) -> dict[str, Any]:
    """Return the relation, binned and cumulative, lowest magnitude first, and its estimates."""
    bins = []
    above = sum(counts.values())
    for tenths in sorted(counts):
        bins.append({"magnitude": round(tenths * BIN_WIDTH, 1), "count": counts[tenths], "at_least": above})
        above -= counts[tenths]
    return {"estimate": asdict(estimate_relation(counts)), "bins": bins}


def measure_spectrum(paths: list[Path]) -> None:
    """Write the relations of one day."""
    source, target = paths
    catalogue = read_catalogue(source)
    events = catalogue.events
    whole = describe_relation(count_magnitudes(events))
    networks = sorted({event.network for event in events})
    write_json(
        target,
        {
            "day": catalogue.day,
            "bin_width": BIN_WIDTH,
            "left_out": {
                "not_an_earthquake": sum(event.kind != "earthquake" for event in events),
                "earthquake_without_magnitude": sum(
                    event.kind == "earthquake" and event.magnitude is None for event in events
                ),
            },
            "all": whole,
            "networks": {
                network: describe_relation(count_magnitudes(e for e in events if e.network == network))
                for network in networks
            },
        },
    )
    estimate = whole["estimate"]
    if estimate["b_value"] is None:
        print(f"{catalogue.day}: {estimate['magnitudes']} magnitudes, too few for a b-value")
    else:
        b_value = f"{estimate['b_value']:.2f} ± {estimate['b_uncertainty']:.2f}"
        print(f"{catalogue.day}: b = {b_value} above {estimate['completeness']}")


if __name__ == "__main__":
    run_payload(measure_spectrum, ("CATALOGUE.geojson", "OUTPUT.json"))
