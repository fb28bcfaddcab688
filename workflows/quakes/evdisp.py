"""Draw one day's epicentres as a self-contained SVG map: size by magnitude, colour by depth.

Two panels: the world, and below it the window that holds the most events, enlarged. Longitudes and
latitudes are drawn as they are (equirectangular); the enlarged panel is scaled to true shape at its middle.

Usage: python3 evdisp.py CATALOGUE.geojson OUTPUT.svg
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from quakelib import Event, read_catalogue, run_payload

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEIGHT = 640, 800
PANEL_WIDTH, PANEL_HEIGHT = 570, 285
MARGIN, LEFT, WORLD_TOP, DETAIL_TOP, LEGEND_TOP = 10, 54, 66, 396, 712
#: The enlarged window's height in degrees of latitude.
DETAIL_HEIGHT = 14.0
#: So many of the largest events are named on each panel.
NAMED = 3
#: Upper limits in km, with the label and the colour (Paul Tol's discrete rainbow, told apart by
#: colour-blind readers too, on light and dark ground) of each depth class.
DEPTHS = (
    (10.0, "0-10", "#e8601c"),
    (35.0, "10-35", "#f6c141"),
    (70.0, "35-70", "#4eb265"),
    (300.0, "70-300", "#3f8fd0"),
    (math.inf, "over 300", "#b178a6"),
)
UNKNOWN_COLOUR = "#999999"

STYLE = (
    # Every rule is confined to this class, for the maps are also put into one HTML page together.
    ".quakemap{--ink:#1d2733;--soft:#5c6875;--grid:#cdd5dd;--sea:#f3f6f9;background:#fff;"
    "font-family:system-ui,'DejaVu Sans',sans-serif;font-size:15px}"
    "@media (prefers-color-scheme:dark){.quakemap{--ink:#e6ebf0;--soft:#a3afbb;--grid:#36424e;--sea:#151c24;"
    "background:#0d1319}}"
    ".quakemap text{fill:var(--ink);paint-order:stroke}"
    ".quakemap .soft{fill:var(--soft);font-size:13px}"
    ".quakemap .head{font-size:21px;font-weight:600}"
    ".quakemap .name{font-weight:600;stroke:var(--sea);stroke-width:3px}"
    ".quakemap .panel{fill:var(--sea);stroke:var(--soft)}"
    ".quakemap .grid{fill:none;stroke:var(--grid)}"
    ".quakemap .zoom{fill:none;stroke:var(--ink);stroke-dasharray:5 3}"
    ".quakemap circle{fill-opacity:.72;stroke:var(--ink);stroke-width:.6;stroke-opacity:.75}"
)


@dataclass(frozen=True)
class Window:
    """A panel of the drawing: what part of the world it shows, in degrees, and where its top edge is."""

    west: float
    south: float
    width: float
    height: float
    top: float

    def place_point(self, longitude: float, latitude: float) -> tuple[float, float]:
        """Return the position of a point on the drawing, going east from the window's western edge."""
        east = (longitude - self.west) % 360
        # The world's own eastern edge would otherwise wrap round to its western one.
        east = 360.0 if east == 0 and longitude > self.west else east
        x = LEFT + east / self.width * PANEL_WIDTH
        y = self.top + (self.south + self.height - latitude) / self.height * PANEL_HEIGHT
        return round(x, 1), round(y, 1)

    def holds_event(self, event: Event) -> bool:
        """Tell whether the epicentre lies in the window, which may cross the date line."""
        inside = self.south <= event.latitude <= self.south + self.height
        return inside and (event.longitude - self.west) % 360 <= self.width

    def weigh_events(self, events: tuple[Event, ...]) -> tuple[int, float]:
        """Return how many events the window holds, then how close they are to its middle (0 is closest)."""
        held = [event for event in events if self.holds_event(event)]
        off_middle = (abs((event.longitude - self.west) % 360 - self.width / 2) for event in held)
        off_height = (abs(event.latitude - self.south - self.height / 2) for event in held)
        return len(held), -sum(off_middle) - sum(off_height)


WORLD = Window(-180.0, -90.0, 360.0, 180.0, WORLD_TOP)


