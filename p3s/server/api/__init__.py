"""The JSON API under /api/v1: each route decodes, calls a use case or a query, and encodes."""

from __future__ import annotations

from p3s.server.api import (
    arrivals,
    dags,
    datasets,
    datatypes,
    events,
    jobs,
    jobtypes,
    pilots,
    purge,
    sites,
    system,
    tokens,
    workflows,
)
from p3s.server.api.frame import blueprint

__all__ = [
    "arrivals",
    "blueprint",
    "dags",
    "datasets",
    "datatypes",
    "events",
    "jobs",
    "jobtypes",
    "pilots",
    "purge",
    "sites",
    "system",
    "tokens",
    "workflows",
]
