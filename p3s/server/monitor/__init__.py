"""The web monitor: workflows and jobs, behind a token form."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any

from apiflask import APIBlueprint
from flask import current_app, redirect, render_template, request, session, url_for

from p3s.errors import NotAllowed, NoToken
from p3s.server.auth import NEEDS, Role, Who, authenticate, find_who
from p3s.server.queries.jobs import list_jobs
from p3s.server.queries.system import count_states
from p3s.server.queries.workflows import list_workflows
from p3s.server.secrets import hash_token

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

__all__ = ["blueprint"]

blueprint = APIBlueprint("monitor", __name__, template_folder="../templates", enable_openapi=False)

#: Rows of each table.
ROWS = 50


@blueprint.get("/")
def index() -> str | Response:
    """Show workflows and jobs, or the token form."""
    who = _find_viewer()
    if who is None:
        return render_template("login.html", message="")
    core = current_app.extensions["p3s"]
    with core.db.read() as connection:
        workflows = list_workflows(connection, state=None, owner=None, name=None, limit=ROWS, cursor=None)
        jobs = list_jobs(connection, workflow_id=None, filters={}, limit=ROWS, cursor=None)
        counts = count_states(connection)
    return render_template("index.html", who=who, workflows=workflows.items, jobs=jobs.items, counts=counts)


@blueprint.post("/login")
def login() -> tuple[str, int] | Response:
    """Open a session for a token that may read."""
    token = request.form.get("token", "").strip()
    core = current_app.extensions["p3s"]
    core.logins.take(request.remote_addr or "")
    try:
        who = authenticate(core, token)
    except NoToken as error:
        return render_template("login.html", message=str(error)), 401
    if who.role not in NEEDS["api.status"]:
        return render_template("login.html", message=f"a {who.role} token cannot read; use another"), 403
    session.clear()
    session.permanent = True
    # The cookie is signed, not secret: it holds the hash.
    session["who"] = hash_token(token)
    return redirect(url_for("monitor.index"), 303)


@blueprint.post("/logout")
def logout() -> Response:
    """Close the session."""
    session.clear()
    return redirect(url_for("monitor.index"), 303)


@blueprint.before_request
def check_form() -> None:
    """Refuse a form that this server did not give to this browser.

    Raises
    ------
    NotAllowed
        If the form's mark is not that of the session.
    """
    if request.method != "POST":
        return
    mark = session.get("mark", "")
    if not mark or not hmac.compare_digest(mark.encode(), request.form.get("mark", "").encode()):
        raise NotAllowed("this form is not from this page, or too old; go back, load the page again and repeat")


@blueprint.app_context_processor
def offer_mark() -> dict[str, Any]:
    """Give templates `make_mark`, whose value every form sends as its field `mark`."""
    return {"make_mark": _make_mark}


def _make_mark() -> str:
    if "mark" not in session:
        session.permanent = True
        session["mark"] = secrets.token_urlsafe(16)
    return str(session["mark"])


@blueprint.after_request
def protect(response: Response) -> Response:
    """Admit nothing but what p3s itself serves."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return response


def _find_viewer() -> Who | None:
    digest = session.get("who")
    core = current_app.extensions["p3s"]
    if not digest:
        return Who("anyone", Role.VIEWER) if core.settings.open_reading else None
    try:
        # Looked up at each request, so that a revoked token ends the session at once.
        return find_who(core, digest)
    except NoToken:
        session.clear()
        return None
