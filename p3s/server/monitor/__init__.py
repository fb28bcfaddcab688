"""The web monitor: what runs, what waits and why, at a glance.

Every page is made here, whole, as HTML that needs no script: links, filters, pages of tables and actions are plain
links and forms. Scripts, where they were built, make it live. The two meet in this contract.

**The frame.** Every page extends ``templates/frame.html``. It loads ``static/p3s.css``, ``static/live.css`` and the
module ``static/main.js``, which imports what the page needs; the work of others is in ``static/built``, if it was
fetched. What changes with time is inside ``<main id="live" data-live>``; the header, the search box and what an action
has to say (``.told``) stand outside. The login form and the page of the API have no ``#live``.

**Looking again.** A script asks for the page's own address every 2 s, with the ``ETag`` of the answer before in
``If-None-Match``. A page that says the same answers 304 without a body. Else the ``#live`` of the answer takes the
place of the old one; elements with ``data-keep`` and an equal ``id`` stay as they are. A page is left alone while
something in ``#live`` is ticked or typed into, and a ``details`` that was opened stays open. A session that has ended
answers 401, with the login form for a body.

**Times.** ``<time datetime="2026-11-24T03:00:00Z" data-age>2026-11-24 03:00:00</time>``: always UTC. A script shows the
viewer's zone with UTC in ``title``; where ``data-age`` stands, it shows the distance from now instead, back or ahead
("12 s ago", "in 4 min"). No page says a distance itself, so that it stays the same while nothing happens.

**Drawings.** Places that a script fills; what they hold before is shown where there is no script.

- ``<div id="dag" data-keep data-dag="/workflows/UUID/graph.json">``
- ``<div id="timeline" data-keep data-timeline="/workflows/UUID/timeline.json">``
- ``<div id="plot-..." data-keep data-plot="/overview/series.json?span=hour">``
- ``<pre id="..." data-log="/jobs/UUID/log?stream=stdout&attempt=2">``; that address answers as the API's log does, with
  ``offset`` and ``watch=1`` understood. ``data-next`` has the byte after the text that is shown, ``data-final`` stands
  there when no more will come.

The addresses of drawings are answered by ``drawings.py`` and ``series.py``; all pages and all tables by the other
modules. Each table also answers as ``?format=csv`` and ``?format=json``, with ``table=NAME`` where a page has several.
"""

from p3s.server.monitor import (
    actions,
    archived,
    description,
    drawings,
    entry,
    jobs,
    lists,
    overview,
    results,
    search,
    series,
    workflows,
)
from p3s.server.monitor.frame import blueprint

__all__ = [
    "actions",
    "archived",
    "blueprint",
    "description",
    "drawings",
    "entry",
    "jobs",
    "lists",
    "overview",
    "results",
    "search",
    "series",
    "workflows",
]
