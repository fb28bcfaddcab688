"""What all routes share: the blueprint, decoding, encoding, and who calls."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from apiflask import APIBlueprint
from flask import Response, current_app, g, request
from pydantic import BaseModel, ValidationError

from p3s.errors import BadInput, Problem
from p3s.server.api.keys import answer_once, choose_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.server.auth import Who
    from p3s.server.usecases.core import Core

__all__ = [
    "KEYED",
    "blueprint",
    "caller",
    "choose_secret",
    "core",
    "endpoint",
    "read_cursor",
    "read_limit",
    "read_text",
]

Body = TypeVar("Body", bound=BaseModel)

blueprint = APIBlueprint("api", "p3s.api", url_prefix="/api/v1", tag="p3s")

#: Routes that take an ``Idempotency-Key``.
KEYED: set[str] = set()

_DESCRIPTIONS = {
    400: "bad input",
    401: "no valid token",
    403: "not allowed",
    404: "not found",
    409: "conflict",
}


def core() -> Core:
    """Return the server that this application belongs to."""
    return cast("Core", current_app.extensions["p3s"])


def caller() -> Who:
    """Return who sent the request."""
    return cast("Who", g.who)


def endpoint(
    method: str,
    rule: str,
    *,
    takes: type[BaseModel] | None = None,
    gives: type[BaseModel] | None = None,
    status: int = 200,
    keyed: bool | None = None,
    hides: str | None = None,
    shown_by: Callable[..., BaseModel] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Make a function a route.

    Parameters
    ----------
    method, rule : str
        As in Flask.
    takes : pydantic model, optional
        The request's body, passed to the function as ``body``.
    gives : pydantic model, optional
        The answer's body; a function that gives none answers 204.
    status : int
        Of an answer with a body; a function may return (body, status) instead.
    keyed : bool, optional
        Whether a repeat with the same ``Idempotency-Key`` is answered as the first was. By default those of POST and
        DELETE are; what is put is the same when it is put again.
    hides : str, optional
        The field of the answer that is a secret, and is not kept for a repeat.
    shown_by : callable, optional
        Given what the rule has, returns what a repeat is answered: the thing as it then is. For what cannot be found
        done when it is done again.
    """
    has_key = method in {"POST", "DELETE"} if keyed is None else keyed

    def decorate(function: Callable[..., Any]) -> Callable[..., Response]:
        @wraps(function)
        def view(**kwargs: Any) -> Response:
            if has_key:
                show = None if shown_by is None else lambda: respond(shown_by(**kwargs))
                return answer_once(partial(work, **kwargs), hides, show)
            response = work(**kwargs)
            if method == "GET":
                # Who asks again and again, and says what it has, is sent only what is new.
                response.add_etag()
                response.make_conditional(request)
            return response

        def work(**kwargs: Any) -> Response:
            if takes is not None:
                kwargs["body"] = _decode(takes)
            answer = function(**kwargs)
            if isinstance(answer, Response):
                return answer
            if answer is None:
                return Response(status=204)
            return respond(*answer) if isinstance(answer, tuple) else respond(answer)

        def respond(body: BaseModel, code: int = status) -> Response:
            return Response(body.model_dump_json(), status=code, mimetype="application/json")

        _describe(view, takes, gives, status)
        if has_key:
            KEYED.add(f"api.{function.__name__}")
        return cast("Callable[..., Response]", blueprint.route(rule, methods=[method])(view))

    return decorate


def _describe(view: Any, takes: type[BaseModel] | None, gives: type[BaseModel] | None, status: int) -> None:
    """Attach what the OpenAPI document says of a route; decoding and encoding are done here, by pydantic's JSON."""

    def stub() -> None: ...

    described: Any = blueprint.doc(responses=_DESCRIPTIONS)(stub)
    if takes is not None:
        described = blueprint.input(takes, validation=False)(described)
    if gives is not None:
        described = blueprint.output(gives, status_code=status)(described)
    view._spec = described._spec  # noqa: SLF001 - where APIFlask keeps it


def _decode(model: type[Body]) -> Body:
    try:
        return model.model_validate_json(request.get_data() or b"{}")
    except ValidationError as error:
        raise BadInput(
            Problem(item["msg"], where=".".join(str(part) for part in item["loc"])) for item in error.errors()
        ) from error


def read_text(name: str) -> str | None:
    """Return a query parameter, None if it is absent or empty."""
    return request.args.get(name) or None


def read_limit() -> int:
    """Return the page size asked for.

    Raises
    ------
    BadInput
        If it is no number from 1 to the largest page.
    """
    largest = core().settings.page
    text = request.args.get("limit") or str(min(100, largest))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
        raise BadInput([Problem(f"'{text}' is no number from 1 to {largest}", where="limit")])
    return int(text)


def read_cursor() -> str | None:
    """Return the cursor of a list ordered by number.

    Raises
    ------
    BadInput
        If it is none that an earlier page gave.
    """
    text = read_text("cursor")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise BadInput([Problem(f"'{text}' is no cursor of this list", where="cursor")])
    return text
