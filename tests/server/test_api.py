"""The HTTP API: who may call what, one error shape, lists by page, and the monitor behind its form."""

from __future__ import annotations

import json
import re

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.server.app import create_app
from p3s.server.auth import NEEDS, Role
from p3s.server.models import token, workflow
from p3s.server.secrets import hash_token
from p3s.settings import Home, ServerSettings
from tests.support.api import UUID, Api
from tests.support.databases import copy_sqlite


@pytest.fixture
def api(tmp_path, sqlite_template):
    made = Api(copy_sqlite(sqlite_template, tmp_path), Home(tmp_path / "home"))
    yield made
    made.db.close()


def open_monitor(client):
    """Load the page with its form and return the form's mark."""
    found = re.search(r'name="mark" value="([^"]+)"', client.get("/").get_data(as_text=True))
    assert found is not None
    return found[1]


def list_routes(api):
    """Return (method, path, endpoint) of every route, with ids filled in."""
    return [
        (method, re.sub(r"<[^>]+>", "0" * 8, re.sub(r"<any\((\w+)[^>]*>", r"\1", rule.rule)), rule.endpoint)
        for rule in api.app.url_map.iter_rules()
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
    ]


def test_every_route_refuses_who_may_not(api):
    """Walking all routes with each role and with none, only the roles of the table pass the door."""
    client = api.app.test_client()
    for method, path, endpoint in list_routes(api):
        if endpoint in {"monitor.login", "monitor.logout"}:
            continue  # Forms; their own tests knock at them.
        for role in (None, *api.tokens):
            headers = {"Authorization": f"Bearer {api.tokens[role]}"} if role else {}
            status = client.open(path, method=method, headers=headers).status_code
            needed = NEEDS[endpoint]
            admitted = Role.ANYONE in needed or role in needed
            if role is None and not admitted:
                assert status == 401, (method, path)
            elif not admitted:
                # A pilot's own calls are refused by the secret they lack.
                assert status in {401, 403}, (method, path, role)
            else:
                assert status not in {401, 403}, (method, path, role)


def test_a_route_without_a_role_stops_the_start(api, monkeypatch, tmp_path):
    """The application refuses to start when a route does not say what it needs."""
    monkeypatch.delitem(NEEDS, "api.status")
    with pytest.raises(RuntimeError, match=r"api\.status"):
        create_app(api.db, ServerSettings(database="", home=Home(tmp_path)))


def test_errors_have_one_shape(api):
    """Bad bodies, unknown ids and unknown paths answer the same JSON shape with a request id."""
    answers = [
        (api.call("POST", "/workflows", body={"uuid": "no", "colour": "red"}), 400, "bad-input"),
        (api.call("GET", "/workflows/abcd1234"), 404, "not-found"),
        (api.call("GET", "/nothing"), 404, "not-found"),
        (api.call("PUT", "/workflows"), 405, "bad-input"),
        (api.call("GET", "/jobs?limit=0"), 400, "bad-input"),
        (api.call("GET", "/jobs?cursor=x"), 400, "bad-input"),
        (api.call("GET", "/status", None), 401, "no-token"),
        (api.call("GET", "/status", secret="p3s_wrong"), 401, "no-token"),
        (api.call("POST", "/jobs", Role.VIEWER, {}), 403, "not-allowed"),
    ]
    for answer, status, kind in answers:
        error = answer.get_json()["error"]
        assert (answer.status_code, error["kind"]) == (status, kind), error
        assert error["message"]
        assert len(error["request_id"]) == 12 or answer.status_code in {404, 405}
        assert isinstance(error["problems"], list)


def test_problems_are_all_listed_with_their_place(api):
    """A bad text answers every problem with file, line and column; a bad body with the field."""
    answer = api.load(text="name: x\njobs:\n  a: {rum: x}\n  b: {needs: [c], run: x}\n", file="x.yaml")
    problems = answer.get_json()["error"]["problems"]
    assert {problem["line"] for problem in problems} >= {3, 4}
    assert all(problem["file"] == "x.yaml" for problem in problems)
    body = api.call("POST", "/workflows", body={"uuid": "no", "colour": "red"}).get_json()["error"]["problems"]
    assert {problem["where"] for problem in body} >= {"uuid", "colour"}


def test_not_json_is_told(api):
    """A body that is no JSON gets a clear 400."""
    headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"}
    for path in ("workflows", "jobs", "datasets", "pilots"):
        answer = api.app.test_client().post(f"/api/v1/{path}", data=b"{not json", headers=headers)
        assert answer.status_code == 400, answer.data


