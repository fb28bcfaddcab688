"""What Alembic runs: migrations inside the connection that p3s hands over."""

from __future__ import annotations

from alembic import context

from p3s.server.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
# The transaction belongs to the caller.
context.run_migrations()
