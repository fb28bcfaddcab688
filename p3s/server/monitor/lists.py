"""Pages that are one table: pilots, hosts, sites, jobtypes, datasets, datatypes, files seen, DAGs, services, events."""

from __future__ import annotations

from typing import Any

from p3s.clock import read_clock
from p3s.engine.fates import Fate
from p3s.engine.states import DatasetState, PilotState
from p3s.errors import Archived, BadInput, Problem
from p3s.server.monitor.columns import EVENT_COLUMNS
from p3s.server.monitor.frame import Page, caller, core, is_admin, page
from p3s.server.monitor.jobs import show_events
from p3s.server.monitor.overview import show_use
from p3s.server.monitor.reading import read_cursor, read_limit, read_number, read_text
from p3s.server.monitor.tables import Column, Filter, Table, make_act, read_rows
from p3s.server.queries.archive import show_archived_dataset
from p3s.server.queries.arrivals import list_arrivals, list_services
from p3s.server.queries.dags import find_dag, list_dags, show_dag
from p3s.server.queries.datasets import list_datasets, show_dataset
from p3s.server.queries.datatypes import list_datatypes
from p3s.server.queries.events import list_newest
from p3s.server.queries.find import find_row
from p3s.server.queries.jobtypes import list_caps
from p3s.server.queries.pilots import LIVE, list_hosts, list_pilots, view_pilot
from p3s.server.queries.processes import list_processes
from p3s.server.queries.sites import list_sites
from p3s.server.queries.why import explain_pilot
from p3s.server.queries.windows import WINDOW
from p3s.server.usecases.alarms import find_shortages

__all__: list[str] = []

_PILOTS = (
    Column("uuid", "id", "id", "/pilots/{uuid}", is_minor=True),
    Column("name", "name", link="/pilots/{uuid}"),
    Column("state", "state", "state"),
    Column("host", "host", is_minor=True),
    Column("site", "site", is_minor=True),
    Column("seen", "heard", "age"),
    Column("use", "slots in use", "bar"),
    Column("acts", "do", "acts"),
    Column("done", "done", "number"),
    Column("failed", "failed", "number"),
    Column("created", "since", "age", is_minor=True),
    Column("reason"),
)
_HOSTS = (
    Column("name", "host"),
    Column("state", "state", "state"),
    Column("pilots", "live pilots", "number"),
    Column("burnt", "could not start in a row", "number", is_minor=True),
    Column("acts", "do", "acts"),
    Column("reason"),
)
_SITES = (
    Column("name", "site"),
    Column("live", "live pilots", "number"),
    Column("pilots", "nominal", "number"),
    Column("pilotcycles", "cycles", "number"),
    Column("pilotperiod", "period", "seconds"),
    Column("pilotlife", "lifetime", "seconds"),
    Column("data", "data folder", "code"),
    Column("defined", "defined", "yes"),
)
_JOBTYPES = (
    Column("name", "jobtype", link="/jobs?jobtype={name}"),
    Column("use", "cap in use", "bar"),
    Column("running", "with pilots", "number"),
    Column("ready", "ready", "number"),
    Column("waiting", "waiting", "number"),
    Column("finished", "finished", "number"),
    Column("failed", "failed", "number"),
    Column("cap"),
)
_DATASETS = (
    Column("uuid", "id", "id", "/datasets/{uuid}", is_minor=True),
    Column("key", "name", link="/datasets/{uuid}"),
    Column("state", "state", "state"),
    Column("workflow", "workflow", "id", "/workflows/{workflow}", is_minor=True),
    Column("producer", "made by", link="/jobs/{workflow}/{producer}"),
    Column("datatype", "datatype", is_minor=True),
    Column("size", "size", "size"),
    Column("place", "place", "place"),
    Column("created", "created", "age", is_minor=True),
    Column("site"),
    Column("checksum"),
)
_PROCESSES = (
    Column("pid", "process"),
    Column("host", "host"),
    Column("state", "state", "state"),
    Column("started", "started", "age"),
    Column("seen", "heard", "age"),
    Column("lost", "missed since", "age"),
)
_DATATYPES = (
    Column("name", "datatype"),
    Column("ext", "extension", "code"),
    Column("comment", "comment", "words"),
    Column("owner", "owner"),
)
_FILES = (
    Column("place", "file", "place", "/search?q={place}"),
    Column("fate", "fate", "state"),
    Column("service", "injector"),
    Column("rule", "rule"),
    Column("workflow", "workflow", "id", "/workflows/{workflow}"),
    Column("size", "size", "size"),
    Column("arrived", "arrived", "age"),
    Column("message", "message", "words"),
    Column("uuid"),
)
_DAGS = (
    Column("name", "DAG", link="/dags/{name}?owner={owner}"),
    Column("owner", "owner"),
    Column("version", "version", "number"),
    Column("workflows", "workflows of it", "number"),
    Column("created", "stored", "age"),
    Column("file", "file", "place", is_minor=True),
    Column("digest"),
)
_SERVICES = (
    Column("name", "name"),
    Column("kind", "kind"),
    Column("state", "state", "state"),
    Column("host", "host"),
    Column("seen", "heard", "age"),
    Column("last", "last file", "place"),
    Column("last_at", "seen", "age"),
    Column("owner", "owner"),
)


