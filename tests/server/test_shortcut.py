"""A plain call of a pilot, and a plain submission, go past Flask, and are answered as if they did not."""

from __future__ import annotations

import json
import logging
import re

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from p3s.errors import Unavailable
from p3s.server import shortcut
from p3s.server.auth import Role
from p3s.server.models import token
from p3s.server.usecases import exchange as calls
from p3s.server.usecases import standalone
from p3s.settings import Home
from p3s.wire import Claim
from tests.support.api import UUID, Api

PATH = f"/pilots/{UUID % 1}/exchange"
JOBS = {"jobs": [{"uuid": UUID % 1, "spec": {"payload": "/bin/true"}}]}


@pytest.fixture
def make_known(make_api):
    """Make an application with a registered pilot, whose secret has been seen; return both."""

    def make(**given):
        api = make_api(**given)
        secret = api.register().get_json()["secret"]
        assert api.call("POST", PATH, secret=secret, body={}).status_code == 200
        return api, secret

    return make


@pytest.fixture
def taken(monkeypatch):
    """Return the list of calls that take the shortcut."""
    found: list[str] = []

    def note(core, uuid, secret, body):
        found.append(uuid)
        return calls.exchange(core, uuid, secret, body)

    monkeypatch.setattr(shortcut, "exchange", note)
    return found


@pytest.fixture
def submitted(monkeypatch):
    """Return the owners of submissions that take the shortcut."""
    found: list[str] = []

    def note(core, body, owner, confirm):
        found.append(owner)
        return standalone.create_jobs(core, body, owner, confirm)

    monkeypatch.setattr(shortcut, "create_jobs", note)
    return found


def submit(api, body=None, role=Role.SUBMITTER, path="/jobs", **headers):
    """Submit a standalone job and return the answer."""
    sent = {"Authorization": f"Bearer {api.tokens[role]}"} | {name.replace("_", "-"): headers[name] for name in headers}
    return api.app.test_client().post(f"/api/v1{path}", json=JOBS if body is None else body, headers=sent)


def count_requests(api):
    """Return how many submissions were counted, by their status."""
    headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"}
    text = api.app.test_client().get("/metrics", headers=headers).text
    found = re.findall(r'^p3s_request_seconds_count{route="api.create_jobs",status="(\d+)"} (\S+)$', text, re.MULTILINE)
    return {status: float(number) for status, number in found}


def compare(short, whole, given):
    """Check that an answer is that of Flask, with an id of its own."""
    assert (short.status, short.data) == (whole.status, whole.data)
    ids = [answer.headers.pop("X-Request-Id") for answer in (short, whole)]
    assert ids == ["from-the-proxy-1"] * 2 if given else ids[0] != ids[1]
    assert dict(short.headers) == dict(whole.headers)


def test_a_plain_call_is_answered_in_the_same_way(make_known, taken, monkeypatch):
    """Body and headers are those that Flask gives, with and without a proxy and TLS."""
    for given in ({}, {"proxies": 1, "secure": True}):
        api, secret = make_known(**given)

        def ask(api=api, secret=secret):
            headers = {"Authorization": f"Bearer {secret}", "X-Request-Id": "from-the-proxy-1"}
            return api.app.test_client().post(f"/api/v1{PATH}", json={"running": []}, headers=headers)

        taken.clear()
        short = ask()
        assert taken == [UUID % 1]
        with monkeypatch.context() as patch:
            patch.setattr(shortcut, "_find_call", lambda *_: None)
            whole = ask()
        assert taken == [UUID % 1]
        compare(short, whole, given)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        pytest.param("GET", PATH, {}, b"{}", id="another method"),
        pytest.param("POST", f"{PATH}/more", {}, b"{}", id="another path"),
        pytest.param("POST", PATH.replace("1111-", "....-"), {}, b"{}", id="no uuid"),
        pytest.param("POST", PATH, {"Authorization": "Bearer p3s_other"}, b"{}", id="another secret"),
        pytest.param("POST", PATH, {"Authorization": ""}, b"{}", id="no secret"),
        pytest.param("POST", PATH, {}, b"[" + b" " * 2000 + b"]", id="too much"),
        pytest.param("POST", f"/pilots/{UUID % 2}/exchange", {}, b"{}", id="an unknown pilot"),
    ],
)
def test_what_is_odd_goes_through_flask(make_known, taken, method, path, headers, body):
    """Nothing but a plain call of a pilot that was let in takes the shortcut; the error is the usual one."""
    api, secret = make_known(max_body=1000)
    sent = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"} | headers
    answer = api.app.test_client().open(f"/api/v1{path}", method=method, headers=sent, data=body)
    assert answer.status_code >= 400
    assert answer.get_json()["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert taken == []


def test_a_body_of_unknown_length_goes_through_flask(make_known, taken):
    """A body in pieces has no length that it could be read by."""
    api, secret = make_known()
    sent = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    client = api.app.test_client()
    for length in ("", "-1", "1e2"):
        client.post(f"/api/v1{PATH}", headers=sent, data=b"{}", environ_overrides={"CONTENT_LENGTH": length})
    assert taken == []


def test_where_each_request_is_a_line_none_is_cut_short(make_known, taken, submitted, caplog):
    """At level info a call and a submission have their lines."""
    api, secret = make_known()
    with caplog.at_level(logging.INFO, "p3s.server.door"):
        assert api.call("POST", PATH, secret=secret, body={}).status_code == 200
        assert submit(api).status_code == 201
    assert taken == submitted == []
    assert PATH in caplog.text
    assert "/api/v1/jobs" in caplog.text


def test_a_bad_body_is_explained(make_known, taken):
    """Each problem has its place, also behind the shortcut."""
    api, secret = make_known()
    answer = api.call("POST", PATH, secret=secret, body={"ack": "no", "nonsense": 1})
    assert answer.status_code == 400
    assert {problem["where"] for problem in answer.get_json()["error"]["problems"]} == {"ack", "nonsense"}
    assert taken == []


def make_invalid():
    """Return the error of a body that is none."""
    with pytest.raises(ValidationError) as caught:
        Claim.model_validate_json("{}")
    return caught.value


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("busy"), 503), (KeyError("on purpose"), 500), (make_invalid(), 500)]
)
def test_what_is_raised_is_answered_once(make_known, monkeypatch, error, status):
    """An error of a call is answered by Flask, and the call is not made again for that."""
    api, secret = make_known()
    made = []

    def fail(*_):
        made.append(1)
        raise error

    monkeypatch.setattr(shortcut, "exchange", fail)
    monkeypatch.setattr(calls, "exchange", fail)
    answer = api.call("POST", PATH, secret=secret, body={})
    assert answer.status_code == status
    assert made == [1]
    assert json.loads(answer.data)["error"]["request_id"] == answer.headers["X-Request-Id"]