def choose_window(events: tuple[Event, ...]) -> Window:
    """Return the window that holds the most events, and holds them nearest to its middle."""
    near = range(-12, 13, 4)
    grid = {(round(event.longitude / 4) * 4, round(event.latitude / 4) * 4) for event in events}
    centres = sorted({(x + east, y + north) for x, y in grid for east in near for north in near})
    windows = [_centre_window(*centre) for centre in centres] or [_centre_window(0, 0)]
    return max(windows, key=lambda window: window.weigh_events(events))


def _centre_window(longitude: float, latitude: float) -> Window:
    """Return the enlarged window around a point, kept off the poles, where its shape would tear."""
    middle = max(-65.0, min(65.0, float(latitude)))
    width = DETAIL_HEIGHT * PANEL_WIDTH / PANEL_HEIGHT / math.cos(math.radians(middle))
    west = (longitude - width / 2 + 180) % 360 - 180
    return Window(west, middle - DETAIL_HEIGHT / 2, width, DETAIL_HEIGHT, DETAIL_TOP)


def measure_radius(magnitude: float | None) -> float:
    """Return a circle's radius: half as large again per magnitude, a dot below magnitude 0 or without one."""
    return round(1.4 * math.pow(1.45, max(magnitude or 0.0, 0.0)), 1)


def find_colour(depth: float | None) -> str:
    """Return the colour of the depth class."""
    if depth is None:
        return UNKNOWN_COLOUR
    return next(colour for limit, _, colour in DEPTHS if depth < limit)


def describe_event(event: Event) -> str:
    """Return the text shown when the pointer rests on an event."""
    size = "no magnitude" if event.magnitude is None else f"M {event.magnitude:.1f}"
    depth = "depth unknown" if event.depth is None else f"{event.depth:.0f} km deep"
    return f"{size}, {event.place}, {depth}, {event.clock} UTC"


def label_angle(angle: float, letters: str) -> str:
    """Return a longitude or latitude as people write it, such as ``120°W``."""
    angle = (angle + 180) % 360 - 180 if letters == "EW" else angle
    letter = "" if angle in {0, -180} else letters[angle < 0]
    return f"{abs(angle):g}°{letter}"


def draw_panel(window: Window, turn_step: int, step: int, title: str) -> list[str]:
    """Return a panel's ground, its graticule with labels every so many degrees, and its heading."""
    bottom = window.top + PANEL_HEIGHT
    parts = [
        f'<text x="{LEFT}" y="{window.top - 8}" class="soft">{escape(title)}</text>',
        f'<rect class="panel" x="{LEFT}" y="{window.top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}"/>',
    ]
    lines, labels = [], []
    for turn in range(math.ceil(window.west / turn_step) * turn_step, math.ceil(window.west + window.width), turn_step):
        x = round(LEFT + (turn - window.west) / window.width * PANEL_WIDTH, 1)
        if LEFT + 24 < x < LEFT + PANEL_WIDTH - 24:
            lines.append(f"M{x} {window.top}V{bottom}")
            labels.append(
                f'<text x="{x}" y="{bottom + 16}" class="soft" text-anchor="middle">{label_angle(turn, "EW")}</text>'
            )
    for north in range(math.ceil(window.south / step) * step, math.ceil(window.south + window.height), step):
        y = window.place_point(window.west, north)[1]
        if window.top + 12 < y < bottom - 12:
            lines.append(f"M{LEFT} {y}h{PANEL_WIDTH}")
            labels.append(
                f'<text x="{LEFT - 6}" y="{y + 5}" class="soft" text-anchor="end">{label_angle(north, "NS")}</text>'
            )
    return [*parts, f'<path class="grid" d="{"".join(lines)}"/>', *labels]


def draw_events(window: Window, events: list[Event], told: Window | None = None) -> list[str]:
    """Return the circles, large ones first so that small ones stay visible, and the largest ones' names.

    Events that the panel ``told`` describes get no text of their own here, which keeps the file small.
    """
    parts = []
    for event in events:
        x, y = window.place_point(event.longitude, event.latitude)
        size, colour = measure_radius(event.magnitude), find_colour(event.depth)
        circle = f'<circle cx="{x}" cy="{y}" r="{size}" fill="{colour}"'
        if told is not None and told.holds_event(event):
            parts.append(f"{circle}/>")
        else:
            parts.append(f"{circle}><title>{escape(describe_event(event))}</title></circle>")
    taken: list[tuple[float, float]] = []
    for event in events:
        x, y = window.place_point(event.longitude, event.latitude)
        # A name on top of another could not be read; the next largest event gets the chance instead.
        crowded = any(abs(x - other) < 80 and abs(y - line) < 18 for other, line in taken)
        if event.magnitude is None or len(taken) == NAMED or crowded:
            continue
        taken.append((x, y))
        gap = measure_radius(event.magnitude) + 4
        side = f'x="{x - gap:.1f}" text-anchor="end"' if x > LEFT + PANEL_WIDTH - 80 else f'x="{x + gap:.1f}"'
        parts.append(f'<text class="name" {side} y="{y + 5:.1f}">M {event.magnitude:.1f}</text>')
    return parts


