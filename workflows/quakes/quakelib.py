"""Read a day of the earthquake catalogue and estimate its statistics.

Everything the payloads of this workflow share lives here; it needs Python's standard library alone.

Sources of the formulas
-----------------------
- Completeness by maximum curvature: Wiemer and Wyss (2000), Bull. Seismol. Soc. Am. 90(4), 859-869;
  the correction of +0.2: Woessner and Wiemer (2005), Bull. Seismol. Soc. Am. 95(2), 684-698.
- b-value by maximum likelihood: Aki (1965), Bull. Earthq. Res. Inst. 43, 237-239; with the correction
  for binned magnitudes of Utsu (1966), J. Phys. Earth 14, 37-40.
- Its standard error: Shi and Bolt (1982), Bull. Seismol. Soc. Am. 72(5), 1677-1687.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Magnitudes are counted in bins this wide, each centred on a tenth.
BIN_WIDTH = 0.1
#: Maximum curvature finds too small a completeness in gradually bending relations; this is added to it.
COMPLETENESS_CORRECTION = 0.2
#: Below this many magnitudes an estimate says more about chance than about the network.
MINIMUM_EVENTS = 20
#: Two origins this close in time (seconds) and in space (kilometres) are taken for the same earthquake.
DUPLICATE_SECONDS = 2.0
DUPLICATE_KILOMETRES = 10.0

EARTH_RADIUS_KM = 6371.0
#: The exit code for bad input data, as in sysexits.h.
EXIT_BAD_DATA = 65


class CatalogueError(Exception):
    """An input file is not what it should be; the message names the file and the cure."""


@dataclass(frozen=True)
class Event:
    """One origin: time in ms since 1970 (UTC), position in degrees, depth in km."""

    id: str
    time: int
    longitude: float
    latitude: float
    depth: float | None
    magnitude: float | None
    network: str
    kind: str
    status: str
    place: str

    @property
    def clock(self) -> str:
        """The time of day, UTC, as ``HH:MM``."""
        return datetime.fromtimestamp(self.time / 1000, UTC).strftime("%H:%M")


@dataclass(frozen=True)
class Catalogue:
    """The events of one day, oldest first."""

    day: str
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Estimate:
    """What a magnitude-frequency relation says; a value is None where too few events support it."""

    magnitudes: int
    completeness: float | None = None
    events_used: int = 0
    b_value: float | None = None
    b_uncertainty: float | None = None
    a_value: float | None = None


def load_json(path: Path) -> Any:
    """Return the decoded content of a JSON file; raise CatalogueError if it holds none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read ({error.strerror}): check that the file exists") from error
    except ValueError as error:
        raise CatalogueError(f"{path} is not JSON ({error}): fetch or cut it again") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON, refusing NaN, which other readers would choke on."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_catalogue(path: Path) -> Catalogue:
    """Read one GeoJSON file of the feed; its day is the metadata's, else taken from the file's name."""
    content = load_json(path)
    if not isinstance(content, dict) or content.get("type") != "FeatureCollection":
        raise CatalogueError(f"{path} is not a GeoJSON FeatureCollection: give a file that cut_catalogue.py made")
    features = content.get("features")
    if not isinstance(features, list):
        raise CatalogueError(f"{path} has no list of features: fetch or cut it again")
    events = [_read_event(path, number, feature) for number, feature in enumerate(features, start=1)]
    metadata = content.get("metadata")
    named = metadata.get("day") if isinstance(metadata, dict) else None
    day = named if isinstance(named, str) else path.stem.removeprefix("quakes-")
    return Catalogue(day, tuple(sorted(events, key=lambda event: (event.time, event.id))))


def _read_event(path: Path, number: int, feature: Any) -> Event:
    """Decode one feature; only the magnitude and the depth may be absent, as in the real feed."""
    try:
        properties = feature["properties"]
        longitude, latitude, *rest = feature["geometry"]["coordinates"]
        depth = rest[0] if rest else None
        magnitude = properties["mag"]
        return Event(
            id=str(feature["id"]),
            time=int(properties["time"]),
            longitude=_check_number(longitude, 180),
            latitude=_check_number(latitude, 90),
            depth=None if depth is None else _check_number(depth, EARTH_RADIUS_KM),
            magnitude=None if magnitude is None else _check_number(magnitude, 12),
            network=str(properties["net"]),
            kind=str(properties["type"]),
            status=str(properties["status"]),
            place=str(properties["place"] or "unnamed place"),
        )
    except KeyError as error:
        raise CatalogueError(f"{path}: feature {number} has no {error}: fetch or cut the file again") from error
    except (TypeError, ValueError) as error:
        raise CatalogueError(f"{path}: feature {number} is malformed ({error}): fetch or cut it again") from error


