"""The application: blueprints, who calls, and the one place that turns errors into answers."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from apiflask import APIFlask
from flask import Response, current_app, g, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from p3s import __version__
from p3s.errors import (
    Ambiguous,
    BadInput,
    Conflict,
    NotAllowed,
    NotFound,
    NoToken,
    P3sError,
    Refused,
    TooMany,
    Unavailable,
)
from p3s.server.api import blueprint as api
from p3s.server.auth import NEEDS
from p3s.server.door import open_door
from p3s.server.metrics import CONTENT_TYPE, Metrics
from p3s.server.migrations import find_pending
from p3s.server.monitor import blueprint as monitor
from p3s.server.openapi import complete_document
from p3s.server.usecases.core import Core

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

    from p3s.server.db import Database
    from p3s.server.limits import Buckets
    from p3s.settings import ServerSettings

__all__ = ["create_app"]

log = logging.getLogger(__name__)

#: Seconds for which a login to the monitor lasts.
SESSION = 12 * 3600
#: HTTP status by error; the first that fits, so that leaves stand before their parents.
_STATUS: tuple[tuple[type[P3sError], int], ...] = (
    (BadInput, 400),
    (NotFound, 404),
    (Ambiguous, 404),
    (NoToken, 401),
    (NotAllowed, 403),
    (Conflict, 409),
    (Refused, 403),
    (TooMany, 429),
    (Unavailable, 503),
)


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
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_NAME="p3s",
        SESSION_COOKIE_SAMESITE="Strict",
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
    app.extensions["p3s-metrics"] = Metrics(core)
    open_door(app, core, app.extensions["p3s-metrics"])
    app.register_error_handler(P3sError, _answer_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_surprise)
    app.spec_processor(partial(complete_document, app))
    _check_needs(app)
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
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    answer = _answer(error.to_dict(), status)
    if isinstance(error, Unavailable):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return answer


def _answer_http_error(error: HTTPException) -> AnyResponse:
    status = error.code or 500
    if status < 400:
        return error.get_response()
    kinds = {404: "not-found", 405: "bad-input", 413: "bad-input", 415: "bad-input"}
    message = f"{request.method} {request.path}: {error.description or error.name}"
    return _answer({"kind": kinds.get(status, "error"), "message": message, "problems": []}, status)


def _answer_surprise(error: Exception) -> Response:
    # What was not meant for users stays in the log, under an id that the user is shown.
    log.error("request %s: %s %s failed", g.get("request_id"), request.method, request.path, exc_info=error)
    message = f"the server failed; its log tells more under request {g.get('request_id')}"
    return _answer({"kind": "error", "message": message, "problems": []}, 500)


def _answer(error: dict[str, object], status: int) -> Response:
    response = jsonify(error=error | {"request_id": g.get("request_id", "")})
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
