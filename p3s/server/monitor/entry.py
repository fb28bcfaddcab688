"""The way in and out: a token for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import redirect, request

from p3s.errors import NotAllowed, NoToken
from p3s.server.monitor.frame import blueprint, choose_own, core, render
from p3s.server.sessions import close_session, find_visitor, open_session

if TYPE_CHECKING:
    from werkzeug.wrappers import Response


@blueprint.post("/login")
def login() -> tuple[str, int] | Response:
    """Open a session for a token that may read, and go where the visitor wanted to."""
    core().logins.take(request.remote_addr or "")
    target = choose_own(request.form.get("target", ""), "/")
    try:
        open_session(core(), request.form.get("token", "").strip())
    except (NoToken, NotAllowed) as error:
        text = render("login.html", title="Log in", message=str(error), target=target)
        return text, 401 if isinstance(error, NoToken) else 403
    return redirect(target, 303)


@blueprint.get("/login")
def show_login() -> str | Response:
    """Show the form to whoever comes by a link; those who may read already go on to the overview."""
    try:
        find_visitor(core())
    except NoToken as error:
        return render("login.html", title="Log in", message=str(error), target="/")
    return redirect("/", 303)


@blueprint.post("/logout")
def logout() -> Response:
    """Close the session."""
    close_session()
    return redirect("/", 303)
