"""Routes of stored DAGs."""

from __future__ import annotations

import re

from flask import request

from p3s.errors import BadInput, Problem
from p3s.server.api.frame import caller, core, endpoint, read_cursor, read_limit, read_text
from p3s.server.auth import require_owner
from p3s.server.queries.dags import find_dag, read_bundle
from p3s.server.queries.dags import list_dags as query_dags
from p3s.server.queries.dags import show_dag as query_dag
from p3s.server.queries.numbers import list_numbers as query_numbers
from p3s.server.usecases import acts
from p3s.wire import BundleList, DagList, DagView, NumberList


def _read_version() -> int | None:
    text = request.args.get("version")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadInput([Problem(f"'{text}' is no version; a version is a number from 1", where="version")])
    return int(text)


@endpoint("GET", "/dags", gives=DagList)
def list_dags() -> DagList:
    """List the newest version of each DAG."""
    cursor = read_text("cursor")
    if cursor is not None and not re.fullmatch(r".*:[0-9]{1,18}|[0-9]{1,18}", cursor, re.DOTALL):
        raise BadInput([Problem(f"'{cursor}' is no cursor of this list", where="cursor")])
    with core().db.read() as connection:
        return query_dags(
            connection, name=read_text("name"), owner=read_text("owner"), limit=read_limit(), cursor=cursor
        )


@endpoint("GET", "/dags/<name>", gives=DagView)
def show_dag(name: str) -> DagView:
    """Show a DAG with its text."""
    with core().db.read() as connection:
        owner = read_text("owner") or caller().name
        return query_dag(connection, find_dag(connection, name, version=_read_version(), owner=owner))


@endpoint("GET", "/dags/<name>/bundle", gives=BundleList)
def show_bundle(name: str) -> BundleList:
    """Return the files that travel with a DAG."""
    with core().db.read() as connection:
        owner = read_text("owner") or caller().name
        row = find_dag(connection, name, version=_read_version(), owner=owner)
        return BundleList(items=read_bundle(connection, row.bundle_id))


@endpoint("GET", "/dags/<name>/numbers", gives=NumberList)
def list_numbers(name: str) -> NumberList:
    """List the numbers in the JSON results of a DAG's workflows, newest first."""
    with core().db.read() as connection:
        find_dag(connection, name, version=None, owner=read_text("owner") or caller().name)
        return query_numbers(
            connection,
            name=name,
            owner=read_text("owner"),
            key=read_text("key"),
            limit=read_limit(),
            cursor=read_cursor(),
        )


@endpoint("DELETE", "/dags/<name>")
def delete_dag(name: str) -> None:
    """Delete one version of a DAG, or all of them."""
    version = _read_version()
    with core().db.read() as connection:
        row = find_dag(connection, name, version=version, owner=read_text("owner") or caller().name)
    require_owner(caller(), row.owner, f"DAG {name}")
    acts.delete_dag(core(), row, caller().name, whole=version is None)