@page("/pilots")
def pilots() -> Page:
    """List pilots, newest first."""
    with core().db.read() as connection:
        found = list_pilots(
            connection,
            state=_choose("state", tuple(PilotState)),
            live=False,
            limit=read_limit(),
            cursor=read_cursor(),
            now=read_clock(),
        )
    table = Table(
        "pilots",
        "Pilots",
        _PILOTS,
        [_show_pilot(item.model_dump()) for item in found.items],
        "None yet: `p3s pilot start` starts one.",
        found.next,
        (Filter("state", "State", tuple(PilotState)),),
    )
    return Page("list.html", "Pilots", (table,))


@page("/pilots/<ident>")
def pilot(ident: str) -> Page:
    """Show a pilot."""
    now = read_clock()
    with core().db.read() as connection:
        row = find_row(connection, "pilot", ident)
        it = _show_pilot(view_pilot(connection, row.id, now).model_dump())
        why = explain_pilot(row, now)
    table = Table("pilot", "Pilot", _PILOTS, [it])
    return Page("thing.html", f"{it['name']} {it['uuid'][:8]}", (table,), {"it": it, "why": why, "plural": "pilots"})


@page("/hosts")
def hosts() -> Page:
    """List the hosts with live pilots, and those that are banned."""
    with core().db.read() as connection:
        found = list_hosts(connection)
    rows = [_show_host(item.model_dump()) for item in found.items]
    return Page("list.html", "Hosts", (Table("hosts", "Hosts", _HOSTS, rows, "No pilot is alive."),))


@page("/sites")
def sites() -> Page:
    """List sites: what was defined of them, and the pilots that are there."""
    with core().db.read() as connection:
        found = list_sites(connection)
    return Page("list.html", "Sites", (Table("sites", "Sites", _SITES, read_rows(found.items)),))


@page("/jobtypes")
def jobtypes() -> Page:
    """List jobtypes with their caps and their jobs by state."""
    counts = core().counts.read()
    with core().db.read() as connection:
        caps = {row["name"]: row for row in list_caps(connection)}
    rows = []
    for name in sorted(counts.jobtypes.keys() | caps.keys()):
        states, cap = counts.jobtypes.get(name, {}), caps.get(name)
        rows.append(
            {
                "name": name,
                "use": show_use(cap)["use"] if cap else None,
                "cap": cap["cap"] if cap else None,
                "running": states.get("running", 0) + states.get("dispatched", 0),
                "ready": states.get("defined", 0),
                "waiting": states.get("waiting", 0),
                "finished": states.get("finished", 0),
                "failed": states.get("failed", 0),
            }
        )
    table = Table("jobtypes", "Jobtypes", _JOBTYPES, rows)
    return Page("jobtypes.html", "Jobtypes", (table,))


_ORIGIN = (Column("origin", "DAG, dataset and what matches"), Column("source", "came from", link="/datasets/{source}"))


@page("/datasets")
def datasets() -> Page:
    """List datasets, newest first."""
    state = _choose("state", tuple(DatasetState))
    with core().db.read() as connection:
        found = list_datasets(
            connection, workflow_id=None, filters={"state": state}, limit=read_limit(), cursor=read_cursor()
        )
    filters = (Filter("state", "State", tuple(DatasetState)),)
    table = Table("datasets", "Datasets", _DATASETS, read_rows(found.items), next=found.next, filters=filters)
    return Page("list.html", "Datasets", (table,))


@page("/datasets/<path:ident>")
def dataset(ident: str) -> Page:
    """Show a dataset with the jobs that read it."""
    with core().db.read() as connection:
        try:
            row = find_row(connection, "dataset", ident, owner=caller().name)
        except Archived as gone:
            it = show_archived_dataset(connection, gone).model_dump()
        else:
            it = show_dataset(connection, row.id).model_dump()
    why = it["why"] + (f" Its file: {it['files']}." if it["files"] else "")
    origin = (Table("origin", "Made by another DAG", _ORIGIN, [it]),) if it["origin"] else ()
    readers = [{"job": name, "workflow": name.partition("/")[0]} for name in it["consumers"]]
    tables = (
        Table("dataset", "Dataset", _DATASETS, [it]),
        *origin,
        Table("readers", "Read by", (Column("job", "job", link="/jobs/{job}"),), readers, "No job reads it."),
    )
    it["name"] = it["key"]
    return Page("thing.html", f"{it['key']} {it['uuid'][:8]}", tables, {"it": it, "why": why, "plural": "datasets"})


