"""Bodies about data: kinds of it, and what is done to single units of it."""

from __future__ import annotations

from pydantic import Field

from p3s.engine.names import MAX_LABEL
from p3s.engine.states import DatasetState
from p3s.wire.base import Label, Reply, Request, Size


class DatatypeBody(Request):
    """A kind of data: `ext` is the extension of its files, with its dot."""

    ext: str = Field(max_length=MAX_LABEL)
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


class RegisterDatasetBody(Request):
    """Say that data is there; equal content at the same place again answers the same dataset.

    `checksum` is ``adler32:`` or ``sha256:`` with hexadecimal digits.
    """

    place: str = Field(min_length=1, max_length=4096)
    site: Label = "default"
    datatype: str = Field(default="", max_length=MAX_LABEL)
    size: Size | None = None
    checksum: str = Field(default="", max_length=MAX_LABEL)
    comment: str = Field(default="", max_length=4096)


class AdjustDatasetBody(Request):
    """Change what is said of a dataset; None leaves as it is. Size and checksum can be told where not known."""

    datatype: str | None = Field(default=None, max_length=MAX_LABEL)
    comment: str | None = Field(default=None, max_length=4096)
    size: Size | None = None
    checksum: str | None = Field(default=None, max_length=MAX_LABEL)


class DeleteDatasetBody(Request):
    """Delete a dataset; `force` also if jobs wait for it, which are skipped; `files` has a pilot delete its file."""

    force: bool = False
    files: bool = False


class DeleteDatasetReply(Reply):
    """What became of a dataset: `skipped` jobs waited for it; `files` says what becomes of its file."""

    uuid: str
    state: DatasetState
    skipped: int = 0
    files: str = ""
