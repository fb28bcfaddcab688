"""The calls about kinds of data, about data that arrives, and about what watches for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s import wire
from p3s.client.base import TIMEOUT, BaseClient, complete_path, join_path
from p3s.client.sending import encode_body

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DataCalls"]


class DataCalls(BaseClient):
    """Datatypes, files seen, services."""

    def list_datatypes(self) -> wire.DatatypeList:
        """Return the registered datatypes with their extensions."""
        return self._get("datatypes", wire.DatatypeList)

    def add_datatype(self, name: str, ext: str, comment: str = "") -> wire.DatatypeView:
        """Register a kind of data by the extension of its files; the same again answers the same."""
        content = encode_body(wire.DatatypeBody(ext=ext, comment=comment))
        answer = self._sender.send("PUT", complete_path(join_path("datatypes", name)), content, timeout=TIMEOUT)
        found = self._sender.decode(answer, wire.DatatypeList).items
        return next(item for item in found if item.name == name)

    def delete_datatype(self, name: str) -> None:
        """Take a datatype out; data of this type stays."""
        self._delete(join_path("datatypes", name))

    def record_arrivals(self, body: wire.SightingsBody) -> list[wire.ArrivalView]:
        """Tell what an injector saw, and return what was decided; a repeat gets the same answer."""
        return self._post("arrivals", body, wire.ArrivalsReply, keyed=False).items

    def ask_arrivals(self, service: str, rule: str, places: list[str]) -> list[wire.ArrivalView]:
        """Return what is known of files, nothing of those never seen."""
        body = wire.KnownBody(service=service, rule=rule, places=places)
        return self._post("arrivals/known", body, wire.ArrivalsReply, keyed=False).items

    def list_arrivals(
        self,
        *,
        service: str | None = None,
        rule: str | None = None,
        fate: str | None = None,
        place: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> wire.ArrivalList:
        """Return a page of files that injectors have seen, newest first."""
        query = {"service": service, "rule": rule, "fate": fate, "place": place, "limit": limit, "cursor": cursor}
        return self._get("arrivals", wire.ArrivalList, query)

    def iterate_arrivals(self, *, service: str | None = None, fate: str | None = None) -> Iterator[wire.ArrivalView]:
        """Yield all files seen that fit, newest first."""
        cursor: str | None = None
        while True:
            page = self.list_arrivals(service=service, fate=fate, limit=1000, cursor=cursor)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def explain_place(self, place: str) -> wire.WhyReply:
        """Return one sentence that says what became of the file with this path or URL."""
        return self._get("why", wire.WhyReply, {"place": place})

    def list_events(
        self, *, after: str | None = None, noun: str | None = None, thing: str | None = None, limit: int | None = None
    ) -> wire.EventList:
        """Return the newest events, or those after a place that an earlier answer gave as `next`."""
        return self._get("events", wire.EventList, {"after": after, "noun": noun, "thing": thing, "limit": limit})

    def report_event(self, name: str, message: str) -> wire.EventList:
        """Add what happened outside to the event log."""
        return self._post("events", wire.ReportBody(name=name, message=message), wire.EventList)

    def beat_service(self, name: str, body: wire.BeatBody) -> wire.ServiceList:
        """Say that a service lives."""
        return self._post(join_path("services", name, "beat"), body, wire.ServiceList, keyed=False)

    def list_services(self) -> wire.ServiceList:
        """Return all services."""
        return self._get("services", wire.ServiceList)
