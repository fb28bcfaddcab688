"""Define and forget sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.errors import BadInput, NotFound, Problem
from p3s.server.db import insert_missing
from p3s.server.models import site
from p3s.settings import normalise_url

if TYPE_CHECKING:
    from p3s.engine.sites import SiteSpec
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = ["define_site", "delete_site"]


def define_site(core: Core, spec: SiteSpec, by: str) -> None:
    """Define a site, or define it anew; pilots that run keep what they were told.

    Raises
    ------
    BadInput
        If its server is no address.
    """
    if spec.server:
        try:
            normalise_url(spec.server)
        except BadInput as error:
            raise BadInput([Problem(error.problems[0].message, where="server")]) from error
    values = spec.model_dump()

    def action(ledger: Ledger) -> None:
        fresh = values | {"changed": ledger.now}
        insert_missing(ledger.connection, site, [fresh])
        ledger.connection.execute(sa.update(site).where(site.c.name == spec.name).values(fresh))
        ledger.note("site", spec.name[:36], "define", cause=f"{spec.name}: {by}")

    core.change(by, action)


def delete_site(core: Core, name: str, by: str) -> None:
    """Forget what was defined of a site; its pilots run on.

    Raises
    ------
    NotFound
        If nothing was.
    """

    def action(ledger: Ledger) -> None:
        if not ledger.connection.execute(sa.delete(site).where(site.c.name == name)).rowcount:
            raise NotFound("site", name)
        ledger.note("site", name[:36], "delete", cause=f"{name}: {by}")

    core.change(by, action)
