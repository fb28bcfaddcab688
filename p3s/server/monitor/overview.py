"""The overview: is the system healthy, and if not, why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from p3s.clock import read_clock
from p3s.engine.states import JobState, PilotState, WorkflowState
from p3s.engine.verdict import judge
from p3s.server.monitor.frame import Page, core, page
from p3s.server.monitor.tables import Column, Table
from p3s.server.monitor.values import order_states
from p3s.server.queries import health
from p3s.server.queries.arrivals import find_service_state
from p3s.server.queries.jobtypes import list_caps
from p3s.server.usecases.alarms import find_shortages

__all__ = ["show_use"]

#: Sites, and groups of failures, that a tile names; and groups of failures in the table.
NAMED, ROWS = 3, 50

_FAULTS = (Column("name"), Column("sentence"), Column("link"))
_FAILURES = (
    Column("name", "job", link="/jobs/{job}"),
    Column("jobtype", "type", link="/jobs?state=failed&jobtype={jobtype}"),
    Column("reason", "reason"),
    Column("host", "host"),
    Column("number", "attempts", "number"),
    Column("at", "newest", "age"),
    Column("job"),
)
_CAPS = (
    Column("name", "jobtype", link="/jobs?jobtype={name}"),
    Column("use", "in use", "bar"),
    Column("cap", "cap", "number"),
    Column("open"),
)
_SERVICES = (
    Column("name", "name"),
    Column("kind", "kind"),
    Column("state", "state", "state"),
    Column("seen", "heard", "age"),
    Column("last", "last file", "place"),
    Column("last_at", "seen", "age"),
)


_STATES = {"jobs": JobState, "workflows": WorkflowState, "pilots": PilotState}


@page("/")
def overview() -> Page:
    """Show the state of the whole at one look."""
    now = read_clock()
    server = core()
    counts = server.counts.read()
    with server.db.read() as connection:
        services = health.read_services(connection)
        short = find_shortages(server)
        facts = health.read_facts(connection, now, services, short=short, paused_by=server.paused_by)
        failures = health.list_failures(connection, now, ROWS)
        verdict = judge(facts)
        values = {
            "now": now,
            "verdict": verdict,
            "flow": health.read_flow(connection, now, services),
            "lateness": health.read_lateness(connection, now, len(facts.overdue), facts.ready),
            "capacity": health.read_capacity(connection, now, services, facts),
            "latency": health.measure_latency(connection),
            "many": health.MANY,
            "named": NAMED,
            "failed": sum(one.number for one in failures),
            "worst": failures[:NAMED],
            "counts": {noun: order_states(counts.nouns[noun], states) for noun, states in _STATES.items()},
        }
        caps = list_caps(connection)
    tables = (
        Table("faults", "Faults", _FAULTS, [asdict(one) for one in verdict.faults]),
        Table("failures", "Failures of the last hour", _FAILURES, [asdict(one) for one in failures], "None."),
        Table("caps", "Caps", _CAPS, [show_use(row) for row in caps], "No jobtype has a cap."),
        Table(
            "services",
            "Services",
            _SERVICES,
            [dict(row._mapping) | {"state": find_service_state(row, now)} for row in services],  # noqa: SLF001 - documented
            "No injector runs beside this server.",
        ),
    )
    return Page("overview.html", "Overview", tables, values)


def show_use(row: dict[str, Any]) -> dict[str, Any]:
    """Return a capped jobtype with how much of its cap is in use, as a bar."""
    parts = [("running", min(row["open"], row["cap"]))]
    label = f"{row['open']} of {row['cap']}" if row["cap"] else "suspended"
    return row | {"use": {"parts": parts, "whole": row["cap"] or 1, "label": label}}
