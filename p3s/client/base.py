"""What all calls of the client share: the sender, and how a path, a body and an answer are made."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from p3s.client.sending import TRIES, Sender, encode_body, quote_query
from p3s.client.transport import Transport, choose_transport
from p3s.errors import BadInput

__all__ = ["TIMEOUT", "BaseClient", "join_path"]

Model = TypeVar("Model", bound=BaseModel)

#: Seconds to wait for an ordinary answer; loading a large workflow takes the longest.
TIMEOUT = 120.0


class BaseClient:
    """Sends requests to one server in the name of one token."""

    def __init__(self, url: str, token: str | None = None, transport: Transport | None = None) -> None:
        self._sender = Sender(url, token, transport or choose_transport(url))

    @property
    def url(self) -> str:
        """The server's address."""
        return self._sender.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _get(self, path: str, model: type[Model], query: dict[str, Any] | None = None) -> Model:
        answer = self._sender.send("GET", complete_path(path, query), timeout=TIMEOUT)
        return self._sender.decode(answer, model)

    def _post(
        self,
        path: str,
        body: BaseModel | None,
        model: type[Model],
        *,
        keyed: bool = True,
        timeout: float = TIMEOUT,
        token: str | None = None,
        tries: int = TRIES,
    ) -> Model:
        # A lost reply makes it uncertain whether a request was done; `keyed` is one that the server has to know again.
        content = b"{}" if body is None else encode_body(body)
        key = str(uuid.uuid4()) if keyed else None
        answer = self._sender.send(
            "POST", complete_path(path), content, timeout=timeout, tries=tries, token=token, key=key
        )
        return self._sender.decode(answer, model)

    def _delete(self, path: str, query: dict[str, Any] | None = None) -> None:
        self._sender.send("DELETE", complete_path(path, query), timeout=TIMEOUT, key=str(uuid.uuid4()))


def join_path(noun: str, ident: str, *verb: str) -> str:
    """Return the path of an object, refusing ids that would lead elsewhere."""
    if not ident or any(part in {"", ".", ".."} for part in ident.split("/")):
        raise BadInput([f"'{ident}' is no id; give a uuid, its beginning, or @last"])
    return "/".join((noun, quote(ident, safe="/@:"), *verb))


def complete_path(path: str, query: dict[str, Any] | None = None) -> str:
    """Return the whole path with its query."""
    chosen = quote_query(query or {})
    return f"/api/v1/{path}" + (f"?{urlencode(chosen)}" if chosen else "")
