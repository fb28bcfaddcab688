"""Each limit of docs/security.md: what is one above it is refused, and the answer says what the limit is."""

from __future__ import annotations

import json

import pytest

from p3s.engine.families import MAX_MEMBERS
from p3s.engine.yamltext import MAX_DEPTH, MAX_TEXT
from p3s.server.auth import Role
from p3s.settings import Home
from p3s.wire import TAIL_BYTES
from tests.support.api import UUID, Api
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


@pytest.mark.parametrize("bad", ["a\nb", "a\x1b[2Jb", "a\x00b"], ids=repr)
def test_names_have_no_control_characters(api, bad):
    """Hosts, sites and places of requests cannot forge lines of logs or obey terminals."""
    for field in ("host", "site", "name", "version"):
        assert api.register(8, **{field: bad}).status_code == 400, field
    assert api.call("POST", "/datasets", body={"place": "/data/x", "site": bad}).status_code == 400
    assert api.call("POST", "/datasets", body={"place": f"/data/{bad}"}).status_code == 400
    assert api.load(7, site=bad).status_code == 400
