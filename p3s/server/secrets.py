"""Tokens: made, hashed, derived and compared."""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["derive_attempt_token", "fits_attempt", "hash_token", "make_token"]


def make_token() -> str:
    """Return a new random token of 256 bits; the prefix lets scanners of leaked secrets find it."""
    return "p3s_" + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return what is kept of a token. It has full entropy, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def derive_attempt_token(secret: str, attempt: str) -> str:
    """Return the secret token of an attempt.

    It is derived from the server's secret, not stored, so that a repeated claim is answered with the same token
    and the database holds none.
    """
    return hmac.new(secret.encode(), b"attempt:" + attempt.encode(), hashlib.sha256).hexdigest()


def fits_attempt(secret: str, attempt: str, token: str) -> bool:
    """Return whether `token` is that of the attempt, in constant time."""
    return hmac.compare_digest(derive_attempt_token(secret, attempt).encode(), token.encode())
