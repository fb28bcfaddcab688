"""What is kept whatever runs: facts of the database, tokens, keys of requests, files, DAGs, run times, events."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_LABEL, MAX_NAME
from p3s.server.models.base import BigId, Clock, Ident, State, make_id, make_ref, make_table

#: Facts about the database itself: the signing secret, the uuid.
meta = make_table(
    "meta", sa.Column("key", sa.String(40), primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

#: Who may call; only the hash of a token is kept.
token = make_table(
    "token",
    make_id(),
    sa.Column("name", sa.String(MAX_LABEL), nullable=False, unique=True),
    sa.Column("role", State, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("site", sa.String(MAX_LABEL)),
    sa.Column("created", Clock, nullable=False),
    sa.Column("expires", Clock),
    sa.Column("revoked", Clock),
    sa.Column("used", Clock),
)

#: Requests that came with a key of their own: a repeat is answered as the first was. Of the key only a hash is kept;
#: without a status, the change was committed and its answer was not kept yet.
repeat = make_table(
    "repeat",
    sa.Column("owner", sa.String(MAX_LABEL), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("begun", Clock, nullable=False, index=True),
    sa.Column("status", sa.Integer),
    sa.Column("answer", sa.Text, nullable=False, server_default=""),
)

#: Small files by content: bundles and results.
blob = make_table(
    "blob",
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("created", Clock, nullable=False),
)

#: Numbers in blobs that are JSON, by their place in the document: what can be plotted.
blob_number = make_table(
    "blob_number",
    sa.Column("digest", sa.String(64), sa.ForeignKey("blob.digest", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
)

#: Small files that travel together, by content.
bundle = make_table("bundle", make_id(), sa.Column("digest", sa.String(64), nullable=False, unique=True))

#: The files of a bundle, unpacked into every sandbox.
bundle_file = make_table(
    "bundle_file",
    make_ref("bundle_id", "bundle", primary_key=True),
    sa.Column("path", sa.String(1024), primary_key=True),
    sa.Column("digest", sa.String(64), sa.ForeignKey("blob.digest"), nullable=False),
    sa.Column("executable", sa.Boolean, nullable=False),
    sa.Index("ix_bundle_file_digest", "digest"),
)

#: Templates: changed text or files make a new version.
dag = make_table(
    "dag",
    make_id(),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("name", sa.String(MAX_NAME), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("bundle_id", BigId, sa.ForeignKey("bundle.id")),
    sa.Column("created", Clock, nullable=False),
    sa.UniqueConstraint("owner", "name", "version"),
    sa.UniqueConstraint("owner", "name", "digest"),
)

#: How long the jobs of a DAG took: the newest samples, for expected times.
runtime = make_table(
    "runtime",
    sa.Column("owner", sa.String(MAX_LABEL), primary_key=True),
    sa.Column("dag", sa.String(MAX_NAME), primary_key=True),
    sa.Column("family", sa.String(MAX_NAME), primary_key=True),
    sa.Column("samples", sa.JSON, nullable=False),
)

#: Every change of state, what was refused, and what people report: append only. `tx` numbers the transaction where
#: several may write at once (PostgreSQL), so that a reader who follows misses none that commits late.
event = make_table(
    "event",
    make_id(),
    sa.Column("at", Clock, nullable=False),
    sa.Column("noun", State, nullable=False),
    sa.Column("uuid", Ident, nullable=False),
    sa.Column("signal", State, nullable=False),
    sa.Column("before", State, nullable=False, server_default=""),
    sa.Column("after", State, nullable=False, server_default=""),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Column("tx", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_event_uuid_id", "uuid", "id"),
    sa.Index("ix_event_tx_id", "tx", "id"),
)
