"""The OpenAPI document: what the routes' own descriptions leave out is filled in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p3s.server.api.frame import KEYED
from p3s.server.api.keys import HEADER, PATTERN
from p3s.server.auth import NEEDS, Role
from p3s.wire import ErrorReply

if TYPE_CHECKING:
    from apiflask import APIFlask

__all__ = ["QUERIES", "complete_document"]

#: Query parameters by route.
QUERIES: dict[str, tuple[str, ...]] = {
    "api.list_workflows": ("state", "owner", "name", "archived", "limit", "cursor"),
    "api.list_jobs": ("workflow", "state", "jobtype", "owner", "name", "uuid", "older", "limit", "cursor"),
    "api.list_datasets": ("workflow", "state", "type", "place", "limit", "cursor"),
    "api.list_pilots": ("state", "live", "limit", "cursor"),
    "api.list_dags": ("name", "owner", "limit", "cursor"),
    "api.show_dag": ("version", "owner"),
    "api.list_numbers": ("owner", "key", "limit", "cursor"),
    "api.show_bundle": ("version", "owner"),
    "api.delete_dag": ("version", "owner"),
    "api.list_arrivals": ("service", "rule", "fate", "place", "limit", "cursor"),
    "api.why_place": ("place",),
    "api.list_events": ("after", "noun", "thing", "limit"),
    "api.read_log": ("stream", "attempt", "offset", "watch"),
}
_NUMBERS = {"limit", "version", "attempt", "offset"}
#: What any route of the API may answer, besides what it is for.
_ERRORS = {
    "400": "bad input",
    "401": "no valid token",
    "403": "not allowed",
    "404": "not found",
    "409": "conflict",
    "413": "too large",
    "429": "too many; see Retry-After",
    "500": "the server failed; its log has the request's id",
    "503": "not now; see Retry-After",
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def complete_document(app: APIFlask, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the API's routes alone, their parameters, all answers, and who may call."""
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    model = ErrorReply.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= model.pop("$defs")
    schemas["ErrorReply"] = model
    for name in ("HTTPError", "ValidationError"):
        schemas.pop(name, None)
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    described: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("api."):
            continue
        path = "".join(f"{{{text}}}" if is_name else text for is_name, text in _split(rule.rule))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = document["paths"][path][method.lower()]
            _complete_operation(operation, rule.endpoint, method, path.split("/")[3])
            described.setdefault(path, {})[method.lower()] = operation
    document["paths"] = dict(sorted(described.items()))
    # Nouns stand at the operations, and the server is where the document came from, also behind a proxy.
    document.pop("tags", None)
    document["servers"] = [{"url": "/"}]
    return document


def _complete_operation(operation: dict[str, Any], endpoint: str, method: str, noun: str) -> None:
    # The noun of its address: what stands together on the page.
    operation["tags"] = [noun]
    operation["operationId"] = endpoint.removeprefix("api.")
    operation["security"] = [{"token": []}]
    roles = ", ".join(sorted(NEEDS[endpoint] - {Role.SELF})) or "a pilot's own secret"
    operation["description"] = f"Needs: {roles}."
    for name in QUERIES.get(endpoint, ()):
        kind = {"type": "integer", "minimum": 1 if name == "limit" else 0} if name in _NUMBERS else {"type": "string"}
        operation["parameters"].append({"in": "query", "name": name, "required": False, "schema": kind})
    if method == "GET":
        tag = {"in": "header", "name": "If-None-Match", "required": False, "schema": {"type": "string"}}
        operation["parameters"].append(tag | {"description": "The ETag of an earlier answer."})
        operation["responses"]["304"] = {"description": "as it was; without a body"}
    if endpoint in KEYED:
        text = "A repeat with the same key and content is answered as the first was, and changes nothing."
        key = {"in": "header", "name": HEADER, "required": False, "description": text}
        operation["parameters"].append(key | {"schema": {"type": "string", "pattern": PATTERN}})
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
    answers = operation["responses"]
    # The framework's own answer to a bad body, which no route gives.
    answers.pop("422", None)
    for status, text in _ERRORS.items():
        schema = {"$ref": "#/components/schemas/ErrorReply"}
        answers[status] = {"description": text, "content": {"application/json": {"schema": schema}}}
    if endpoint == "api.fetch_blob":
        answers["200"] = {"description": "the content", "content": _BYTES}
    elif endpoint == "api.store_blob":
        operation["requestBody"] = {"required": True, "content": _BYTES}
    if not any(status.startswith("2") for status in answers):
        answers["204"] = {"description": "done"}
    if endpoint == "api.load_workflow":
        answers["200"] = answers["201"] | {"description": "a repeat: nothing was made"}


def _split(rule: str) -> list[tuple[bool, str]]:
    """Return the pieces of a rule of Flask, and which of them are names."""
    found = []
    for piece in rule.split("<"):
        name, closed, rest = piece.rpartition(">")
        if closed:
            found.append((True, name.rpartition(":")[2]))
        found.append((False, rest))
    return found
