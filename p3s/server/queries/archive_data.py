"""Data of archived workflows: their places, and the contents of results."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.places import normalise_place
from p3s.engine.states import DatasetState
from p3s.server.models import archive_blob, blob
from p3s.server.queries.archive import find_archived, iterate_parts, read_part
from p3s.wire import DatasetList, DatasetView, ResultList, ResultView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p3s.errors import Archived

__all__ = ["find_archived_content", "list_archived_data", "list_archived_results", "show_archived_results"]


def list_archived_data(
    connection: sa.Connection, it: Archived, *, filters: dict[str, str | None], limit: int, cursor: str | None
) -> DatasetList:
    """Return a page of the data of an archived workflow, and of what its jobs read from elsewhere.

    `filters` are fields and the values they must have; a place may be written in any way. The cursor counts them.
    """
    wanted = {name: normalise_place(value) if name == "place" else value for name, value in filters.items() if value}
    known: dict[str, dict[str, Any]] = {}
    # The last parts have the first jobs.
    for found in reversed([part["datasets"] for part in iterate_parts(connection, it.row)]):
        known |= {uuid: view for uuid, view in found.items() if uuid not in known}
    views = [DatasetView.model_validate(view) for view in reversed(known.values())]
    fitting = [view for view in views if all(getattr(view, name) == value for name, value in wanted.items())]
    begin = int(cursor or 0)
    more = str(begin + limit) if len(fitting) > begin + limit else None
    return DatasetList(items=fitting[begin : begin + limit], next=more)


def list_archived_results(connection: sa.Connection, it: Archived) -> ResultList:
    """Return the files that ``results`` of an archived workflow named."""
    return ResultList(
        items=[
            ResultView(key=view["key"], job=job, place=view["place"], size=view["size"] or 0, digest=digest)
            for job, view, digest in _iterate_results(connection, it)
        ]
    )


def show_archived_results(connection: sa.Connection, it: Archived) -> list[dict[str, Any]]:
    """Return them with the ids of their datasets, by which `find_archived_content` finds what is in them."""
    return [
        {"dataset": view["uuid"], "key": view["key"], "job": job, "place": view["place"]}
        | {"size": view["size"] or 0, "digest": digest, "workflow": it.uuid}
        for job, view, digest in _iterate_results(connection, it)
    ]


def find_archived_content(connection: sa.Connection, uuid: str) -> tuple[str, bytes] | None:
    """Return the place and the content of a result of an archived workflow, None if the server does not keep it."""
    it = find_archived(connection, "dataset", uuid)
    if it is None:
        return None
    # Its id leads to the part of its last reader; which content it has stands with its maker.
    for part in chain([read_part(connection, it)], iterate_parts(connection, it.row)):
        if it.uuid in part["results"]:
            data = connection.scalar(
                sa.select(blob.c.data)
                .join(archive_blob, archive_blob.c.digest == blob.c.digest)
                .where(archive_blob.c.archive_id == it.row, blob.c.digest == part["results"][it.uuid])
            )
            return None if data is None else (part["datasets"][it.uuid]["place"], bytes(data))
    return None


def _iterate_results(connection: sa.Connection, it: Archived) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Yield the results of a workflow: their jobs, what is known of the data, and the digests of their contents."""
    for part in iterate_parts(connection, it.row):
        for entry in part["jobs"]:
            for uuid in entry["outputs"]:
                view = part["datasets"][uuid]
                if uuid in part["results"] and view["state"] == DatasetState.AVAILABLE:
                    yield entry["name"], {"size": None} | view, part["results"][uuid]
