"""The application: blueprints, who calls, and what is answered when something goes wrong."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from apiflask import APIFlask
from flask import Response, current_app, jsonify
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from p3s import __version__
from p3s.errors import P3sError, Unavailable
from p3s.server.answers import answer_error, answer_http_error, answer_surprise, wants_page
from p3s.server.api import blueprint as api
from p3s.server.auth import NEEDS
from p3s.server.door import open_door
from p3s.server.metrics import CONTENT_TYPE, Metrics
from p3s.server.migrations import find_pending
from p3s.server.monitor import blueprint as monitor
from p3s.server.monitor.frame import show_error
from p3s.server.monitor.shapes import Shapes
from p3s.server.openapi import complete_document
from p3s.server.sessions import Sessions
from p3s.server.shortcut import take_shortcut
from p3s.server.usecases.core import Core

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

    from p3s.server.db import Database
    from p3s.server.limits import Buckets
    from p3s.settings import ServerSettings

__all__ = ["create_app"]

log = logging.getLogger(__name__)

#: Written when the scripts of others that pages use are all there.
ASSETS = Path(__file__).parent / "static" / "built" / "stamp"
#: Seconds for which a login to the monitor lasts.
SESSION = 12 * 3600


def create_app(db: Database, settings: ServerSettings, buckets: Buckets | None = None) -> APIFlask:
    """Make the application.

    Parameters
    ----------
    db : Database
        With the newest migrations applied.
    settings : ServerSettings
        How the server behaves.
    buckets : Buckets, optional
        What limits count in; shared with the server's other processes.

    Raises
    ------
    RuntimeError
        If a route does not say what it needs: nothing is served by oversight.
    """
    app = APIFlask("p3s.server", title="p3s", version=__version__, docs_path=None, spec_path="/api/v1/openapi.json")
    app.config["OPENAPI_VERSION"] = "3.1.0"
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    core = Core(db, settings, buckets)
    app.extensions["p3s"] = core
    app.secret_key = core.secret
    app.session_interface = Sessions()
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_NAME="p3s",
        # A link from elsewhere opens the page; a form from elsewhere lacks the mark.
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.secure,
        PERMANENT_SESSION_LIFETIME=SESSION,
    )
    if settings.proxies:
        trusted = settings.proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=trusted, x_proto=trusted, x_host=trusted)  # type: ignore[method-assign]
    app.register_blueprint(api)
    app.register_blueprint(monitor)
    app.add_url_rule("/healthz", "health", _answer_health)
    app.add_url_rule("/readyz", "ready", _answer_ready)
    app.add_url_rule("/metrics", "metrics", _answer_metrics)
    app.extensions["p3s-shapes"] = Shapes()
    app.extensions["p3s-metrics"] = Metrics(core)
    app.wsgi_app = take_shortcut(core, app.extensions["p3s-metrics"], app.wsgi_app)  # type: ignore[assignment,method-assign]
    open_door(app, core, app.extensions["p3s-metrics"])
    app.register_error_handler(P3sError, _answer_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_surprise)
    app.spec_processor(partial(complete_document, app))
    _check_needs(app)
    if not ASSETS.exists():
        log.warning("the monitor has no live pages and no drawings: assets are missing; `make assets` fetches them")
    return app


def _check_needs(app: APIFlask) -> None:
    routes = {rule.endpoint for rule in app.url_map.iter_rules()}
    if routes != set(NEEDS):
        missing, surplus = sorted(routes - set(NEEDS)), sorted(set(NEEDS) - routes)
        raise RuntimeError(
            f"routes without a role: {missing}; roles without a route: {surplus}; see p3s/server/auth.py"
        )


def _answer_health() -> Response:
    return jsonify(status="ok", version=__version__)


def _answer_ready() -> Response:
    """Say whether requests can be served: the database answers and has this version's tables."""
    core: Core = current_app.extensions["p3s"]
    current, newest = find_pending(core.db)
    if current != newest:
        raise Unavailable("the database has not the tables of this version; `p3s server migrate` brings them")
    return jsonify(status="ready", version=__version__)


def _answer_metrics() -> Response:
    return Response(current_app.extensions["p3s-metrics"].write(), content_type=CONTENT_TYPE)


def _answer_error(error: P3sError) -> Response:
    answer = answer_error(error)
    return show_error(answer, error) if wants_page() else answer


def _answer_http_error(error: HTTPException) -> AnyResponse:
    if (error.code or 500) < 400:
        return error.get_response()
    answer = answer_http_error(error)
    return show_error(answer) if wants_page() else answer


def _answer_surprise(error: Exception) -> Response:
    answer = answer_surprise(error)
    return show_error(answer) if wants_page() else answer
