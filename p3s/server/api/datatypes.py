"""Routes of datatypes."""

from __future__ import annotations

from p3s.server.api.frame import caller, core, endpoint
from p3s.server.auth import require_owner
from p3s.server.queries.datatypes import list_datatypes as query_datatypes
from p3s.server.usecases import datatypes
from p3s.wire import DatatypeBody, DatatypeList


@endpoint("GET", "/datatypes", gives=DatatypeList)
def list_datatypes() -> DatatypeList:
    """List datatypes with their extensions."""
    return _list()


@endpoint("PUT", "/datatypes/<name>", takes=DatatypeBody, gives=DatatypeList)
def add_datatype(name: str, body: DatatypeBody) -> DatatypeList:
    """Register a datatype; the same again answers the same."""
    datatypes.add_datatype(core(), name, body, caller().name)
    return _list()


@endpoint("DELETE", "/datatypes/<name>")
def delete_datatype(name: str) -> None:
    """Take a datatype out; data of this type stays."""
    require_owner(caller(), datatypes.find_owner(core(), name), f"datatype {name}")
    datatypes.delete_datatype(core(), name, caller().name)


def _list() -> DatatypeList:
    with core().db.read() as connection:
        return query_datatypes(connection)
