"""Finished work out of the way: a row for each workflow, with its jobs in compressed parts."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_LABEL, MAX_NAME
from p3s.server.models.base import Clock, Ident, State, make_id, make_ref, make_table

#: Workflows that have been moved, or are being moved, out of the tables of work. `moved` counts the jobs that have;
#: `size` is the bytes of the parts. A key goes on being taken.
archive = make_table(
    "archive",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("name", sa.String(MAX_NAME), nullable=False),
    sa.Column("standalone", sa.Boolean, nullable=False),
    sa.Column("dag", sa.String(MAX_NAME)),
    sa.Column("version", sa.Integer),
    sa.Column("key", sa.String(MAX_NAME)),
    sa.Column("state", State, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("overrides", sa.JSON),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created", Clock, nullable=False),
    sa.Column("started", Clock),
    sa.Column("ended", Clock),
    sa.Column("deadline", Clock),
    sa.Column("jobs", sa.Integer, nullable=False),
    sa.Column("datasets", sa.Integer, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("archived", Clock, nullable=False),
    sa.Column("moved", sa.Integer, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("owner", "key"),
    sa.Index("ix_archive_archived", "archived"),
)

#: Jobs with all that belonged to them, as compressed JSON. Jobs move from the last to the first, so the last part has
#: the first jobs.
archive_part = make_table(
    "archive_part",
    make_ref("archive_id", "archive", primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

#: Where an archived job is.
archive_job = make_table(
    "archive_job",
    sa.Column("uuid", Ident, primary_key=True),
    make_ref("archive_id", "archive"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Index("ix_archive_job_archive_id", "archive_id"),
)

#: Where the datasets of an archived workflow are, and the attempts of its jobs.
archive_item = make_table(
    "archive_item",
    sa.Column("uuid", Ident, primary_key=True),
    sa.Column("noun", State, nullable=False),
    make_ref("archive_id", "archive"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Index("ix_archive_item_archive_id", "archive_id"),
)

#: Contents that results of archived workflows have.
archive_blob = make_table(
    "archive_blob",
    make_ref("archive_id", "archive", primary_key=True),
    sa.Column("digest", sa.String(64), sa.ForeignKey("blob.digest"), primary_key=True),
    sa.Index("ix_archive_blob_digest", "digest"),
)