def test_a_secret_that_is_no_more_is_refused(make_known, taken):
    """A pilot that registers anew has a new secret; the old one, seen before, is refused by the call itself."""
    api, secret = make_known()
    again = api.register().get_json()["secret"]
    assert api.call("POST", PATH, secret=secret, body={}).status_code == 401
    assert taken == [UUID % 1]
    assert api.call("POST", PATH, secret=again, body={}).status_code == 200
    assert api.call("GET", "/pilots", Role.VIEWER).status_code == 200


def test_a_plain_submission_is_answered_in_the_same_way(make_api, submitted, monkeypatch):
    """Body, headers and counts are those that Flask gives, with and without a proxy and TLS; a repeat is no new job."""
    for given in ({}, {"proxies": 1, "secure": True}):
        api = make_api(**given)
        submitted.clear()
        short = submit(api, X_Request_Id="from-the-proxy-1")
        assert submitted == ["submitter"]
        assert count_requests(api) == {"201": 1}
        with monkeypatch.context() as patch:
            patch.setattr(shortcut, "_find_submission", lambda *_: None)
            whole = submit(api, X_Request_Id="from-the-proxy-1")
        assert submitted == ["submitter"]
        assert count_requests(api) == {"201": 2}
        compare(short, whole, given)
        assert len(api.call("GET", "/jobs").get_json()["items"]) == 1


@pytest.mark.parametrize(
    ("status", "given"),
    [
        pytest.param(403, {"role": Role.VIEWER}, id="one who only reads"),
        pytest.param(401, {"Authorization": "Bearer p3s_other"}, id="another token"),
        pytest.param(401, {"Authorization": ""}, id="no token"),
        pytest.param(400, {"body": {"jobs": [{"uuid": "none"}]}}, id="a bad body"),
        pytest.param(413, {"body": {"jobs": ["x" * 2000]}}, id="too much"),
        pytest.param(404, {"path": "/jobs/"}, id="another path"),
        pytest.param(201, {"Idempotency_Key": "mine"}, id="a key"),
        pytest.param(201, {"Authorization": "bearer {}"}, id="another spelling"),
    ],
)
def test_an_odd_submission_goes_through_flask(make_api, submitted, status, given):
    """Whoever may not submit, or does so in another way, is answered by Flask, and counted there."""
    api = make_api(max_body=1000)
    if "Authorization" in given:
        given = given | {"Authorization": given["Authorization"].format(api.tokens[Role.SUBMITTER])}
    assert submit(api, **given).status_code == status
    assert submitted == []
    assert count_requests(api) == ({str(status): 1} if status != 404 else {})


def test_what_a_submission_raises_is_answered_once(make_api, monkeypatch):
    """Errors are answered by Flask, without another try, and the submission counts once towards its limit."""
    api = make_api(submissions=2)
    made = []

    def fail(*_):
        made.append(1)
        raise Unavailable("busy")

    with monkeypatch.context() as patch:
        patch.setattr(shortcut, "create_jobs", fail)
        patch.setattr(standalone, "create_jobs", fail)
        answer = submit(api)
    assert (answer.status_code, made) == (503, [1])
    assert answer.get_json()["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert submit(api).status_code == 201
    limited = submit(api)
    assert limited.status_code == 429
    assert "Retry-After" in limited.headers
    assert count_requests(api) == {"201": 1, "429": 1, "503": 1}


@pytest.mark.parametrize("fate", ["revoked", "expired", "gone"])
def test_a_token_that_has_ended_submits_no_more(address, tmp_path, submitted, fate):
    """What is remembered of a token is checked by the transaction that acts on it, whichever process ended it."""
    api = Api(address, Home(tmp_path / "home"))
    assert submit(api).status_code == 201
    mine = token.c.name == "submitter"
    ended = {
        "revoked": sa.update(token).where(mine).values(revoked=1.0),
        "expired": sa.update(token).where(mine).values(expires=1.0),
        "gone": sa.delete(token).where(mine),
    }
    api.db.write(lambda connection: connection.execute(ended[fate]))
    other = {"jobs": [{"uuid": UUID % 2, "spec": {"payload": "/bin/true"}}]}
    for _ in range(2):
        assert submit(api, other).status_code == 401
    assert submitted[:2] == ["submitter"] * 2
    assert api.call("GET", f"/jobs/{UUID % 2}").status_code == 404
    assert api.call("GET", f"/jobs/{UUID % 1}").status_code == 200
    api.db.close()
