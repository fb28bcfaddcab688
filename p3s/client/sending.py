"""One request with its meaning: the token, further tries, and answers turned into values or errors."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from p3s import __version__, errors
from p3s.wire import ErrorReply, ErrorView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from p3s.client.answer import Sent
    from p3s.client.transport import Answer, Transport

__all__ = ["Sender", "encode_body", "make_error", "quote_query"]

Model = TypeVar("Model", bound=BaseModel)

#: Tries of a request that may be repeated.
TRIES = 4
#: Seconds before the second try; each further pause is three times as long.
FIRST_PAUSE = 0.1
#: The longest pause that a server's Retry-After can ask for.
LONGEST_PAUSE = 30.0

_KINDS: dict[str, type[errors.P3sError]] = {
    leaf.kind: leaf
    for leaf in (
        errors.BadInput,
        errors.NotFound,
        errors.Ambiguous,
        errors.Refused,
        errors.NoToken,
        errors.NotAllowed,
        errors.Conflict,
        errors.Unavailable,
        errors.TooMany,
    )
}
#: What a proxy answers in place of a server that is away.
_AWAY = frozenset({429, 502, 503, 504})


class Sender:
    """Sends requests to one server in one name.

    Parameters
    ----------
    url : str
        The server's address.
    token : str or None
        Whose requests these are.
    transport : Transport
        What carries them.
    pause : callable
        Called with the seconds between two tries; a test replaces it.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        transport: Transport,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise errors.BadInput([f"'{url}' is no server address; write it like http://127.0.0.1:8440"])
        self.url = url.rstrip("/")
        self._token = token
        self._transport = transport
        self._pause = pause

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float,
        tries: int = TRIES,
        content: str = "application/json",
        token: str | None = None,
        key: str | None = None,
    ) -> Answer:
        """Send a request, again where it can help, and return the answer if it is a success.

        Parameters
        ----------
        method, path : str
            The request line; `path` begins with a slash and may have a query.
        body : bytes, optional
            The content.
        timeout : float
            Seconds to wait for each answer.
        tries : int
            1 for a request that must not be repeated after a lost reply.
        content : str
            The body's media type.
        token : str, optional
            Used instead of this sender's own.
        key : str, optional
            By which the server knows a repeat, and answers it as it answered the first.

        Returns
        -------
        Answer
            With a status below 300.

        Raises
        ------
        P3sError
            What the server's error says; `Unreachable` if no answer came; `BadReply` for one without sense.
        """
        headers = self._make_headers(token, content if body is not None else None)
        if key is not None:
            headers["Idempotency-Key"] = key
        for number in range(1, tries + 1):
            try:
                answer = self._transport.send(method, self.url + path, headers, body, timeout)
            except errors.Unreachable:
                if number == tries:
                    raise
                self._pause(_jitter(FIRST_PAUSE * 3 ** (number - 1)))
                continue
            if answer.status < 300:
                return answer
            if answer.status not in _AWAY or number == tries:
                raise make_error(answer, self.url)
            self._pause(_jitter(_read_retry_after(answer.headers, FIRST_PAUSE * 3 ** (number - 1))))
        raise AssertionError("tries is at least 1")

    def begin(self, method: str, path: str, body: bytes, *, timeout: float, token: str) -> Sent[Answer]:
        """Send a request once, as far as that takes no waiting; what is returned raises as `send` does.

        The parameters are those of `send`.
        """
        headers = self._make_headers(token, "application/json")
        return self._transport.begin(method, self.url + path, headers, body, timeout).then(self._check)

    def _check(self, answer: Answer) -> Answer:
        if answer.status < 300:
            return answer
        raise make_error(answer, self.url)

    def decode(self, answer: Answer, model: type[Model]) -> Model:
        """Return the answer's body as a value.

        Parameters
        ----------
        answer : Answer
            A success.
        model : type
            What is expected.

        Returns
        -------
        model
            The value.

        Raises
        ------
        BadReply
            If the body is something else.
        """
        try:
            return model.model_validate_json(answer.body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = "".join(f"{part}: " for part in first["loc"][-1:])
            raise errors.BadReply(
                f"the answer of {self.url} is no {model.__name__} ({place}{first['msg']}); "
                "check that the address is that of a p3s server, and that both have the same version"
            ) from error

    def _make_headers(self, token: str | None, content: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": f"p3s/{__version__}"}
        chosen = token or self._token
        if chosen:
            headers["Authorization"] = f"Bearer {chosen}"
        if content:
            headers["Content-Type"] = content
        return headers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def encode_body(body: BaseModel) -> bytes:
    """Return a request's body as JSON.

    Raises
    ------
    BadInput
        If it holds what is no text: Python keeps such bytes, of a file's name for example, as surrogates.
    """
    try:
        return body.model_dump_json().encode()
    except PydanticSerializationError as error:
        shown = _find_surrogates(body.model_dump()).encode(errors="backslashreplace").decode()
        advice = "rename the file or folder, or correct the value"
        raise errors.BadInput([f"'{shown}' is not UTF-8 text; {advice}"]) from error


def _find_surrogates(value: Any) -> str:
    """Return the first text in a value that cannot be encoded; empty if there is none."""
    if isinstance(value, str):
        return value if any("\ud800" <= char <= "\udfff" for char in value) else ""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    return next(filter(None, map(_find_surrogates, value)), "") if isinstance(value, list | tuple) else ""


def make_error(answer: Answer, url: str) -> errors.P3sError:
    """Return the error that an answer stands for.

    Parameters
    ----------
    answer : Answer
        With a status of 300 or more.
    url : str
        The server's address, for the message.

    Returns
    -------
    P3sError
        Of the class that the answer's `kind` names.
    """
    error = _read_error(answer, url)
    if isinstance(error, errors.Unavailable):
        error.retry_after = _read_retry_after(answer.headers, FIRST_PAUSE)
    return error


def _read_error(answer: Answer, url: str) -> errors.P3sError:
    try:
        view = ErrorReply.model_validate_json(answer.body).error
    except ValidationError:
        return _explain_foreign(answer, url)
    if view.kind == errors.BadInput.kind:
        problems = [errors.Problem(**problem.model_dump()) for problem in view.problems]
        return errors.BadInput(problems or [view.message])
    return _revive(_KINDS.get(view.kind, errors.P3sError), view)


def _revive(leaf: type[errors.P3sError], view: ErrorView) -> errors.P3sError:
    # The server has already written the message; a leaf's own __init__ would write another one around it.
    error = leaf.__new__(leaf)
    hint = (
        f" (request {view.request_id}; the server's log says more)"
        if leaf is errors.P3sError and view.request_id and view.request_id not in view.message
        else ""
    )
    error.args = (view.message + hint,)
    if isinstance(error, errors.NotFound | errors.Ambiguous):
        error.noun, error.ident = "", ""
    if isinstance(error, errors.Ambiguous):
        error.matches = ()
    return error


def _explain_foreign(answer: Answer, url: str) -> errors.P3sError:
    if answer.status in _AWAY:
        return errors.Unavailable(f"{url} answers {answer.status}: it cannot act now; try again in a while")
    if answer.status < 400:
        target = answer.headers.get("location", "another address")
        return errors.BadReply(f"{url} redirects to {target}; give that server's address instead")
    return errors.BadReply(
        f"{url} answers {answer.status}, but not as a p3s server does; check the address and its version"
    )


def _read_retry_after(headers: Mapping[str, str], default: float) -> float:
    try:
        return min(max(float(headers["retry-after"]), 0.0), LONGEST_PAUSE)
    except (KeyError, ValueError):
        # None was given, or it is a date: our own pause serves as well.
        return default


def _jitter(seconds: float) -> float:
    # Many clients that lost the same server must not come back in the same instant.
    return seconds * random.uniform(1.0, 1.5)  # noqa: S311 - no secret


def quote_query(query: Mapping[str, Any]) -> dict[str, str]:
    """Return the given entries of a query as text; None means not given, a flag is 1.

    Parameters
    ----------
    query : mapping
        Names and values.

    Returns
    -------
    dict of str to str
        What to send.

    Examples
    --------
    >>> quote_query({"state": None, "live": True, "limit": 5})
    {'live': '1', 'limit': '5'}
    """
    return {
        name: "1" if value is True else str(value)
        for name, value in query.items()
        if value is not None and value is not False
    }