def test_load_show_and_list(api):
    """A load answers 201 and then 200; the workflow, its jobs and its graph can be read."""
    first, again = api.load(), api.load()
    assert (first.status_code, again.status_code) == (201, 200)
    view = api.call("GET", f"/workflows/{UUID % 1}").get_json()
    assert (view["owner"], view["counts"]) == ("submitter", {"defined": 1, "waiting": 1})
    assert api.call("GET", "/workflows/11111111").get_json()["uuid"] == UUID % 1
    assert api.call("GET", "/workflows/@last", Role.SUBMITTER).get_json()["uuid"] == UUID % 1
    graph = api.call("GET", "/workflows/@last/graph", Role.SUBMITTER).get_json()
    assert graph["edges"] == [{"source": "job:a", "target": "job:b", "partial": False}]
    shown = api.call("GET", f"/jobs/{UUID % 1}/b").get_json()
    assert shown["why"] == "It waits for job a (defined)."


def test_what_is_known_is_not_sent_again(api):
    """An answer has an ETag; whoever brings it back gets 304 without a body, until something changed."""
    api.load()
    headers = {"Authorization": f"Bearer {api.tokens[Role.VIEWER]}"}
    for path in ("/workflows?limit=5", f"/workflows/{UUID % 1}", f"/workflows/{UUID % 1}/graph", "/dags/small"):
        first = api.app.test_client().get(f"/api/v1{path}", headers=headers)
        known = headers | {"If-None-Match": first.headers["ETag"]}
        again = api.app.test_client().get(f"/api/v1{path}", headers=known)
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        stranger = api.app.test_client().get(f"/api/v1{path}", headers={"If-None-Match": first.headers["ETag"]})
        assert stranger.status_code == 401
    api.call("POST", f"/workflows/{UUID % 1}/cancel", body={})
    known = headers | {"If-None-Match": api.call("GET", "/dags/small").headers["ETag"]}
    assert api.app.test_client().get(f"/api/v1/workflows/{UUID % 1}", headers=known).status_code == 200


def test_lists_come_by_page(api):
    """A cursor leads from page to page, newest first, without gaps or repeats."""
    for number in range(1, 8):
        api.load(number)
    seen, path = [], "/workflows?limit=3"
    while path:
        page = api.call("GET", path).get_json()
        seen += [item["uuid"] for item in page["items"]]
        path = f"/workflows?limit=3&cursor={page['next']}" if page["next"] else ""
    assert seen == [UUID % number for number in range(7, 0, -1)]


def test_prefix_that_fits_two_is_refused(api):
    """A prefix of several ids is refused with the ids that it fits."""
    api.load(1)
    api.load(2)
    error = api.call("GET", "/workflows/11111111").get_json()["error"]
    assert error["kind"] == "ambiguous"


def test_submitters_change_only_what_is_theirs(api):
    """Another submitter cannot cancel or delete; an admin can."""
    api.load()
    other = api.make_token(Role.SUBMITTER, "other")
    assert api.call("POST", f"/workflows/{UUID % 1}/cancel", body={}, secret=other).status_code == 403
    assert api.call("DELETE", f"/workflows/{UUID % 1}", secret=other).status_code == 403
    answer = api.call("POST", f"/workflows/{UUID % 1}/cancel", Role.ADMIN, {})
    assert answer.get_json()["state"] == "cancelled"
    assert api.call("DELETE", f"/workflows/{UUID % 1}", Role.ADMIN).status_code == 204


def test_ended_tokens_are_refused(api):
    """Expired and revoked tokens are refused at once."""
    for field in ("expires", "revoked"):
        secret = api.make_token(Role.ADMIN, field, **{field: read_clock() - 1})
        assert api.call("GET", "/status", secret=secret).status_code == 401


