"""Each limit of docs/security.md: what is one above it is refused, and the answer says what the limit is."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from p3s import wire
from p3s.engine.families import MAX_MEMBERS
from p3s.engine.names import MAX_HOST, MAX_LABEL, MAX_NAME, MAX_VERSION
from p3s.engine.spec import Spec
from p3s.engine.yamltext import MAX_DEPTH, MAX_TEXT
from p3s.server.auth import Role
from p3s.settings import Home
from p3s.wire import TAIL_BYTES
from p3s.wire.base import Request
from tests.support.api import SMALL, UUID, Api
from tests.support.databases import copy_sqlite

ADDRESS = f"/pilots/{UUID % 9}/exchange"
SIGHTING = {"rule": "r", "place": "/data/seen", "stamp": "1", "size": 1, "fate": "too-small"}
REPORT = {"attempt": UUID % 1, "token": "x", "kind": "started"}
CHUNK = {"attempt": UUID % 1, "token": "x", "stream": "stdout", "offset": 0}
BODY = 40_000_000
JOBS = 20


def load(text):
    """Return a request that loads a workflow of a text."""
    return "POST", "/workflows", {"uuid": UUID % 1, "text": text}


def make_matrix(*axes):
    """Return a workflow of one job with a matrix whose axes have so many values."""
    matrix = {f"a{number}": list(range(size)) for number, size in enumerate(axes)}
    return f"name: x\njobs: {{j: {{matrix: {json.dumps(matrix)}, run: x}}}}\n"


#: What is limited, a request that is above the limit, the status, and words of the answer.
LIMITS = [
    ("body", ("POST", "/events", {"name": "a", "message": "m" * BODY}), 413, "exceeds"),
    ("text", load("#" * (MAX_TEXT + 1)), 400, f"{MAX_TEXT:,}"),
    ("depth", load("name: x\njobs: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)), 400, f"{MAX_DEPTH}"),
    ("jobs", load(make_matrix(JOBS + 1)), 400, f"{JOBS}"),
    ("matrix", load(make_matrix(1000, 101)), 400, f"{MAX_MEMBERS:,}"),
    ("files seen", ("POST", "/arrivals", {"service": "s", "items": [SIGHTING] * 1001}), 400, "1000"),
    ("jobs at once", ("POST", "/jobs", {"jobs": [{"uuid": UUID % 2, "spec": {"run": "x"}}] * 1001}), 400, "1000"),
    ("reports", ("POST", ADDRESS, {"reports": [REPORT] * 1001}), 400, "1000"),
    ("pieces of logs", ("POST", ADDRESS, {"logs": [CHUNK | {"data": ""}] * 1001}), 400, "1000"),
    ("log", ("POST", ADDRESS, {"logs": [CHUNK | {"data": "YWFh" * (TAIL_BYTES // 3 + 1)}]}), 400, f"{TAIL_BYTES}"),
    ("page", ("GET", "/jobs?limit=51", None), 400, "50"),
]


@pytest.fixture(scope="module")
def api(tmp_path_factory, sqlite_template):
    folder = tmp_path_factory.mktemp("bounds")
    given = {"max_body": BODY, "max_jobs": JOBS, "submissions": 0}
    made = Api(copy_sqlite(sqlite_template, folder), Home(folder / "home"), **given)
    yield made
    made.db.close()


@pytest.fixture(scope="module")
def secret(api):
    return api.register(9).get_json()["secret"]


@pytest.mark.parametrize(("request_", "status", "words"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_what_is_above_a_limit_is_refused(api, secret, request_, status, words):
    """The one shape of errors, with the limit in it, and nothing was made."""
    method, path, body = request_
    answer = api.call(method, path, Role.ADMIN, body, secret if path == ADDRESS else "")
    error = answer.get_json()["error"]
    assert answer.status_code == status, error
    assert words in error["message"], error["message"][:300]
    assert api.call("GET", "/workflows?limit=5").get_json()["items"] == []


@pytest.mark.parametrize("bad", ["a\nb", "a\x1b[2Jb", "a\x00b", "a\x9b2Jb"], ids=repr)
def test_names_have_no_control_characters(api, bad):
    """Hosts, sites and places of requests cannot forge lines of logs or obey terminals."""
    for field in ("host", "site", "name", "version"):
        assert api.register(8, **{field: bad}).status_code == 400, field
    assert api.call("POST", "/datasets", body={"place": "/data/x", "site": bad}).status_code == 400
    assert api.call("POST", "/datasets", body={"place": f"/data/{bad}"}).status_code == 400
    assert api.load(7, site=bad).status_code == 400
    if "\0" not in bad:
        assert api.call("POST", f"/hosts/{quote(bad)}/ban", body={}).status_code == 400
        beat = {"instance": UUID % 1, "host": "h", "pid": 1, "period": 1}
        assert api.call("POST", f"/services/{quote(bad)}/beat", body=beat).status_code == 400


@pytest.fixture
def either(address, tmp_path):
    made = Api(address, Home(tmp_path / "home"), submissions=0)
    yield made
    made.db.close()


#: What a column keeps, field by field: as long as it may be, and one more.
WIDE: list[tuple[str, dict[str, object], str, int]] = [
    ("/pilots", {"host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1}, "name", MAX_NAME),
    ("/pilots", {"host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1}, "site", MAX_LABEL),
    ("/pilots", {"pid": 1, "version": "0", "slots": 1, "cpus": 1}, "host", MAX_HOST),
    ("/pilots", {"host": "h", "pid": 1, "slots": 1, "cpus": 1}, "version", MAX_VERSION),
    ("/workflows", {"text": SMALL}, "site", MAX_LABEL),
    ("/workflows", {"text": SMALL}, "key", MAX_NAME),
    ("/datasets", {"place": "/data/x"}, "site", MAX_LABEL),
    ("/services/s/beat", {"instance": UUID % 1, "pid": 1, "period": 1, "arriving": True}, "host", MAX_HOST),
    (
        "/services/s/beat",
        {"instance": UUID % 1, "pid": 1, "period": 1, "host": "h", "arriving": True},
        "kind",
        MAX_LABEL,
    ),
]


def test_bodies_admit_what_columns_keep(either):
    """On either database the longest text is kept, and one character more is told with its field."""
    for number, (path, body, field, width) in enumerate(WIDE):
        own = {"uuid": UUID % (100 + number)} if path in {"/pilots", "/workflows"} else {}
        answer = either.call("POST", path, body=body | own | {field: "x" * width})
        assert answer.status_code < 300, (path, field, answer.get_json())
        answer = either.call("POST", path, body=body | own | {field: "x" * (width + 1)})
        assert answer.status_code == 400, (path, field)
        assert [problem["where"] for problem in answer.get_json()["error"]["problems"]] == [field], path


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63], ids=str)
def test_numbers_that_no_column_keeps(api, number):
    """They are told with their fields, whichever database is behind."""
    answer = api.register(8, pid=number, cpus=number)
    assert answer.status_code == 400
    assert [problem["where"] for problem in answer.get_json()["error"]["problems"]] == ["pid", "cpus"]


def find_unbounded(schema, path, found):
    """Collect the texts and numbers of a JSON schema that may be of any length or size."""
    for part in schema.get("anyOf", []):
        find_unbounded(part, path, found)
    if isinstance(schema.get("items"), dict):
        find_unbounded(schema["items"], path, found)
    if schema.get("type") == "string" and not {"maxLength", "pattern", "enum", "const"} & set(schema):
        found.add(path)
    if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & set(schema):
        found.add(path)


#: Texts of any length: kept where there is room, compared only, or limited by rules of their own.
ROOMY = {
    "Accepts.jobtypes",
    "Accepts.users",
    "Adopt.below",
    "Adopt.workflow",
    "AttemptReport.token",
    "BundleFile.data",
    "LoadBody.text",
    "LogChunk.token",
    "OutputReport.name",
    "OutputReport.path",
    "RegisterBody.data",
}


def test_each_field_of_a_body_has_its_limit():
    """No body has a text or number without one, but those that are known to need none."""
    found: set[str] = set()
    for model in (getattr(wire, name) for name in wire.__all__):
        if isinstance(model, type) and issubclass(model, Request) and not issubclass(model, Spec):
            for field, schema in model.model_json_schema().get("properties", {}).items():
                find_unbounded(schema, f"{model.__name__}.{field}", found)
    assert found == ROOMY


def test_a_small_page(api):
    """Without a limit a list is as long as the largest page, where that is below 100."""
    assert api.core.settings.page < 100
    assert api.call("GET", "/jobs").status_code == 200
