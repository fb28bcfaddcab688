"""The calls that keep a server small."""

from __future__ import annotations

from p3s import wire
from p3s.client.base import BaseClient

__all__ = ["UpkeepCalls"]


class UpkeepCalls(BaseClient):
    """Purge."""

    def purge(self, body: wire.PurgeBody) -> wire.PurgeReply:
        """Archive or delete what is old enough, for some seconds, or count it; ask again while there is more."""
        # A repeat does what is left to do.
        return self._post("purge", body, wire.PurgeReply)