def draw_box(detail: Window) -> str:
    """Return the enlarged window's outline on the world, twice: across the date line each shows one half."""
    x, y = WORLD.place_point(detail.west, detail.south + detail.height)
    size = f'width="{detail.width / 360 * PANEL_WIDTH:.1f}" height="{DETAIL_HEIGHT / 180 * PANEL_HEIGHT:.1f}"'
    starts = (x, round(x - PANEL_WIDTH, 1))
    return "".join(f'<rect class="zoom" x="{start}" y="{y}" {size}/>' for start in starts)


def draw_legend() -> list[str]:
    """Return the legend: what the colours and the sizes mean."""
    parts = [f'<text x="{MARGIN}" y="{LEGEND_TOP + 24}">Depth, km</text>']
    x = MARGIN + 104
    for _, label, colour in DEPTHS:
        parts.append(f'<circle cx="{x}" cy="{LEGEND_TOP + 19}" r="7" fill="{colour}"/>')
        parts.append(f'<text x="{x + 12}" y="{LEGEND_TOP + 24}">{label}</text>')
        x += 34 + 9 * len(label)
    parts.append(f'<text x="{MARGIN}" y="{LEGEND_TOP + 66}">Magnitude</text>')
    x = MARGIN + 104
    for magnitude in range(8):
        radius = measure_radius(magnitude)
        parts.append(f'<circle cx="{x}" cy="{LEGEND_TOP + 61}" r="{radius}" fill="none"/>')
        parts.append(f'<text x="{x + radius + 4:.1f}" y="{LEGEND_TOP + 66}">{magnitude}</text>')
        x += round(38 + 2 * radius)
    return parts


def clip_panel(identity: str, window: Window) -> str:
    """Return a clipping frame: circles near a panel's edge must not reach over it."""
    frame = f'x="{LEFT}" y="{window.top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}"'
    return f'<clipPath id="{identity}"><rect {frame}/></clipPath>'


def draw_map(paths: list[Path]) -> None:
    """Write the map of one day."""
    source, target = paths
    catalogue = read_catalogue(source)
    detail = choose_window(catalogue.events)
    ordered = sorted(
        catalogue.events,
        key=lambda event: -math.inf if event.magnitude is None else event.magnitude,
        reverse=True,
    )
    near = [event for event in ordered if detail.holds_event(event)]
    count = len(ordered)
    title = f"Earthquakes of {catalogue.day}, UTC"
    day = escape(catalogue.day, quote=True)
    label = f"{escape(title, quote=True)}: map of {count} events"
    head = f'xmlns="http://www.w3.org/2000/svg" class="quakemap" data-day="{day}" role="img"'
    parts = [
        f'<svg {head} viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{label}">',
        f"<style>{STYLE}</style>",
        # The day is part of the names, for a page may hold the maps of several days.
        clip_panel(f"world-{day}", WORLD),
        clip_panel(f"detail-{day}", detail),
        f'<text x="{MARGIN}" y="30" class="head">{escape(title)}</text>',
        *draw_panel(WORLD, 30, 30, f"The world: {count} events"),
        f'<g clip-path="url(#world-{day})">',
        *draw_events(WORLD, ordered, told=detail),
        draw_box(detail),
        "</g>",
        *draw_panel(detail, 10 if detail.width > 40 else 5, 5, f"The dashed box enlarged: {len(near)} events"),
        f'<g clip-path="url(#detail-{day})">',
        *draw_events(detail, near),
        "</g>",
        *draw_legend(),
        "</svg>",
    ]
    target.write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"{catalogue.day}: {count} events drawn, {len(near)} of them enlarged")


if __name__ == "__main__":
    run_payload(draw_map, ("CATALOGUE.geojson", "OUTPUT.svg"))
