"""The header ``Idempotency-Key``: a request that is sent again with its key is done once and answered the same."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, cast

from flask import Response, current_app, g, request

from p3s.clock import read_clock
from p3s.errors import BadInput, P3sError, Problem, Unavailable
from p3s.server.secrets import derive_token, make_token
from p3s.server.transitions.repeats import CURRENT, Keyed, Twin, find_answer, keep_answer, make_keyed

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.server.usecases.core import Core

__all__ = ["HEADER", "PATTERN", "answer_once", "choose_secret"]

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
#: What may be a key.
PATTERN = "^[!-~]{1,200}$"


def answer_once(run: Callable[[], Response], hides: str | None, show: Callable[[], Response] | None = None) -> Response:
    """Work on the request, or answer it as a request with the same key was answered before.

    Parameters
    ----------
    run : callable
        Works on it.
    hides : str or None
        The field of the answer that is a secret. It is not kept, but made again (see `choose_secret`).
    show : callable, optional
        Makes the answer of a repeat: it shows what is there, and none is kept. The key is written with its status, so
        that a repeat, which meets it in its own change, is answered even if this server dies right after the commit.

    Raises
    ------
    BadInput
        If the key is none.
    Conflict
        If the key came with another request.
    Unavailable
        If the first of the two is being worked on.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return run()
    if not re.fullmatch(PATTERN, given):
        raise BadInput([Problem("a key has 1 to 200 characters of ASCII, without blanks", where=HEADER)])
    keyed = make_keyed(g.who.name, given, f"{request.method} {request.full_path}", request.get_data())
    if show is not None:
        keyed.status = 200
    elif (found := _find(keyed)) is not None:
        return _repeat(*found, hides)
    mark = CURRENT.set(keyed)
    try:
        response = run()
    except (Twin, P3sError):
        # What was refused may have been done already, by the same request.
        found = None if keyed.noted else _find(keyed)
        if found is None:
            raise
        return _repeat(*found, hides, show)
    finally:
        CURRENT.reset(mark)
    if show is None:
        _keep(keyed, response, hides)
    return response


def choose_secret() -> str:
    """Return a new secret for the request's answer; for a request with a key, the one that its repeat shows again."""
    keyed = CURRENT.get()
    return make_token() if keyed is None else _derive(keyed)


def _derive(keyed: Keyed) -> str:
    return derive_token(_core().secret, g.secret, request.headers[HEADER], keyed.digest)


def _core() -> Core:
    return cast("Core", current_app.extensions["p3s"])


def _find(keyed: Keyed) -> tuple[Keyed, int, str] | None:
    with _core().db.read() as connection:
        found = find_answer(connection, keyed, read_clock())
    return None if found is None else (keyed, *found)


def _repeat(
    keyed: Keyed, status: int, answer: str, hides: str | None, show: Callable[[], Response] | None = None
) -> Response:
    if hides is not None:
        answer = json.dumps(json.loads(answer) | {hides: _derive(keyed)}, ensure_ascii=False)
    if show is not None:
        response = show()
    else:
        response = Response(answer, status=status, mimetype="application/json" if answer else None)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _keep(keyed: Keyed, response: Response, hides: str | None) -> None:
    answer = response.get_data(as_text=True)
    if hides is not None:
        fields = json.loads(answer)
        del fields[hides]
        answer = json.dumps(fields, ensure_ascii=False)
    core, now = _core(), read_clock()
    try:
        core.db.write(lambda connection: keep_answer(connection, keyed, now, response.status_code, answer))
    except Unavailable as error:
        # The change is committed, so this answer is true; a repeat finds the change done.
        log.warning("the answer of a request with a key was not kept: %s", error)