@page("/datatypes")
def datatypes() -> Page:
    """List datatypes."""
    with core().db.read() as connection:
        found = list_datatypes(connection)
    table = Table("datatypes", "Datatypes", _DATATYPES, read_rows(found.items))
    return Page("list.html", "Datatypes", (table,))


@page("/files")
def files() -> Page:
    """List the files that injectors have seen, newest first."""
    with core().db.read() as connection:
        found = list_arrivals(
            connection,
            name=read_text("service"),
            rule=read_text("rule"),
            fate=_choose("fate", tuple(Fate)),
            place=read_text("place"),
            limit=read_limit(),
            cursor=read_cursor(),
            window=WINDOW if any(read_text(name) for name in ("fate", "service", "rule")) else None,
        )
    filters = (Filter("fate", "Fate", tuple(Fate)), Filter("service", "Injector"), Filter("rule", "Rule"))
    table = Table(
        "files", "Files seen", _FILES, read_rows(found.items), "No injector has seen one.", found.next, filters
    )
    return Page("list.html", "Files seen", (table,))


@page("/dags")
def dags() -> Page:
    """List stored DAGs, the newest version of each."""
    cursor = read_text("cursor")
    if cursor is not None and not cursor.rpartition(":")[2].isdigit():
        raise BadInput([Problem(f"'{cursor}' is no cursor of this list", where="cursor")])
    with core().db.read() as connection:
        found = list_dags(
            connection, name=read_text("name"), owner=read_text("owner"), limit=read_limit(), cursor=cursor
        )
    filters = (Filter("name", "Name"), Filter("owner", "Owner"))
    table = Table("dags", "DAGs", _DAGS, read_rows(found.items), next=found.next, filters=filters)
    return Page("list.html", "DAGs", (table,))


@page("/dags/<name>")
def dag(name: str) -> Page:
    """Show a stored DAG with its text."""
    with core().db.read() as connection:
        owner = read_text("owner") or caller().name
        it = show_dag(connection, find_dag(connection, name, version=read_number("version"), owner=owner)).model_dump()
    it["uuid"] = it["digest"]
    values = {"it": it, "why": f"Version {it['version']}, of {it['owner']}.", "plural": "dags", "text": it["text"]}
    return Page("thing.html", name, (Table("dag", "DAG", _DAGS, [it]),), values)


@page("/services")
def services() -> Page:
    """List the programs beside the server, and pause or resume the whole."""
    with core().db.read() as connection:
        found = list_services(connection, read_clock(), {})
        rows = [
            {"pid": row.pid, "host": row.host, "started": row.started, "seen": row.seen, "lost": row.lost}
            | {"state": "alive" if row.lost is None else "killed"}
            for row in list_processes(connection)
        ]
    services = Table("services", "Services", _SERVICES, read_rows(found.items), "No injector runs beside this server.")
    processes = Table("processes", "Processes of the server", _PROCESSES, rows)
    values = {"paused_by": core().paused_by, "shortages": find_shortages(core())}
    return Page("services.html", "Services", (services, processes), values)


@page("/events")
def events() -> Page:
    """List events, newest first."""
    with core().db.read() as connection:
        rows, more = list_newest(
            connection, noun=read_text("noun"), thing=read_text("uuid"), limit=read_limit(), cursor=read_cursor()
        )
    nouns = ("workflow", "job", "attempt", "dataset", "pilot", "host", "server")
    filters = (Filter("noun", "What", nouns), Filter("uuid", "Id", hint="its beginning"))
    table = Table("events", "Events", EVENT_COLUMNS, show_events(rows), next=more, filters=filters)
    return Page("list.html", "Events", (table,))


def _choose(name: str, choices: tuple[str, ...]) -> str | None:
    """Return a parameter that is one of these, None if it is absent or empty."""
    text = read_text(name)
    if text is not None and text not in choices:
        raise BadInput([Problem(f"'{text}' is not one of {', '.join(choices)}", where=name)])
    return text


def _show_pilot(item: dict[str, Any]) -> dict[str, Any]:
    busy, slots = item["busy"], item["slots"]
    use = {"parts": [("running", min(busy, slots))], "whole": slots, "label": f"{busy} of {slots}"}
    does = []
    if is_admin() and item["state"] in LIVE:
        does = [
            make_act(f"/pilots/{item['uuid']}/drain", "Drain"),
            make_act(f"/pilots/{item['uuid']}/kill", "Kill", "Yes, stop its payloads", "bad"),
        ]
    return item | {"seen": read_clock() - item["age"], "use": use, "acts": does}


def _show_host(item: dict[str, Any]) -> dict[str, Any]:
    does = []
    if is_admin():
        address = f"/hosts/{item['name']}"
        does = [
            make_act(f"{address}/allow", "Allow")
            if item["banned"]
            else make_act(f"{address}/ban", "Ban", "Yes, give it no jobs")
        ]
    return item | {"state": "banned" if item["banned"] else "allowed", "acts": does}
