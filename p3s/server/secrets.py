"""Tokens: made, hashed, derived and compared."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets

__all__ = ["derive_attempt_token", "derive_token", "fits_attempt", "hash_token", "make_token"]


def make_token() -> str:
    """Return a new random token of 256 bits; the prefix lets scanners of leaked secrets find it."""
    return _write(secrets.token_bytes(32))


def hash_token(token: str) -> str:
    """Return what is kept of a token. It has full entropy, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def derive_token(secret: str, caller: str, key: str, digest: str) -> str:
    """Return the token that a request with a key of its own makes, the same for each repeat.

    It follows from the server's secret, the caller's own token and the key together: the database, which has the first
    and hashes of the others, does not tell it, and neither does a caller's old token by itself.

    Parameters
    ----------
    secret : str
        The server's.
    caller : str
        The token or secret that the request was sent with.
    key, digest : str
        The request's key, and the hash of what it asks for.
    """
    text = json.dumps([caller, key, digest]).encode()
    return _write(hmac.new(secret.encode(), b"token:" + text, hashlib.sha256).digest())


def _write(data: bytes) -> str:
    return "p3s_" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def derive_attempt_token(secret: str, attempt: str) -> str:
    """Return the secret token of an attempt.

    It is derived from the server's secret, not stored, so that a repeated claim is answered with the same token
    and the database holds none.
    """
    return hmac.new(secret.encode(), b"attempt:" + attempt.encode(), hashlib.sha256).hexdigest()


def fits_attempt(secret: str, attempt: str, token: str) -> bool:
    """Return whether `token` is that of the attempt, in constant time."""
    return hmac.compare_digest(derive_attempt_token(secret, attempt).encode(), token.encode())
