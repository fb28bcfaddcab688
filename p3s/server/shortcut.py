"""A pilot's call past Flask: it comes for each short job, and Flask around it took half as long as its transaction.

Only what is plain goes this way. Whatever is odd about a request, and each error, goes through Flask, which says what
is wrong as it does for any other.
"""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING

from pydantic import ValidationError

from p3s.server.door import STRICT, choose_id, hold_back
from p3s.server.secrets import hash_token
from p3s.server.usecases.exchange import exchange
from p3s.wire import ExchangeBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from p3s.server.usecases.core import Core

__all__ = ["raise_again", "take_shortcut"]

#: What each request's line is written under, where lines are wanted.
_log = logging.getLogger("p3s.server.door")
_PATH = re.compile(r"/api/v1/pilots/([0-9a-f-]{36})/exchange")
#: Where Flask finds what a call has raised already.
_RAISED = "p3s.raised"


def take_shortcut(core: Core, around: WSGIApplication) -> WSGIApplication:
    """Return an application that answers plain calls of pilots itself.

    Parameters
    ----------
    core : Core
        The server.
    around : WSGI application
        Answers all else: requests that are no calls, or come from a pilot that this process has not let in yet, or
        whose body is none or too large; and what was raised, by `raise_again`.
    """

    def work(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        call = _find_call(core, environ)
        if call is None:
            return around(environ, start_response)
        uuid, secret, length = call
        content = environ["wsgi.input"].read(length)
        # For Flask, should it have to read it once more.
        environ["wsgi.input"] = io.BytesIO(content)
        try:
            body = ExchangeBody.model_validate_json(content)
        except ValidationError:
            return around(environ, start_response)
        try:
            reply = exchange(core, uuid, secret, body)
        except Exception as error:  # noqa: BLE001 - raised again, where it is told and answered
            environ[_RAISED] = error
            return around(environ, start_response)
        answer = reply.model_dump_json().encode()
        given = environ.get("HTTP_X_REQUEST_ID", "") if core.settings.proxies else ""
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(answer))),
            ("X-Request-Id", choose_id(given)),
        ]
        if core.settings.secure:
            headers.append(STRICT)
        start_response("200 OK", headers)
        return _Answer(answer, hold_back(environ))

    return work


def raise_again(environ: WSGIEnvironment) -> None:
    """Raise what a call has raised on the shortcut, if that is where the request comes from."""
    error: Exception | None = environ.pop(_RAISED, None)
    if error is not None:
        raise error


def _find_call(core: Core, environ: WSGIEnvironment) -> tuple[str, str, int] | None:
    """Return the pilot, its secret and its body's length, if a request is a plain call."""
    if environ["REQUEST_METHOD"] != "POST" or (path := _PATH.fullmatch(environ["PATH_INFO"])) is None:
        return None
    uuid, length = path[1], environ.get("CONTENT_LENGTH", "")
    scheme, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme != "Bearer" or core.pilots.get(uuid) != hash_token(secret):
        return None
    if not (length.isascii() and length.isdigit() and int(length) <= core.settings.max_body):
        return None
    # There each request is a line, and what is logged on its way has its id.
    return None if _log.isEnabledFor(logging.INFO) else (uuid, secret, int(length))


class _Answer:
    """A body in one piece; `close` is called when it was written."""

    def __init__(self, content: bytes, close: Callable[[], None]) -> None:
        self._content, self.close = content, close

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
