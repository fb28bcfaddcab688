"""Plain calls of pilots and plain submissions past Flask, which took as long as half of their transactions.

Only what is plain goes this way. Whatever is odd about a request, and each error, goes through Flask, which says what
is wrong as it does for any other.
"""

from __future__ import annotations

import io
import logging
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from p3s.server.auth import NEEDS, authenticate, send_for_who
from p3s.server.door import RAISED, STRICT, choose_id, hold_back
from p3s.server.secrets import hash_token
from p3s.server.usecases.exchange import exchange
from p3s.server.usecases.standalone import create_jobs
from p3s.wire import CreateJobsBody, ExchangeBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from p3s.server.metrics import Metrics
    from p3s.server.usecases.core import Core

__all__ = ["take_shortcut"]

#: What each request's line is written under, where lines are wanted.
_log = logging.getLogger("p3s.server.door")
_EXCHANGE = re.compile(r"/api/v1/pilots/([0-9a-f-]{36})/exchange")
_JOBS = "/api/v1/jobs"
_STATUS = {200: "200 OK", 201: "201 CREATED"}


class _Plain(NamedTuple):
    """A request that needs no more than its body and who sent it.

    Attributes
    ----------
    takes : pydantic model
        The body.
    work : callable
        Does what the route does; given the body, it returns the answer's.
    status : int
        Of the answer.
    route : str or None
        What requests of this kind are counted under, if they are.
    """

    takes: type[BaseModel]
    work: Callable[[Any], BaseModel]
    status: int
    route: str | None


def take_shortcut(core: Core, metrics: Metrics, around: WSGIApplication) -> WSGIApplication:
    """Return an application that answers plain requests itself.

    Parameters
    ----------
    core : Core
        The server.
    metrics : Metrics
        Where submissions are counted.
    around : WSGI application
        Answers all else: other requests, those of whoever may not send them or is not known yet, those whose body is
        none or too large; and what was raised, which is in the environment under `RAISED`.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.monotonic()
        length = environ.get("CONTENT_LENGTH", "")
        if environ["REQUEST_METHOD"] != "POST" or not (length.isascii() and length.isdigit()):
            return around(environ, start_response)
        # Where each request is a line, what is logged on its way has its id.
        if int(length) > core.settings.max_body or _log.isEnabledFor(logging.INFO):
            return around(environ, start_response)
        plain = _find_call(core, environ) or _find_submission(core, environ)
        if plain is None:
            return around(environ, start_response)
        content = environ["wsgi.input"].read(int(length))
        # For Flask, should it have to read it once more.
        environ["wsgi.input"] = io.BytesIO(content)
        try:
            body = plain.takes.model_validate_json(content)
        except ValidationError:
            return around(environ, start_response)
        try:
            reply = plain.work(body)
        except Exception as error:  # noqa: BLE001 - raised again, where it is told and answered
            environ[RAISED] = error
            return around(environ, start_response)
        if plain.route is not None:
            metrics.note_request(plain.route, plain.status, time.monotonic() - begun)
        return _write(core, environ, start_response, plain.status, reply)

    return answer


def _find_call(core: Core, environ: WSGIEnvironment) -> _Plain | None:
    """Return a call of a pilot that this process has let in."""
    path = _EXCHANGE.fullmatch(environ["PATH_INFO"])
    if path is None:
        return None
    uuid, secret = path[1], _read_secret(environ)
    if core.pilots.get(uuid) != hash_token(secret):
        return None
    return _Plain(ExchangeBody, partial(exchange, core, uuid, secret), 200, None)


def _find_submission(core: Core, environ: WSGIEnvironment) -> _Plain | None:
    """Return a submission of standalone jobs by one who may submit."""
    if environ["PATH_INFO"] != _JOBS or "HTTP_IDEMPOTENCY_KEY" in environ:
        return None
    secret = _read_secret(environ)
    digest = hash_token(secret)
    who, confirm = core.whos.get(digest), None
    if who is not None:
        # The transaction looks the token up, on a trip that it makes anyway.
        confirm = partial(send_for_who, core, digest=digest, who=who)
    else:
        try:
            who = authenticate(core, secret)
        except Exception:  # noqa: BLE001 - whatever it is, Flask finds it, too, and says it
            return None
    if who.role not in NEEDS["api.create_jobs"]:
        return None

    def submit(body: CreateJobsBody) -> BaseModel:
        core.submissions.take(who.name)
        return create_jobs(core, body, who.name, confirm)

    return _Plain(CreateJobsBody, submit, 201, "api.create_jobs")


def _read_secret(environ: WSGIEnvironment) -> str:
    scheme, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret if scheme == "Bearer" else ""


def _write(
    core: Core, environ: WSGIEnvironment, start_response: StartResponse, status: int, reply: BaseModel
) -> Iterable[bytes]:
    content = reply.model_dump_json().encode()
    given = environ.get("HTTP_X_REQUEST_ID", "") if core.settings.proxies else ""
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
        ("X-Request-Id", choose_id(given)),
    ]
    if core.settings.secure:
        headers.append(STRICT)
    start_response(_STATUS[status], headers)
    return _Answer(content, hold_back(environ))


class _Answer:
    """A body in one piece; `close` is called when it was written."""

    def __init__(self, content: bytes, close: Callable[[], None]) -> None:
        self._content, self.close = content, close

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
