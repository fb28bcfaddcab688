"""The HTTP reference: made from the application's OpenAPI document and its table of roles."""

from __future__ import annotations

import inspect
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from _ext.tables import make_table, to_markdown
from p3s import wire
from p3s.server.app import create_app
from p3s.server.auth import NEEDS, Role
from p3s.server.db import Database
from p3s.server.models import metadata
from p3s.settings import Home, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["list_routes", "make_routes", "read_document"]

#: The head of an attribute's description in a numpydoc docstring.
_NOTE = re.compile(r"(?:^|\n)(\w+) : .*\n\s*")


@cache
def read_document() -> tuple[dict[str, Any], tuple[tuple[str, str, str], ...], dict[str, str]]:
    """Return the OpenAPI document, (method, rule, endpoint) of every route, and what each of the monitor's does."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"sqlite:///{folder}/docs.sqlite"
        db = Database(address)
        metadata.create_all(db.engine)
        app = create_app(db, ServerSettings(database=address, home=Home(Path(folder))))
        routes = tuple(
            (method, rule.rule, rule.endpoint)
            for rule in app.url_map.iter_rules()
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        )
        with app.app_context():
            document: dict[str, Any] = dict(app.spec)
        db.close()
    pages = {
        name: (inspect.getdoc(view) or "").partition("\n")[0]
        for name, view in app.view_functions.items()
        if name.startswith("monitor.")
    }
    return document, routes, pages


def list_routes() -> Iterator[tuple[str, str, str]]:
    """Yield method, rule and endpoint of each route in the order of the table of roles."""
    _, routes, _ = read_document()
    order = list(NEEDS)
    yield from sorted(routes, key=lambda route: (order.index(route[2]), route[0]))


def make_routes() -> str:
    """Return the table of all routes, then each route of the API with its bodies, then the bodies' fields."""
    document, _, pages = read_document()
    overview = [
        [
            f"`{method} {rule}`",
            _name_roles(endpoint),
            pages.get(endpoint) or _find_operation(document, method, rule).get("summary", ""),
        ]
        for method, rule, endpoint in list_routes()
    ]
    return "\n".join(
        [
            "## Routes\n",
            make_table(["route", "who may", "what it does"], overview),
            "## Bodies of each route\n",
            make_table(["route", "takes", "gives"], _list_bodies(document)),
            "## Fields\n",
            *(_make_fields(model) for model in _list_models()),
        ]
    )


def _name_roles(endpoint: str) -> str:
    if NEEDS[endpoint] == {Role.SELF}:
        return "that pilot"
    return ", ".join(f"{role}" if role is not Role.SELF else "a pilot" for role in Role if role in NEEDS[endpoint])


def _find_operation(document: dict[str, Any], method: str, rule: str) -> dict[str, Any]:
    if rule in _OTHERS:
        return {"summary": _OTHERS[rule]}
    path = rule.replace("<path:", "{").replace("<", "{").replace(">", "}")
    operation: dict[str, Any] = document["paths"][path][method.lower()]
    return operation


#: Routes outside the JSON API.
_OTHERS = {
    "/static/<path:filename>": "Files of the monitor.",
    "/healthz": "Answers `ok` while the server runs.",
    "/readyz": "Answers `ready` while the database answers with this version's tables, else 503.",
    "/metrics": "Metrics for Prometheus.",
    "/api/v1/openapi.json": "The OpenAPI 3.1 document of the API.",
}


def _list_bodies(document: dict[str, Any]) -> Iterator[list[str]]:
    for method, rule, endpoint in list_routes():
        if endpoint.startswith("monitor."):
            continue
        operation = _find_operation(document, method, rule)
        if "responses" not in operation:
            continue
        takes = _find_model(operation.get("requestBody", {}))
        good = next((status for status in sorted(operation["responses"]) if status.startswith("2")), "")
        gives = _find_model(operation["responses"].get(good, {}))
        yield [f"`{method} {rule}`", takes or "—", f"{good} {gives}".strip()]


def _find_model(part: dict[str, Any]) -> str:
    schema = part.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    if name == "EmptyBody":
        return "`{}`"
    return f"[{name}](#{name.lower()})" if name else ""


def _list_models() -> list[type[BaseModel]]:
    """Return all bodies, and the parts of bodies, in the order of `p3s.wire`."""
    own = [one for one in vars(wire).values() if isinstance(one, type) and one.__module__.startswith(wire.__name__)]
    return [one for one in own if issubclass(one, BaseModel) and one.model_fields]


def _make_fields(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    required = set(schema.get("required", []))
    rows = [
        [f"`{field}`", _name_type(entry), "required" if field in required else ""]
        for field, entry in schema["properties"].items()
    ]
    text, _, notes = to_markdown(inspect.cleandoc(model.__doc__ or "")).partition("\n\nAttributes\n")
    notes = _NOTE.sub(r"\n- `\1`: ", notes.partition("\n")[2])
    notes = "\n".join(line if line.startswith("- ") else f"  {line.strip()}".rstrip() for line in notes.split("\n"))
    return f"### {model.__name__}\n\n{text}\n\n{make_table(['field', 'type', ''], rows)}\n{notes.strip()}\n"


def _name_type(entry: dict[str, Any]) -> str:
    if "$ref" in entry:
        return str(entry["$ref"].rpartition("/")[2])
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_name_type(one) for one in entry["anyOf"]))
    if "enum" in entry:
        return " or ".join(f"`{word}`" for word in entry["enum"])
    if entry.get("type") == "array":
        return f"list of {_name_type(entry.get('items', {}))}"
    if entry.get("type") == "object":
        inner = entry.get("additionalProperties")
        return f"map to {_name_type(inner)}" if isinstance(inner, dict) else "object"
    kind = entry.get("type", "any")
    return str(kind if isinstance(kind, str) else " or ".join(kind))