def _check_number(value: Any, limit: float) -> float:
    """Return ``value`` as a finite float of at most ``limit`` in size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= limit:
        raise ValueError(f"{value!r} is not a number within ±{limit:g}")
    return float(value)


def count_magnitudes(events: Iterable[Event]) -> Counter[int]:
    """Count earthquakes by magnitude in tenths; blasts and events without a magnitude are left out."""
    return Counter(
        # Half a bin rounds up; the tiny shift keeps 1.15, stored as 1.149999..., from rounding down.
        math.floor(event.magnitude / BIN_WIDTH + 0.5 + 1e-9)
        for event in events
        if event.magnitude is not None and event.kind == "earthquake"
    )


def estimate_completeness(counts: Mapping[int, int]) -> float | None:
    """Return the magnitude of completeness by maximum curvature (Wiemer and Wyss 2000), corrected by +0.2.

    The point of maximum curvature is the fullest bin; of equally full ones the largest, the careful choice.
    """
    if sum(counts.values()) < MINIMUM_EVENTS:
        return None
    fullest = max(counts, key=lambda tenths: (counts[tenths], tenths))
    return round(fullest * BIN_WIDTH + COMPLETENESS_CORRECTION, 1)


def estimate_relation(counts: Mapping[int, int]) -> Estimate:
    """Fit log10 N(>= M) = a - b M above the completeness (Aki 1965, Utsu 1966, Shi and Bolt 1982)."""
    total = sum(counts.values())
    completeness = estimate_completeness(counts)
    if completeness is None:
        return Estimate(total)
    lowest = round(completeness / BIN_WIDTH)
    used = {tenths: count for tenths, count in counts.items() if tenths >= lowest}
    size = sum(used.values())
    if size < MINIMUM_EVENTS:
        return Estimate(total, completeness, size)
    mean = sum(tenths * BIN_WIDTH * count for tenths, count in used.items()) / size
    squares = sum(count * (tenths * BIN_WIDTH - mean) ** 2 for tenths, count in used.items())
    # A bin reaches half its width below its centre, and so does the range of the magnitudes counted.
    b_value = math.log10(math.e) / (mean - (completeness - BIN_WIDTH / 2))
    uncertainty = math.log(10) * b_value**2 * math.sqrt(squares / (size * (size - 1)))
    a_value = math.log10(size) + b_value * completeness
    return Estimate(total, completeness, size, round(b_value, 4), round(uncertainty, 4), round(a_value, 4))


def measure_distance(one: Event, other: Event) -> float:
    """Return the distance of two epicentres in km along the great circle (haversine formula)."""
    north, south = math.radians(one.latitude), math.radians(other.latitude)
    turn = math.radians(one.longitude - other.longitude)
    chord = math.sin((north - south) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(turn / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def find_duplicates(events: Iterable[Event]) -> list[tuple[Event, Event]]:
    """Return the pairs of origins at most 2 s and 10 km apart: perhaps one earthquake, entered twice.

    Two real shocks may be that close, too, so a pair is for a person to look at, never to be dropped.
    """
    ordered = sorted(events, key=lambda event: event.time)
    pairs = []
    for index, event in enumerate(ordered):
        for later in ordered[index + 1 :]:
            if later.time - event.time > DUPLICATE_SECONDS * 1000:
                break
            if measure_distance(event, later) <= DUPLICATE_KILOMETRES:
                pairs.append((event, later))
    return pairs


def run_payload(work: Callable[[list[Path]], None], arguments: tuple[str, ...]) -> None:
    """Call ``work`` with the paths of the command line; end with one line on stderr if that fails."""
    script, *given = sys.argv
    if len(given) != len(arguments):
        sys.exit(f"usage: {Path(script).name} {' '.join(arguments)}")
    try:
        work([Path(name) for name in given])
    except CatalogueError as error:
        print(f"{Path(script).name}: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_DATA)
    except OSError as error:
        sys.exit(f"{Path(script).name}: {error}: check the path and the free space, then run it again")
