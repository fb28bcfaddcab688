"""What a site's definition says to a pilot that starts."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from p3s.errors import BadInput, NotFound, Unavailable, Unreachable
from p3s.pilot.options import choose_data
from p3s.settings import normalise_url, read_client_settings

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from p3s.client import Client
    from p3s.pilot.options import PilotOptions
    from p3s.wire import SiteView

__all__ = ["OPEN_FIELDS", "apply_site", "fetch_site"]

#: Fields of `PilotOptions` that a site may fill, with the site's word for each.
OPEN_FIELDS = {
    "url": "server",
    "environ": "env",
    "cycles": "pilotcycles",
    "period": "pilotperiod",
    "beat": "pilotbeat",
    "lifetime": "pilotlife",
    "data": "data",
}
#: Seconds before the first further try to ask the server, and the longest such pause.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0

log = logging.getLogger("p3s.pilot")


def fetch_site(client: Client, name: str, limit: float) -> SiteView | None:
    """Ask the server for a site; None if nobody has defined it.

    Parameters
    ----------
    client : Client
        The server, with the pilot token.
    name : str
        The site. A token that is bound to one answers for it when asked for ``default``.
    limit : float
        Seconds for which to try to reach the server.

    Raises
    ------
    P3sError
        If the server cannot be reached, or refuses.
    """
    end = time.monotonic() + limit
    pause = FIRST_PAUSE
    while True:
        try:
            found = client.show_site(name)
        except NotFound:
            return None
        except (Unreachable, Unavailable) as error:
            if time.monotonic() + pause > end:
                raise
            log.info("%s; asking again", error)
        else:
            return found if found.defined else None
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - a jitter, not a secret
        pause = min(LONGEST_PAUSE, pause * 2)


def apply_site(options: PilotOptions, site: SiteView, fields: AbstractSet[str]) -> PilotOptions:
    """Return options whose open fields have the site's values.

    Parameters
    ----------
    options : PilotOptions
        As they are without the site.
    site : SiteView
        Its definition.
    fields : set of str
        The fields that the site may fill: nobody has chosen them for this pilot.

    Raises
    ------
    BadInput
        If the site sends a pilot that speaks TLS to an address without it.
    """
    values: dict[str, Any] = {"site": site.name}
    said = []
    for field, word in OPEN_FIELDS.items():
        value = getattr(site, word)
        if value in {None, ""} if not isinstance(value, dict) else not value:
            continue
        if field not in fields:
            said.append(f"{word} (this pilot's option wins)")
            continue
        said.append(f"{word} {', '.join(sorted(value)) if isinstance(value, dict) else value}")
        if field == "url":
            values |= _choose_server(options.url, value)
        elif field == "lifetime":
            values["lifetime"] = value or None
        elif field == "data":
            values |= choose_data(value)
        else:
            values[field] = value
    log.info("site %s says: %s", site.name, "; ".join(said) or "nothing")
    return replace(options, **values)


def _choose_server(given: str, named: str) -> dict[str, Any]:
    """Return the address that the site names with the token that belongs there."""
    url = normalise_url(named)
    if given.startswith("https:") and not url.startswith("https:"):
        raise BadInput(
            [f"the site sends its pilots from {given} to {url}, where tokens can be read on the way; use https there"]
        )
    settings = read_client_settings(url, role="pilot")
    return {"url": settings.url, "token": settings.token}
