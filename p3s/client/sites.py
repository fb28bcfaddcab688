"""The calls about sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s import wire
from p3s.client.base import BaseClient, join_path

if TYPE_CHECKING:
    from p3s.engine.sites import SiteSpec

__all__ = ["SiteCalls"]


class SiteCalls(BaseClient):
    """Define, list, show and delete."""

    def define_site(self, spec: SiteSpec) -> wire.SiteView:
        """Define a site, or define it anew."""
        return self._post("sites", spec, wire.SiteView)

    def list_sites(self) -> wire.SiteList:
        """Return all sites, also those that only live pilots name."""
        return self._get("sites", wire.SiteList)

    def show_site(self, name: str) -> wire.SiteView:
        """Return one site."""
        return self._get(join_path("sites", name), wire.SiteView)

    def delete_site(self, name: str) -> None:
        """Forget what was defined of a site."""
        self._delete(join_path("sites", name))
