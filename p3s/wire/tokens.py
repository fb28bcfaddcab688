"""Bodies about tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from p3s.wire.base import Reply, Request

#: Ten years, in seconds: the longest life that a token can be given.
LONGEST_LIFE = 10 * 366 * 86_400.0


class CreateTokenBody(Request):
    """Make a token; `expires` is its life in seconds, `site` binds a pilot token to one site."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")
    role: Literal["viewer", "submitter", "pilot", "admin"]
    expires: float | None = Field(default=None, gt=0, le=LONGEST_LIFE)
    site: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")


class RotateTokenBody(Request):
    """Give a token a new secret; `expires` is the new life in seconds, None keeps the old end."""

    expires: float | None = Field(default=None, gt=0, le=LONGEST_LIFE)


class TokenView(Reply):
    """A token as admins see it, without its secret."""

    name: str
    role: str
    site: str | None
    state: Literal["valid", "expired", "revoked"]
    created: float
    expires: float | None
    revoked: float | None
    used: float | None


class NewTokenView(TokenView):
    """A token that was just made: the only answer that ever shows the secret."""

    secret: str


class TokenList(Reply):
    """All tokens, by name."""

    items: list[TokenView]
