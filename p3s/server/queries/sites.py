"""Sites as people and pilots see them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from p3s.server.models import pilot, site
from p3s.server.queries.pilots import LIVE
from p3s.wire import SiteList, SiteView

__all__ = ["count_live", "list_sites", "view_site"]


def count_live(connection: sa.Connection) -> dict[str, int]:
    """Return how many pilots of each site are here now."""
    rows = connection.execute(
        sa.select(pilot.c.site, sa.func.count().label("number")).where(pilot.c.state.in_(LIVE)).group_by(pilot.c.site)
    )
    return {row.site: row.number for row in rows}


def list_sites(connection: sa.Connection) -> SiteList:
    """Return all sites by name, also those that live pilots name and nobody has defined."""
    live = count_live(connection)
    defined = {row.name: row for row in connection.execute(sa.select(site))}
    return SiteList(
        items=[_view(name, defined.get(name), live.get(name, 0)) for name in sorted(defined.keys() | live.keys())]
    )


def view_site(connection: sa.Connection, name: str) -> SiteView | None:
    """Return a site, None if it is neither defined nor named by a live pilot."""
    row = connection.execute(sa.select(site).where(site.c.name == name)).one_or_none()
    live = count_live(connection).get(name, 0)
    return None if row is None and not live else _view(name, row, live)


def _view(name: str, row: Any, live: int) -> SiteView:
    values = {} if row is None else {column.name: getattr(row, column.name) for column in site.c}
    return SiteView.model_validate(values | {"name": name, "defined": row is not None, "live": live})
