"""Routes of datasets."""

from __future__ import annotations

from typing import Any

from p3s.errors import Archived
from p3s.server.api.frame import caller, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.auth import Role, require_owner
from p3s.server.queries.archive import show_archived_dataset
from p3s.server.queries.archive_data import list_archived_data
from p3s.server.queries.datasets import find_owner
from p3s.server.queries.datasets import list_datasets as query_datasets
from p3s.server.queries.datasets import show_dataset as query_dataset
from p3s.server.queries.find import find_row
from p3s.server.usecases import datasets
from p3s.wire import (
    AdjustDatasetBody,
    DatasetList,
    DatasetView,
    DeleteDatasetBody,
    DeleteDatasetReply,
    RegisterDatasetBody,
)


@endpoint("GET", "/datasets", gives=DatasetList)
def list_datasets() -> DatasetList:
    """List datasets, newest first."""
    parent = read_text("workflow")
    wanted = {"state": read_text("state"), "datatype": read_text("type"), "place": read_text("place")}
    with core().db.read() as connection:
        try:
            ident = find_row(connection, "workflow", parent, owner=caller().name).id if parent else None
        except Archived as it:
            return list_archived_data(connection, it, filters=wanted, limit=read_limit(), cursor=read_cursor())
        return query_datasets(connection, workflow_id=ident, filters=wanted, limit=read_limit(), cursor=read_cursor())


@endpoint("GET", "/datasets/<path:ident>", gives=DatasetView)
def show_dataset(ident: str) -> DatasetView:
    """Show a dataset with the jobs that read it."""
    with core().db.read() as connection:
        try:
            row = find_row(connection, "dataset", ident, owner=caller().name)
        except Archived as it:
            return show_archived_dataset(connection, it)
        return query_dataset(connection, row.id)


@endpoint("POST", "/datasets", takes=RegisterDatasetBody, gives=DatasetView, status=201)
def register_dataset(body: RegisterDatasetBody) -> DatasetView:
    """Say that external data is there; equal content at the same place answers the same dataset."""
    ident = datasets.register_dataset(core(), body, caller().name)
    with core().db.read() as connection:
        return query_dataset(connection, ident)


@endpoint("POST", "/datasets/<path:ident>/adjust", takes=AdjustDatasetBody, gives=DatasetView)
def adjust_dataset(ident: str, body: AdjustDatasetBody) -> DatasetView:
    """Change what is said of a dataset."""
    row = _find(ident)
    datasets.adjust_dataset(core(), row, body, caller().name)
    with core().db.read() as connection:
        return query_dataset(connection, row.id)


@endpoint("POST", "/datasets/<path:ident>/delete", takes=DeleteDatasetBody, gives=DeleteDatasetReply)
def delete_dataset(ident: str, body: DeleteDatasetBody) -> DeleteDatasetReply:
    """Delete a dataset that nobody needs, or by force one that jobs wait for."""
    who = caller()
    return datasets.delete(
        core(), _find(ident), who.name, force=body.force, admin=who.role is Role.ADMIN, files=body.files
    )


def _find(ident: str) -> Any:
    """Return a dataset's row; what a job made may be changed by the owner of its workflow, or an admin."""
    with core().db.read() as connection:
        row = find_row(connection, "dataset", ident, owner=caller().name)
        owner = find_owner(connection, row)
    if owner is not None:
        require_owner(caller(), owner, f"dataset {row.key}")
    return row
