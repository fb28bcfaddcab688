"""Routes about the server itself, and the one that explains anything."""

from __future__ import annotations

import time

from p3s import __version__
from p3s.clock import read_clock
from p3s.errors import Archived, NotFound
from p3s.server.api.frame import caller, core, endpoint
from p3s.server.queries.archive import explain_archived
from p3s.server.queries.arrivals import count_services
from p3s.server.queries.events import explain_gone
from p3s.server.queries.find import find_anything
from p3s.server.queries.why import explain
from p3s.server.usecases import holds
from p3s.server.usecases.alarms import find_alarms
from p3s.wire import EmptyBody, StatusReply, WhoReply, WhyReply


@endpoint("GET", "/who", gives=WhoReply)
def who() -> WhoReply:
    """Say who the token says you are."""
    return WhoReply(name=caller().name, role=caller().role)


def _view() -> StatusReply:
    server = core()
    with server.db.read() as connection:
        services = count_services(connection, read_clock())
    return StatusReply(
        version=__version__,
        database=server.db.kind,
        uptime=time.monotonic() - server.born,
        paused_by=server.paused_by,
        alarms=find_alarms(server),
        services=services,
        **server.counts.count().nouns,
    )


@endpoint("GET", "/status", gives=StatusReply)
def status() -> StatusReply:
    """Count everything by state."""
    return _view()


@endpoint("GET", "/why/<path:thing>", gives=WhyReply)
def why(thing: str) -> WhyReply:
    """Answer in one sentence why a thing is where it is."""
    with core().db.read() as connection:
        try:
            noun, row = find_anything(connection, thing, owner=caller().name)
        except Archived as it:
            state, sentence = explain_archived(connection, it)
            return WhyReply(noun=it.noun, uuid=it.uuid, state=state, sentence=sentence)
        except NotFound:
            if (gone := explain_gone(connection, thing)) is None:
                raise
            return gone
        sentence = explain(connection, noun, row, read_clock())
    return WhyReply(noun=noun, uuid=row.uuid, state=row.state, sentence=sentence)


@endpoint("POST", "/server/pause", takes=EmptyBody, gives=StatusReply)
def pause_server(body: EmptyBody) -> StatusReply:  # noqa: ARG001 - decoded so that fields are refused
    """Give out no more jobs; what is dispatched runs on."""
    holds.pause_server(core(), caller().name)
    return _view()


@endpoint("POST", "/server/resume", takes=EmptyBody, gives=StatusReply)
def resume_server(body: EmptyBody) -> StatusReply:  # noqa: ARG001 - see above
    """Give out jobs again."""
    holds.resume_server(core(), caller().name)
    return _view()
