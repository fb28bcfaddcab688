"""What every request passes and every answer carries: the request's id, who calls, limits, headers, the log line."""

from __future__ import annotations

import logging
import random
import re
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app, g, request

from p3s.server.auth import NEEDS, Role, Who, authenticate, require_role
from p3s.server.limits import SUBMISSIONS
from p3s.server.sessions import find_visitor
from p3s.server.usecases.exchange import check_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Response

    from p3s.server.metrics import Metrics
    from p3s.server.usecases.core import Core

__all__ = ["RAISED", "STRICT", "choose_id", "hold_back", "open_door"]

log = logging.getLogger(__name__)

#: Sent with every answer that does not say otherwise.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Where a request's environment has what work on it has raised already.
RAISED = "p3s.raised"
#: Sent with every answer of a server that is reached by TLS.
STRICT = ("Strict-Transport-Security", "max-age=31536000")
#: The worker that lays out graphs compiles WebAssembly; no page may, and no other script.
LAYOUT = (
    "layout.js",
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; frame-ancestors 'none'; base-uri 'none'",
)
#: What a request's id that a proxy in front gives may look like; anything else is replaced.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")


def open_door(app: Flask, core: Core, metrics: Metrics) -> None:
    """Let requests in through here."""

    def admit() -> None:
        g.start = time.monotonic()
        g.request_id = choose_id(request.headers.get("X-Request-Id", "") if core.settings.proxies else "")
        endpoint = request.endpoint
        if endpoint is None or Role.ANYONE in NEEDS[endpoint]:
            return
        _find_caller(endpoint)
        error: Exception | None = request.environ.pop(RAISED, None)
        if error is not None:
            raise error
        if endpoint in SUBMISSIONS:
            core.submissions.take(g.who.name)

    def finish(response: Response) -> Response:
        if request.endpoint == "static" and (request.view_args or {}).get("filename") == LAYOUT[0]:
            response.headers["Content-Security-Policy"] = LAYOUT[1]
        response.headers["X-Request-Id"] = g.get("request_id", "")
        if core.settings.secure:
            response.headers[STRICT[0]] = STRICT[1]
        _note(metrics, response.status_code)
        if not response.is_streamed:
            response.call_on_close(hold_back(request.environ))
        return response

    app.before_request(admit)
    app.after_request(finish)
    app.wsgi_app = _complete(app.wsgi_app)  # type: ignore[assignment,method-assign]


def _complete(answer: WSGIApplication) -> WSGIApplication:
    """Add `HEADERS` to what is answered."""

    def work(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in HEADERS.items() if name.lower() not in given]
            return start_response(status, headers, *error)

        return answer(environ, start)

    return work


def hold_back(environ: WSGIEnvironment) -> Callable[[], None]:
    """Let an answer leave in one piece; return what sends it.

    Gunicorn writes its head and its body, and who waits would wake up for each.
    """
    line: socket.socket | None = environ.get("gunicorn.socket")
    if line is None or not hasattr(socket, "TCP_CORK") or line.family not in {socket.AF_INET, socket.AF_INET6}:
        return lambda: None

    def hold(on: int) -> None:
        # Whoever has hung up is found out when the answer is written.
        with suppress(OSError):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)

    hold(1)
    return partial(hold, 0)


def choose_id(given: str) -> str:
    """Return the id of a request: the one that a proxy has given, if it looks like one, or a new one."""
    # Told apart from others in a log, and no secret: the system's own randomness takes a call of it for each.
    return given if _REQUEST_ID.match(given) else f"{random.getrandbits(48):012x}"


def _find_caller(endpoint: str) -> None:
    core: Core = current_app.extensions["p3s"]
    if request.blueprint == "monitor" and "Authorization" not in request.headers:
        g.who = find_visitor(core)
        require_role(g.who, endpoint)
        return
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    g.secret = secret if scheme.lower() == "bearer" else ""
    if endpoint == "api.exchange":
        # Before a body is read. The call checks it again, in the transaction that renews the lease.
        check_secret(core, str((request.view_args or {})["ident"]), g.secret)
        return
    reads = request.method in {"GET", "HEAD"} and Role.VIEWER in NEEDS[endpoint]
    if core.settings.open_reading and reads and "Authorization" not in request.headers:
        g.who = Who("anyone", Role.VIEWER)
        return
    g.who = authenticate(core, g.secret)
    require_role(g.who, endpoint)


def _note(metrics: Metrics, status: int) -> None:
    seconds = time.monotonic() - g.get("start", time.monotonic())
    if request.endpoint != "api.exchange":
        metrics.note_request(request.endpoint or "none", status, seconds)
    if log.isEnabledFor(logging.INFO):
        name = g.who.name if "who" in g else "-"
        fields = {
            "who": name,
            "method": request.method,
            "path": request.path,
            "status": status,
            "seconds": round(seconds, 4),
        }
        shown = f"{request.method} {request.path!r} {status} {seconds:.3f} s"
        log.info("%s: %s", name, shown, extra={"fields": fields})
