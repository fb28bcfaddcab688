"""The one place that turns errors into answers: a status, and the one JSON shape."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from flask import g, jsonify, request

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

if TYPE_CHECKING:
    from flask import Response
    from werkzeug.exceptions import HTTPException

__all__ = ["answer_error", "answer_http_error", "answer_surprise", "wants_page"]

log = logging.getLogger(__name__)

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


def answer_error(error: P3sError) -> Response:
    """Answer what was raised on purpose."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    answer = _answer(error.to_dict(), status)
    if isinstance(error, Unavailable):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return answer


def answer_http_error(error: HTTPException) -> Response:
    """Answer what the framework refused."""
    status = error.code or 500
    kinds = {404: "not-found", 405: "bad-input", 413: "bad-input", 415: "bad-input"}
    message = f"{request.method} {request.path}: {error.description or error.name}"
    if status == 404:
        message = f"there is nothing at {request.path}; /api/v1/docs has all calls, and / is the monitor"
    return _answer({"kind": kinds.get(status, "error"), "message": message, "problems": []}, status)


def answer_surprise(error: Exception) -> Response:
    """Answer what nobody foresaw."""
    # What was not meant for users stays in the log, under an id that the user is shown.
    log.error("request %s: %s %r failed", g.get("request_id"), request.method, request.path, exc_info=error)
    message = f"the server failed; its log tells more under request {g.get('request_id')}"
    return _answer({"kind": "error", "message": message, "problems": []}, 500)


def wants_page() -> bool:
    """Tell whether a browser asks, which shows pages and not JSON."""
    if request.blueprint == "monitor":
        return request.args.get("format") is None and not request.path.endswith((".json", "/log"))
    # Browsers name several kinds that they like as much as HTML; programs name none of them.
    liked = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return request.blueprint is None and liked == "text/html"


def _answer(error: dict[str, object], status: int) -> Response:
    response = jsonify(error=error | {"request_id": g.get("request_id", "")})
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
