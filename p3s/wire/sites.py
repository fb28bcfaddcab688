"""Bodies of sites."""

from __future__ import annotations

from p3s.engine.sites import SiteSpec
from p3s.wire.base import Reply

__all__ = ["SiteBody", "SiteList", "SiteView"]


class SiteBody(SiteSpec):
    """Define a site, or define it anew; what is absent is left to each pilot."""


class SiteView(Reply):
    """A site; what is None was not defined and is left to each pilot. `live` counts the pilots that are here now.

    `defined` is False for a site that pilots name and nobody has defined.
    """

    name: str
    defined: bool = True
    server: str = ""
    env: dict[str, str] = {}
    pilots: int | None = None
    pilotcycles: int | None = None
    pilotperiod: float | None = None
    pilotbeat: float | None = None
    pilotlife: float | None = None
    data: str = ""
    batch: str = ""
    live: int = 0
    changed: float | None = None


class SiteList(Reply):
    """All sites by name, also those that only live pilots name."""

    items: list[SiteView]
