"""The route that purges."""

from __future__ import annotations

from p3s.engine.purging import OWNED
from p3s.errors import NotAllowed
from p3s.server.api.frame import caller, core, endpoint
from p3s.server.auth import Role
from p3s.server.usecases import purge as purging
from p3s.wire import PurgeBody, PurgeReply


@endpoint("POST", "/purge", takes=PurgeBody, gives=PurgeReply)
def purge(body: PurgeBody) -> PurgeReply:
    """Archive or delete what is old enough, for some seconds; or say what would go."""
    who = caller()
    owner = body.owner
    if who.role is not Role.ADMIN:
        others = sorted(set(body.what) - OWNED)
        if others:
            raise NotAllowed(f"{', '.join(others)}: only an admin may purge these; you may purge your own workflows")
        if owner not in {None, who.name}:
            raise NotAllowed(f"what belongs to {owner} is purged by {owner} or an admin")
        owner = who.name
    return purging.purge(core(), body, who.name, owner=owner)
