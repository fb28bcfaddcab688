"""The calls about tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s import wire
from p3s.client.base import BaseClient, join_path

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["TokenCalls"]


class TokenCalls(BaseClient):
    """Create, list, revoke and rotate."""

    def create_token(
        self,
        name: str,
        role: Literal["viewer", "submitter", "pilot", "admin"],
        *,
        expires: float | None = None,
        site: str | None = None,
    ) -> wire.NewTokenView:
        """Make a token that lives `expires` seconds, else for ever; the answer alone has its secret."""
        body = wire.CreateTokenBody(name=name, role=role, expires=expires, site=site)
        return self._post("tokens", body, wire.NewTokenView)

    def list_tokens(self) -> wire.TokenList:
        """Return all tokens, without their secrets."""
        return self._get("tokens", wire.TokenList)

    def revoke_token(self, name: str) -> wire.TokenView:
        """End a token now, with the pilots that it registered."""
        return self._post(join_path("tokens", name, "revoke"), None, wire.TokenView)

    def rotate_token(self, name: str, *, expires: float | None = None) -> wire.NewTokenView:
        """Give a token a new secret; the old one ends now."""
        body = wire.RotateTokenBody(expires=expires)
        return self._post(join_path("tokens", name, "rotate"), body, wire.NewTokenView)