def test_a_pilot_secret_opens_its_own_calls_only(api):
    """A pilot's secret exchanges for that pilot and reads bundles, nothing else."""
    body = {"uuid": UUID % 9, "host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1}
    secret = api.call("POST", "/pilots", Role.PILOT, body).get_json()["secret"]
    assert api.call("POST", f"/pilots/{UUID % 9}/exchange", body={}, secret=secret).status_code == 200
    body["uuid"] = UUID % 8
    api.call("POST", "/pilots", Role.PILOT, body)
    assert api.call("POST", f"/pilots/{UUID % 8}/exchange", body={}, secret=secret).status_code == 401
    assert api.call("GET", "/jobs", secret=secret).status_code == 403


def test_answers_hold_no_secret(api):
    """Neither tokens nor secrets are in any view of pilots and jobs."""
    body = {"uuid": UUID % 9, "host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1}
    secret = api.call("POST", "/pilots", Role.PILOT, body).get_json()["secret"]
    api.load()
    claim = {"claim": {"number": 1, "want": 1, "cpus": 1}}
    order = api.call("POST", f"/pilots/{UUID % 9}/exchange", body=claim, secret=secret).get_json()["jobs"][0]
    text = "".join(
        api.call("GET", path).get_data(as_text=True)
        for path in ("/pilots", f"/pilots/{UUID % 9}", "/jobs", f"/jobs/{order['job']}", "/workflows")
    )
    assert order["token"] not in text
    assert secret not in text
    assert hash_token(secret) not in text


def test_openapi_document_names_all_routes(api):
    """The OpenAPI 3.1 document is made from the code and has every route of the API."""
    document = json.loads(api.app.test_client().get("/api/v1/openapi.json").data)
    assert document["openapi"] == "3.1.0"
    known = {re.sub(r"\{[^}]+\}", "X", path) for path in document["paths"]}
    for rule in api.app.url_map.iter_rules():
        if rule.endpoint.startswith("api."):
            assert re.sub(r"<[^>]+>", "X", rule.rule) in known


def test_monitor_asks_for_a_token(api):
    """The page shows a form, refuses a wrong or a pilot's token, and opens with one that reads."""
    client = api.app.test_client()
    assert b'name="token"' in client.get("/").data
    mark = open_monitor(client)
    assert client.post("/login", data={"token": "p3s_wrong", "mark": mark}).status_code == 401
    assert client.post("/login", data={"token": api.tokens[Role.PILOT], "mark": mark}).status_code == 403
    answer = client.post("/login", data={"token": api.tokens[Role.VIEWER], "mark": mark})
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert api.tokens[Role.VIEWER] not in cookie
    api.load()
    api.db.write(lambda connection: connection.execute(sa.update(workflow).values(name="<script>")))
    page = client.get("/workflows")
    assert b"11111111" in page.data
    assert b"<script>" not in page.data
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    client.post("/logout", data={"mark": open_monitor(client)})
    assert b'name="token"' in client.get("/").data


def test_revoked_token_ends_the_session(api):
    """A session of a token that is revoked is closed at the next look."""
    client = api.app.test_client()
    client.post("/login", data={"token": api.tokens[Role.VIEWER], "mark": open_monitor(client)})
    assert b"Log out" in client.get("/").data
    api.db.write(lambda connection: connection.execute(sa.update(token).values(revoked=1.0)))
    assert b'name="token"' in client.get("/").data


def test_surprises_are_logged_not_shown(api, monkeypatch, caplog):
    """An unforeseen failure answers a request id, and only the log has the cause."""

    def explode(*_args, **_kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("p3s.server.api.system.count_services", explode)
    answer = api.call("GET", "/status")
    error = answer.get_json()["error"]
    assert answer.status_code == 500
    assert "secret detail" not in answer.get_data(as_text=True)
    assert error["request_id"] in error["message"]
    assert "secret detail" in caplog.text
    assert error["request_id"] in caplog.text


def test_blobs_are_checked_by_content(api):
    """A file is stored under the SHA-256 of its content only, and read back as it was."""
    body = {"uuid": UUID % 9, "host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1}
    secret = api.call("POST", "/pilots", Role.PILOT, body).get_json()["secret"]
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    headers = {"Authorization": f"Bearer {secret}"}
    client = api.app.test_client()
    assert client.put(f"/api/v1/blobs/{'0' * 64}", data=b"{}", headers=headers).status_code == 400
    assert client.put(f"/api/v1/blobs/{digest}", data=b"{}", headers=headers).status_code == 204
    assert client.get(f"/api/v1/blobs/{digest}", headers=headers).data == b"{}"
    assert client.get(f"/api/v1/blobs/{'0' * 64}", headers=headers).status_code == 404


def test_who_deleted_a_dag_is_in_the_event_log(api):
    """A DAG that is gone leaves an event with its name and who deleted it."""
    api.load()
    assert api.call("DELETE", "/dags/small", Role.SUBMITTER).status_code == 204
    (event,) = api.call("GET", "/events?noun=dag&limit=10").get_json()["items"]
    assert (event["signal"], event["cause"]) == ("delete", "small, by submitter")
