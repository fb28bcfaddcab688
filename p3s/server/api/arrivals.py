"""Routes of files that arrive, and of the services that watch for them."""

from __future__ import annotations

from p3s.clock import read_clock
from p3s.errors import BadInput, Problem
from p3s.server.api.frame import caller, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.queries.arrivals import explain_place, view_known
from p3s.server.queries.arrivals import list_arrivals as query_arrivals
from p3s.server.queries.arrivals import list_services as query_services
from p3s.server.usecases import arrivals
from p3s.wire import (
    ArrivalList,
    ArrivalsReply,
    BeatBody,
    KnownBody,
    ServiceList,
    SightingsBody,
    WhyReply,
)


@endpoint("POST", "/arrivals", takes=SightingsBody, gives=ArrivalsReply)
def record_arrivals(body: SightingsBody) -> ArrivalsReply:
    """Decide about files that an injector saw; a decision stands."""
    return ArrivalsReply(items=arrivals.record_arrivals(core(), body, caller().name))


@endpoint("POST", "/arrivals/known", takes=KnownBody, gives=ArrivalsReply, keyed=False)
def ask_arrivals(body: KnownBody) -> ArrivalsReply:
    """Return what is known of files, nothing of those never seen."""
    with core().db.read() as connection:
        return ArrivalsReply(items=view_known(connection, body.service, body.rule, body.places))


@endpoint("GET", "/arrivals", gives=ArrivalList)
def list_arrivals() -> ArrivalList:
    """List files that injectors have seen, newest first."""
    with core().db.read() as connection:
        return query_arrivals(
            connection,
            name=read_text("service"),
            rule=read_text("rule"),
            fate=read_text("fate"),
            place=read_text("place"),
            limit=read_limit(),
            cursor=read_cursor(),
        )


@endpoint("GET", "/why", gives=WhyReply)
def why_place() -> WhyReply:
    """Answer in a sentence what became of the file at `place`."""
    place = read_text("place")
    if place is None:
        raise BadInput([Problem("give the path or URL of a file", where="place")])
    with core().db.read() as connection:
        uuid, state, sentence = explain_place(connection, place, read_clock())
    return WhyReply(noun="file", uuid=uuid, state=state, sentence=sentence)


@endpoint("POST", "/services/<name>/beat", takes=BeatBody, gives=ServiceList)
def beat_service(name: str, body: BeatBody) -> ServiceList:
    """Say that a service lives, or leaves."""
    arrivals.beat_service(core(), name, body, caller().name)
    fates = core().counts.read().fates
    with core().db.read() as connection:
        return query_services(connection, read_clock(), fates)


@endpoint("GET", "/services", gives=ServiceList)
def list_services() -> ServiceList:
    """List the services with their files counted by fate."""
    fates = core().counts.read().fates
    with core().db.read() as connection:
        return query_services(connection, read_clock(), fates)
