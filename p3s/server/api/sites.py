"""Routes of sites."""

from __future__ import annotations

from p3s.errors import NotAllowed, NotFound
from p3s.server.api.frame import caller, core, endpoint
from p3s.server.auth import Role
from p3s.server.queries.sites import list_sites as query_sites
from p3s.server.queries.sites import view_site
from p3s.server.usecases import sites
from p3s.wire import SiteBody, SiteList, SiteView


def _view(name: str) -> SiteView:
    with core().db.read() as connection:
        found = view_site(connection, name)
    if found is None:
        raise NotFound("site", name, "`p3s site define` defines one, `p3s site list` shows those there are")
    return found


@endpoint("GET", "/sites", gives=SiteList)
def list_sites() -> SiteList:
    """List sites, also those that only live pilots name."""
    with core().db.read() as connection:
        return query_sites(connection)


@endpoint("GET", "/sites/<name>", gives=SiteView)
def show_site(name: str) -> SiteView:
    """Show a site; to a pilot token that is bound to one, its own, which `default` stands for."""
    bound = caller().site
    if caller().role is Role.PILOT and bound is not None:
        if name not in {bound, "default"}:
            raise NotAllowed(f"this token is for pilots of site {bound}, not of {name}")
        name = bound
    return _view(name)


@endpoint("POST", "/sites", takes=SiteBody, gives=SiteView)
def define_site(body: SiteBody) -> SiteView:
    """Define a site, or define it anew."""
    sites.define_site(core(), body, caller().name)
    return _view(body.name)


@endpoint("DELETE", "/sites/<name>")
def delete_site(name: str) -> None:
    """Forget what was defined of a site; its pilots run on."""
    sites.delete_site(core(), name, caller().name)
