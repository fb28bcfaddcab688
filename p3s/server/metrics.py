"""What Prometheus scrapes: counts and ages, as the overview has them, and latencies of this server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily

from p3s.clock import read_clock
from p3s.server.models import pilot
from p3s.server.queries.pilots import LIVE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from p3s.server.usecases.core import Core

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: Upper bounds of latencies, in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one server process.

    Parameters
    ----------
    core : Core
        The server; it is given a way to tell how long things took.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._registry = CollectorRegistry()
        self._claims = self._make("p3s_claim_seconds", "Time of a transaction that gave jobs to a pilot.")
        self._sweeps = self._make("p3s_sweep_seconds", "Time of a whole sweep.")
        self._requests = self._make(
            "p3s_request_seconds",
            "Time of a request, without the calls of pilots, which are held.",
            ("route", "status"),
        )
        core.observe = self._observe
        self._registry.register(_Counts(core))

    def note_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).observe(seconds)

    def write(self) -> bytes:
        """Return all metrics as text."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        # Several processes: their latencies are summed from files, the counts are the same in all.
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Counts(self._core))
        return generate_latest(registry)

    def _make(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(name, text, labels, buckets=BUCKETS, registry=self._registry)

    def _observe(self, what: str, seconds: float) -> None:
        {"claim": self._claims, "sweep": self._sweeps}[what].observe(seconds)


class _Counts:
    """What the database knows, read when it is asked for."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not read the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield each gauge."""
        now = read_clock()
        counts = self._core.counts.read()
        jobs = [
            (state, jobtype, number) for jobtype, states in counts.jobtypes.items() for state, number in states.items()
        ]
        with self._core.db.read() as connection:
            pilots = connection.execute(
                sa.select(pilot.c.state, pilot.c.site, sa.func.count()).group_by(pilot.c.state, pilot.c.site)
            ).all()
            silent = connection.scalar(sa.select(sa.func.min(pilot.c.seen)).where(pilot.c.state.in_(LIVE)))
        yield _make_gauge("p3s_jobs", "Jobs by state and type.", ("state", "jobtype"), jobs)
        yield _make_gauge("p3s_pilots", "Pilots by state and site.", ("state", "site"), pilots)
        yield _make_plain(
            "p3s_queue_age_seconds", "Age of the oldest job that may be claimed.", _measure(counts.ready_since, now)
        )
        yield _make_plain("p3s_heartbeat_age_seconds", "Silence of the most silent live pilot.", _measure(silent, now))
        used = self._core.db.count_used()
        yield _make_plain("p3s_database_connections_used", "Database connections in use.", used)
        yield _make_plain("p3s_held_calls", "Calls of pilots that are held.", self._core.hub.count_held())
        yield _make_plain("p3s_paused", "Whether the server gives out no jobs.", self._core.paused_by is not None)


def _measure(then: float | None, now: float) -> float:
    return 0.0 if then is None else max(0.0, now - then)


def _make_gauge(name: str, text: str, labels: tuple[str, ...], rows: Iterable[Any]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for *values, number in rows:
        gauge.add_metric([str(value) for value in values], number)
    return gauge


def _make_plain(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
