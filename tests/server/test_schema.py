"""Whatever is sent, by whom ever, is answered as the OpenAPI document says, and never by a failure of the server."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from p3s.server import api as routes
from p3s.server.auth import Role
from p3s.server.openapi import QUERIES
from p3s.settings import Home
from tests.support.api import Api
from tests.support.databases import copy_sqlite
from tests.support.fuzz import ROLES, Fuzzer

#: Cases of each route and role; `make fuzz` sends thousands.
CASES = 3


@pytest.fixture
def api(tmp_path, sqlite_template):
    made = Api(copy_sqlite(sqlite_template, tmp_path), Home(tmp_path / "home"), submissions=0)
    yield made
    made.db.close()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role or "none"))
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["sound", "broken"])
def test_every_answer_is_documented(api, role, mode):
    """Sound and broken requests of each role get a documented answer of the documented shape, and no 5xx."""
    fuzzer = Fuzzer(api, role)
    fuzzer.run(mode, CASES)
    assert not fuzzer.wrong
    assert len({label for label, _ in fuzzer.seen}) > 30
    if role is None:
        assert {status for _, status in fuzzer.seen} <= {401, 404, 405}


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
@settings(max_examples=CASES * 20, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("path", ["/workflows", "/jobs", "/datasets", "/pilots", "/tokens"])
def test_any_bytes_are_answered(api, path, data):
    """Bytes that are no body are refused with the one shape of errors."""
    headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"}
    answer = api.app.test_client().post(f"/api/v1{path}", data=data, headers=headers)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["problems"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"uuid": ' + b"9" * 100_000 + b"}",
        b'{"uuid": 1e999999, "expires": NaN}',
        b'{"uuid": "\\ud800", "name": "\\u0000"}',
        b"\x00" * 1000,
        b"\xff\xfe{\x00}\x00",
    ],
    ids=["brackets", "objects", "digits", "floats", "surrogates", "nul", "utf-16"],
)
def test_hostile_bodies_are_refused(api, body):
    """Deep, huge and broken JSON is bad input, whoever sends it."""
    headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"}
    for path in ("workflows", "jobs", "datasets", "pilots", "tokens"):
        assert api.app.test_client().post(f"/api/v1/{path}", data=body, headers=headers).status_code == 400


@pytest.mark.parametrize("text", ["%00", "a%00b", "%E2%80%AE", "..%2f..%2fetc", "%ff", "a:%C2%B2", "'--", "a" * 5000])
def test_hostile_ids_are_not_found(api, text):
    """NUL, bidi marks, dots, bad UTF-8 and SQL in ids, filters and cursors find nothing and break nothing."""
    for noun in ("workflows", "jobs", "datasets", "pilots", "dags", "why"):
        assert api.call("GET", f"/{noun}/{text}").status_code in {400, 404}
    for path in (f"/jobs?owner={text}&name={text}&state={text}", f"/dags?name={text}", f"/pilots?state={text}"):
        assert api.call("GET", path).status_code in {200, 400}
    for noun in ("jobs", "dags", "workflows"):
        assert api.call("GET", f"/{noun}?cursor={text}").status_code == 400


def test_values_that_no_database_keeps_are_bad_input(address, tmp_path):
    """Numbers beyond the columns' range and texts with NUL are refused."""
    both = Api(address, Home(tmp_path / "home"))
    for size in (2**63, 10**30):
        assert both.call("POST", "/datasets", body={"place": "/data/a", "size": size}).status_code == 400
    assert both.call("POST", "/datasets", body={"place": "/data/\0c"}).status_code == 400
    nul = both.call("POST", "/datasets", body={"place": "/data/c", "comment": "a\0b"})
    assert nul.status_code == (201 if both.db.is_sqlite else 400), nul.data
    assert both.register(2, memory=2**70).status_code == 400
    assert both.register(3, memory=2**40).status_code == 201
    both.db.close()


def test_the_document_is_complete(api):
    """Each operation has an id of its own, needs a token, requires its body, and its errors have the one shape."""
    document = json.loads(api.app.test_client().get("/api/v1/openapi.json").data)
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for one in operations:
        assert one["security"] == [{"token": []}]
        assert one.get("requestBody", {"required": True})["required"]
        schema = one["responses"]["400"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorReply"}
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert names <= set(document["components"]["schemas"])


def test_query_parameters_are_those_that_are_read():
    """The document's query parameters are, over all, those that the routes' code reads."""
    folder = Path(str(routes.__file__)).parent
    read = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"read_text", "request.args.get"}:
                read |= {one.value for one in node.args if isinstance(one, ast.Constant)}
    described = {name for names in QUERIES.values() for name in names}
    assert read <= described
