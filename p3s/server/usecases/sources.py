"""Where the text of a workflow and the files that travel with it come from, and where they are kept."""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.errors import BadInput, Problem
from p3s.server.db import insert_missing, lock_name
from p3s.server.models import blob, bundle, bundle_file, dag
from p3s.server.prepared import Prepared, param
from p3s.server.queries.dags import find_dag, list_bundle
from p3s.server.queries.datatypes import read_extensions
from p3s.server.usecases.expansion import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger
    from p3s.wire import BundleFile, LoadBody

__all__ = ["check_bundle", "read_source", "store_bundle", "store_dag"]


_DIGEST = Prepared(sa.select(bundle.c.digest).where(bundle.c.id == param("bundle", sa.BigInteger)))
_MINE = (dag.c.owner == param("owner", sa.Text()), dag.c.name == param("name", sa.Text()))
_NEWEST = Prepared(sa.select(sa.func.max(dag.c.version).label("version")).where(*_MINE))
_SAME = Prepared(sa.select(dag.c.id).where(*_MINE, dag.c.digest == param("digest", sa.Text())))


def read_source(connection: sa.Connection, body: LoadBody, owner: str, limit: int) -> Source:
    """Return the text that a request has or names, with what goes with it.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Where it is read.
    body : LoadBody
        The request.
    owner : str
        Who sent it.
    limit : int
        Bytes that its bundle may have.

    Raises
    ------
    BadInput
        If the bundle is too large or its paths are no plain ones.
    NotFound
        If there is no DAG of that name.
    """
    if body.dag is None:
        check_bundle(body.bundle, limit)
        files = tuple(entry.path for entry in body.bundle)
        return Source(body.text or "", body.file, files, read_extensions(connection))
    row = find_dag(connection, body.dag, version=body.version, owner=owner)
    files = tuple(list_bundle(connection, row.bundle_id))
    return Source(row.text, row.file, files, read_extensions(connection), row.id, row.bundle_id)


def check_bundle(bundle: Sequence[BundleFile], limit: int) -> None:
    """Check the files that travel with a workflow or a job.

    Raises
    ------
    BadInput
        With every problem of their paths and their size.
    """
    problems = []
    seen: set[str] = set()
    for entry in bundle:
        path = entry.path
        if path.startswith(("/", "..")) or posixpath.normpath(path) != path or "\0" in path:
            problems.append(Problem(f"bundle path '{path}' is not a plain relative path", where="bundle"))
        if path in seen:
            problems.append(Problem(f"bundle path '{path}' is given twice", where="bundle"))
        seen.add(path)
    total = sum(len(entry.data) for entry in bundle)
    if total > limit:
        problems.append(
            Problem(
                f"the bundle has {total} bytes, the limit is {limit}: name large files as datasets",
                where="bundle",
            )
        )
    if problems:
        raise BadInput(problems)


def store_bundle(ledger: Ledger, files: Sequence[BundleFile]) -> int | None:
    """Find or make the bundle with these files; None for no file."""
    if not files:
        return None
    digests = {entry.path: hashlib.sha256(entry.data).hexdigest() for entry in files}
    whole = hashlib.sha256()
    for entry in sorted(files, key=lambda item: item.path):
        whole.update(f"{entry.path}\0{digests[entry.path]}\0{entry.executable}\0".encode())
    find = sa.select(bundle.c.id).where(bundle.c.digest == whole.hexdigest())
    found = ledger.connection.scalar(find)
    if found is not None:
        return int(found)
    contents = {digests[entry.path]: entry.data for entry in files}
    rows = [
        {"digest": digest, "size": len(data), "data": data, "created": ledger.now}
        for digest, data in sorted(contents.items())
    ]
    insert_missing(ledger.connection, blob, rows)
    insert_missing(ledger.connection, bundle, [{"digest": whole.hexdigest()}])
    ident = int(ledger.connection.scalar(find) or 0)
    insert_missing(
        ledger.connection,
        bundle_file,
        [
            {
                "bundle_id": ident,
                "path": entry.path,
                "digest": digests[entry.path],
                "executable": entry.executable,
            }
            for entry in files
        ],
    )
    return ident


def store_dag(ledger: Ledger, owner: str, name: str, text: str, body: LoadBody, bundle_id: int | None) -> int:
    """Find or make the version of a DAG with this text and these files."""
    connection = ledger.connection
    files = "" if bundle_id is None else _DIGEST.run(connection, bundle=bundle_id)[0].digest
    digest = hashlib.sha256(f"{text}\0{files}".encode()).hexdigest()
    # Its name is held, so that two loads make neither one version number nor one version twice.
    lock_name(connection, f"dag {owner}/{name}")
    newest = _NEWEST.send(connection, owner=owner, name=name)
    for row in _SAME.run(connection, owner=owner, name=name, digest=digest):
        return int(row.id)
    values = {
        "owner": owner,
        "name": name,
        "version": (newest.rows()[0].version or 0) + 1,
        "digest": digest,
        "text": text,
        "file": body.file,
        "base": body.base,
        "bundle_id": bundle_id,
        "created": ledger.now,
    }
    return int(connection.scalar(sa.insert(dag).values(values).returning(dag.c.id)) or 0)
