"""Routes of datasets."""

from __future__ import annotations

from p3s.server.api.frame import caller, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.queries.datasets import list_datasets as query_datasets
from p3s.server.queries.datasets import show_dataset as query_dataset
from p3s.server.queries.find import find_row
from p3s.server.usecases import acts
from p3s.wire import DatasetList, DatasetView, RegisterDatasetBody


@endpoint("GET", "/datasets", gives=DatasetList)
def list_datasets() -> DatasetList:
    """List datasets, newest first."""
    parent = read_text("workflow")
    with core().db.read() as connection:
        ident = find_row(connection, "workflow", parent, owner=caller().name).id if parent else None
        return query_datasets(
            connection, workflow_id=ident, state=read_text("state"), limit=read_limit(), cursor=read_cursor()
        )


@endpoint("GET", "/datasets/<path:ident>", gives=DatasetView)
def show_dataset(ident: str) -> DatasetView:
    """Show a dataset with the jobs that read it."""
    with core().db.read() as connection:
        return query_dataset(connection, find_row(connection, "dataset", ident, owner=caller().name).id)


@endpoint("POST", "/datasets", takes=RegisterDatasetBody, gives=DatasetView, status=201)
def register_dataset(body: RegisterDatasetBody) -> DatasetView:
    """Say that external data is there; the same place again answers the same dataset."""
    ident = acts.register_dataset(core(), body, caller().name)
    with core().db.read() as connection:
        return query_dataset(connection, ident)
