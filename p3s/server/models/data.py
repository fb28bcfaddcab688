"""Data that arrives, the programs that watch for it, and what is known of places where data lies."""

from __future__ import annotations

import sqlalchemy as sa

from p3s.engine.names import MAX_HOST, MAX_LABEL
from p3s.server.models.base import BigId, Clock, Ident, State, make_id, make_ref, make_table

#: Programs beside the server that say that they live. `last` is the file that an injector saw last.
service = make_table(
    "service",
    make_id(),
    sa.Column("name", sa.String(MAX_LABEL), nullable=False, unique=True),
    sa.Column("kind", sa.String(MAX_LABEL), nullable=False),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("instance", Ident, nullable=False, server_default=""),
    sa.Column("host", sa.String(MAX_HOST), nullable=False, server_default=""),
    sa.Column("pid", sa.Integer, nullable=False, server_default="0"),
    sa.Column("period", sa.Double, nullable=False, server_default="60"),
    sa.Column("seen", Clock, nullable=False),
    sa.Column("stopped", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("last", sa.Text, nullable=False, server_default=""),
    sa.Column("last_at", Clock),
)

#: Files that injectors have seen, each with its one fate. A file whose content is not known yet has an empty
#: `identity`; one that was rewritten has a row for each content. `workflow` outlives the workflow's own row.
arrival = make_table(
    "arrival",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    make_ref("service_id", "service"),
    sa.Column("rule", sa.String(MAX_LABEL), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("stamp", sa.String(MAX_LABEL), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("identity", sa.String(80), nullable=False),
    sa.Column("fate", State, nullable=False),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("workflow", Ident),
    sa.Column("arrived", Clock, nullable=False),
    sa.Column("decided", Clock, nullable=False),
    sa.UniqueConstraint("service_id", "rule", "place", "identity"),
    sa.Index("ix_arrival_place", "place"),
    sa.Index("ix_arrival_identity", "service_id", "rule", "identity"),
    sa.Index("ix_arrival_service_id_fate_id", "service_id", "fate", "id"),
)

#: Kinds of data: the extension, with its dot, names files that a DAG leaves unnamed.
datatype = make_table(
    "datatype",
    make_id(),
    sa.Column("name", sa.String(MAX_LABEL), nullable=False, unique=True),
    sa.Column("ext", sa.String(MAX_LABEL), nullable=False),
    sa.Column("comment", sa.Text, nullable=False, server_default=""),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("created", Clock, nullable=False),
)

#: Files of deleted datasets that pilots are to delete. `fence` names the workflow, job and attempt that made one, and
#: stands in its place; `published` is the name that also shows it. `pilot_id` has the order until `due`, when
#: it goes to a pilot again; `done` is when one said that it is gone, `message` what the last try met. Rows outlive the
#: dataset's own.
removal = make_table(
    "removal",
    make_id(),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("dataset", Ident, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("fence", sa.Text, nullable=False),
    sa.Column("published", sa.Text, nullable=False, server_default=""),
    sa.Column("site", sa.String(MAX_LABEL), nullable=False),
    sa.Column("owner", sa.String(MAX_LABEL), nullable=False),
    sa.Column("created", Clock, nullable=False),
    sa.Column("pilot_id", BigId, sa.ForeignKey("pilot.id", ondelete="SET NULL")),
    sa.Column("due", Clock, nullable=False, server_default="0"),
    sa.Column("done", Clock),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_removal_dataset", "dataset"),
)
_UNDONE = removal.c.done.is_(None)
sa.Index("ix_removal_open", removal.c.pilot_id, removal.c.due, sqlite_where=_UNDONE, postgresql_where=_UNDONE)

#: Published names, each of the workflow that took it last; while that one is live, no other may.
publication = make_table(
    "publication",
    make_id(),
    sa.Column("site", sa.String(MAX_LABEL), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    make_ref("workflow_id", "workflow"),
    sa.UniqueConstraint("site", "place"),
    sa.Index("ix_publication_workflow_id", "workflow_id"),
)
