"""Bodies about data: kinds of it."""

from __future__ import annotations

from pydantic import Field

from p3s.wire.base import Reply, Request


class DatatypeBody(Request):
    """A kind of data: `ext` is the extension of its files, with its dot."""

    ext: str = Field(max_length=100)
    comment: str = Field(default="", max_length=4096)


class DatatypeView(Reply):
    """A registered kind of data."""

    name: str
    ext: str
    comment: str = ""
    owner: str = ""


class DatatypeList(Reply):
    """All datatypes by name."""

    items: list[DatatypeView]
