"""Routes of pilots: what people ask about them, and the calls they make themselves."""

from __future__ import annotations

from flask import Response, g, request

from p3s.clock import read_clock
from p3s.engine.states import PilotStatus
from p3s.errors import NotFound
from p3s.server.api.frame import caller, choose_secret, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.queries.find import find_row
from p3s.server.queries.orders import find_leftovers as query_leftovers
from p3s.server.queries.pilots import list_hosts as query_hosts
from p3s.server.queries.pilots import list_pilots as query_pilots
from p3s.server.queries.pilots import view_pilot
from p3s.server.queries.system import read_blob
from p3s.server.usecases import acts
from p3s.server.usecases import exchange as calls
from p3s.wire import (
    BanBody,
    EmptyBody,
    ExchangeBody,
    ExchangeReply,
    HostList,
    LeftoversBody,
    LeftoversReply,
    PilotList,
    PilotView,
    RegisterBody,
    RegisterReply,
)


@endpoint("GET", "/pilots", gives=PilotList)
def list_pilots() -> PilotList:
    """List pilots, newest first."""
    live = request.args.get("live") == "1"
    with core().db.read() as connection:
        return query_pilots(
            connection,
            state=read_text("state"),
            live=live,
            limit=read_limit(),
            cursor=read_cursor(),
            now=read_clock(),
        )


def _view(ident: str) -> PilotView:
    with core().db.read() as connection:
        return view_pilot(connection, find_row(connection, "pilot", ident).id, read_clock())


@endpoint("GET", "/pilots/<ident>", gives=PilotView)
def show_pilot(ident: str) -> PilotView:
    """Show a pilot."""
    return _view(ident)


def _end(ident: str, status: PilotStatus) -> PilotView:
    with core().db.read() as connection:
        row = find_row(connection, "pilot", ident)
    acts.end_pilot(core(), row, status, caller().name)
    return _view(row.uuid)


@endpoint("POST", "/pilots/<ident>/drain", takes=EmptyBody, gives=PilotView)
def drain_pilot(ident: str, body: EmptyBody) -> PilotView:  # noqa: ARG001 - decoded so that fields are refused
    """Have a pilot finish what it runs and leave."""
    return _end(ident, PilotStatus.DRAIN)


@endpoint("POST", "/pilots/<ident>/kill", takes=EmptyBody, gives=PilotView)
def kill_pilot(ident: str, body: EmptyBody) -> PilotView:  # noqa: ARG001 - see above
    """Have a pilot stop its payloads and leave."""
    return _end(ident, PilotStatus.KILL)


def _list_hosts() -> HostList:
    """Return all hosts as they are now."""
    with core().db.read() as connection:
        return query_hosts(connection)


@endpoint("GET", "/hosts", gives=HostList)
def list_hosts() -> HostList:
    """List the hosts with live pilots, and those that are banned."""
    return _list_hosts()


@endpoint("POST", "/hosts/<name>/ban", takes=BanBody, gives=HostList)
def ban_host(name: str, body: BanBody) -> HostList:
    """Give a host no more jobs."""
    acts.ban_host(core(), name, body.reason or f"by {caller().name}", caller().name)
    return _list_hosts()


@endpoint("POST", "/hosts/<name>/allow", takes=EmptyBody, gives=HostList)
def allow_host(name: str, body: EmptyBody) -> HostList:  # noqa: ARG001 - see above
    """Give a host jobs again."""
    acts.ban_host(core(), name, None, caller().name)
    return _list_hosts()


@endpoint("POST", "/pilots", takes=RegisterBody, gives=RegisterReply, status=201, hides="secret")
def register_pilot(body: RegisterBody) -> RegisterReply:
    """Make a pilot known; the answer has its own secret."""
    return calls.register_pilot(core(), body, caller(), choose_secret())


@endpoint("POST", "/pilots/<ident>/exchange", takes=ExchangeBody, gives=ExchangeReply, keyed=False)
def exchange(ident: str, body: ExchangeBody) -> ExchangeReply:
    """Report, acknowledge and ask: the one call of a pilot."""
    return calls.exchange(core(), ident, g.secret, body)


@endpoint("POST", "/leftovers", takes=LeftoversBody, gives=LeftoversReply, keyed=False)
def find_leftovers(body: LeftoversBody) -> LeftoversReply:
    """Tell which of the attempts, left behind by dead pilots, nothing can come of any more."""
    with core().db.read() as connection:
        return LeftoversReply(items=query_leftovers(connection, body.attempts))


@endpoint("GET", "/blobs/<digest>")
def fetch_blob(digest: str) -> Response:
    """Return a small file by its SHA-256."""
    with core().db.read() as connection:
        data = read_blob(connection, digest)
    if data is None:
        raise NotFound("file", digest, "the server keeps bundles and results only")
    return Response(data, mimetype="application/octet-stream")


@endpoint("PUT", "/blobs/<digest>")
def store_blob(digest: str) -> None:
    """Keep a small file by its SHA-256."""
    acts.store_blob(core(), digest, request.get_data(), caller().name)
