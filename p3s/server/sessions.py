"""Who sits before a browser: the session that a token opens, and the mark that every form carries."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from flask import request, session
from flask.sessions import SecureCookieSessionInterface

from p3s.errors import NotAllowed, NoToken
from p3s.server.auth import NEEDS, Role, Who, authenticate, find_who
from p3s.server.secrets import hash_token

if TYPE_CHECKING:
    from flask import Flask, Request
    from flask.sessions import SecureCookieSession

    from p3s.server.usecases.core import Core

__all__ = ["Sessions", "check_mark", "close_session", "find_visitor", "make_mark", "open_session"]


class Sessions(SecureCookieSessionInterface):
    """Flask's own sessions, but for requests without a cookie, which programs send, nothing is unpacked or verified."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session of a request, a new one if it has none."""
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        return super().open_session(app, request)


def open_session(core: Core, secret: str) -> None:
    """Open a session for a token that may read.

    Raises
    ------
    NoToken
        If it is nobody's, expired or revoked.
    NotAllowed
        If its role reads nothing.
    """
    who = authenticate(core, secret)
    if who.role not in NEEDS["monitor.overview"]:
        raise NotAllowed(f"a {who.role} token cannot read; use another")
    session.clear()
    session.permanent = True
    # The cookie is signed, not secret: it holds the hash.
    session["who"] = hash_token(secret)


def close_session() -> None:
    """Forget who sits there."""
    session.clear()


def find_visitor(core: Core) -> Who:
    """Return who sits before the browser, as the token says now: a revoked one ends the session at once.

    Raises
    ------
    NoToken
        If no session is open and reading needs one.
    """
    digest = session.get("who")
    if digest:
        try:
            return find_who(core, digest)
        except NoToken:
            session.clear()
            raise
    if core.settings.open_reading:
        return Who("anyone", Role.VIEWER)
    raise NoToken("this page needs a token")


def make_mark() -> str:
    """Return the mark of this session, which every form sends as its field ``mark``."""
    if "mark" not in session:
        session.permanent = True
        session["mark"] = secrets.token_urlsafe(16)
    return str(session["mark"])


def check_mark() -> None:
    """Refuse a form that this server did not give to this browser.

    Raises
    ------
    NotAllowed
        If the form's mark is not that of the session.
    """
    # Whoever sends a token with the request is no browser that somebody else's page could have sent here.
    if request.method not in {"POST", "PUT", "DELETE"} or "Authorization" in request.headers:
        return
    mark = session.get("mark", "")
    if not mark or not hmac.compare_digest(mark.encode(), request.form.get("mark", "").encode()):
        raise NotAllowed("this form is not from this page, or too old; go back, load the page again and repeat")
