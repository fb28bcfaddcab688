"""What every request passes: limits, forms, headers, ids, health, metrics, the log."""

from __future__ import annotations

import json
import logging
import math

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from p3s.errors import TooMany
from p3s.server.auth import NEEDS, Role
from p3s.server.limits import Buckets, Limiter
from p3s.server.logs import JsonFormatter, TextFormatter
from p3s.server.models import meta
from p3s.server.serve import _warn_of_exposure
from p3s.settings import Home, ServerSettings
from tests.server.test_api import list_routes, open_monitor
from tests.support.api import UUID


@given(st.lists(st.floats(0, 10), max_size=60), st.integers(1, 20))
def test_no_minute_has_more_than_two_buckets(pauses, size):
    """Within any minute at most a full bucket and what flowed in are taken, and the wait that is told suffices."""
    now, taken, waits = 0.0, [], []
    limiter = Limiter("things", size, Buckets(), lambda: now)
    for pause in pauses:
        now += pause
        try:
            limiter.take("one")
        except TooMany as error:
            waits.append(error.retry_after)
            now += error.retry_after + 1e-6
            limiter.take("one")
        taken.append(now)
    assert all(0 < wait <= 60 / size + 1e-6 for wait in waits)
    for start in taken:
        assert sum(start <= moment < start + 60 for moment in taken) <= 2 * size
    limiter.take("another")


def test_submissions_are_limited_by_token(make_api):
    """A token over its rate is answered 429 with Retry-After; reading and other tokens go on."""
    api = make_api(submissions=2)
    assert [api.load(number).status_code for number in (1, 2, 3)] == [201, 201, 429]
    answer = api.load(3)
    error = answer.get_json()["error"]
    assert error["kind"] == "too-many"
    assert 0 < int(answer.headers["Retry-After"]) <= 31
    assert api.call("GET", f"/workflows/{UUID % 3}").status_code == 404
    assert api.load(3, Role.ADMIN).status_code == 201


def test_logins_are_limited_by_address(make_api):
    """Guessing at the form ends in 429, even with the right token then."""
    api = make_api(logins=3)
    client = api.app.test_client()
    mark = open_monitor(client)
    codes = [client.post("/login", data={"token": "p3s_no", "mark": mark}).status_code for _ in range(4)]
    assert codes == [401, 401, 401, 429]
    assert client.post("/login", data={"token": api.tokens[Role.VIEWER], "mark": mark}).status_code == 429


def test_a_link_to_the_form_leads_in(make_api):
    """The form has an address; whoever is logged in already, or may read without, is sent on to the overview."""
    api = make_api()
    client = api.app.test_client()
    shown = client.get("/login")
    assert shown.status_code == 200
    assert b'name="token"' in shown.data
    client.post("/login", data={"token": api.tokens[Role.VIEWER], "mark": open_monitor(client)})
    for reader in (client, make_api(open_reading=True).app.test_client()):
        answer = reader.get("/login")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_forms_from_elsewhere_are_refused(make_api):
    """A form without the session's mark is refused: a foreign page cannot log anyone in or out."""
    api = make_api()
    client = api.app.test_client()
    good = {"token": api.tokens[Role.VIEWER]}
    assert client.post("/login", data=good).status_code == 403
    stranger = open_monitor(api.app.test_client())
    assert client.post("/login", data=good | {"mark": stranger}).status_code == 403
    assert client.post("/login", data=good | {"mark": open_monitor(client)}).status_code == 303
    assert client.post("/logout").status_code == 403
    assert b"Log out" in client.get("/").data


def test_a_forged_session_is_none(make_api):
    """A cookie that this server did not sign, or whose signature is bent, opens nothing."""
    api = make_api()
    client = api.app.test_client()
    client.post("/login", data={"token": api.tokens[Role.VIEWER], "mark": open_monitor(client)})
    cookie = client.get_cookie("p3s")
    assert cookie is not None
    client.set_cookie("p3s", cookie.value[:-4] + ("aaaa" if not cookie.value.endswith("aaaa") else "bbbb"))
    assert b'name="token"' in client.get("/").data


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_are_for_tls_where_there_is_tls(make_api, secure):
    """The session's cookie is HttpOnly and SameSite, and Secure if the server is reached by TLS."""
    answer = make_api(secure=secure).app.test_client().get("/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ("Secure" in cookie) is secure
    assert ("Strict-Transport-Security" in answer.headers) is secure


def test_every_answer_has_the_headers(make_api):
    """Each answer, also of errors, forbids sniffing, frames, foreign content and referrers, and has an id."""
    api = make_api()
    client = api.app.test_client()
    ids = set()
    for method, path, _ in [*list_routes(api), ("GET", "/nothing", ""), ("PUT", "/healthz", "")]:
        answer = client.open(path, method=method)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        ids.add(answer.headers["X-Request-Id"])
        if answer.status_code >= 400 and answer.is_json:
            assert answer.get_json()["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert len(ids) == len(list_routes(api)) + 2


def test_a_proxy_is_believed_only_when_trusted(make_api):
    """A request's id and the caller's address come from headers only with trusted proxies."""
    sent = {"X-Request-Id": "from-the-proxy-1", "X-Forwarded-For": "192.0.2.7"}
    answer = make_api(proxies=1).app.test_client().get("/healthz", headers=sent)
    assert answer.headers["X-Request-Id"] == "from-the-proxy-1"
    bent = make_api(proxies=1).app.test_client().get("/healthz", headers={"X-Request-Id": "a b\tc"})
    assert bent.headers["X-Request-Id"] != "a b\tc"
    assert make_api().app.test_client().get("/healthz", headers=sent).headers["X-Request-Id"] != "from-the-proxy-1"


def test_logins_are_counted_by_the_callers_own_address(make_api):
    """Behind a trusted proxy each caller has tries of its own; an untrusted header gives none."""
    for proxies, last in ((1, 401), (0, 429)):
        api = make_api(proxies=proxies, logins=1)
        client = api.app.test_client()
        mark = open_monitor(client)
        for number, expected in ((1, 401), (2, last)):
            headers = {"X-Forwarded-For": f"192.0.2.{number}"}
            answer = client.post("/login", data={"token": "p3s_no", "mark": mark}, headers=headers)
            assert answer.status_code == expected, proxies


def test_open_reading_opens_reading_only(make_api):
    """With open reading anyone reads, page and API; changes still need a token, and a bad token is still refused."""
    api = make_api(open_reading=True)
    for method, path, endpoint in list_routes(api):
        if endpoint.startswith("api."):
            code = api.app.test_client().open(path, method=method).status_code
            readable = method == "GET" and Role.VIEWER in NEEDS[endpoint]
            assert (code != 401) is readable, (method, path, code)
    assert api.call("GET", "/status", secret="p3s_wrong").status_code == 401
    assert b"anyone" in api.app.test_client().get("/").data
    assert api.call("GET", "/tokens", None).status_code == 401


def test_ready_means_the_tables_are_there(make_api):
    """The server is ready with its tables, and says 503 without the newest ones; it is alive in both cases."""
    api = make_api()
    client = api.app.test_client()
    assert client.get("/readyz").status_code == 200
    api.db.write(lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'")))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["error"]["kind"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
    assert client.get("/healthz").status_code == 200


def scrape(api):
    """Return all samples of the metrics by name and labels."""
    answer = api.app.test_client().get("/metrics", headers={"Authorization": f"Bearer {api.tokens[Role.VIEWER]}"})
    assert answer.status_code == 200
    families = list(text_string_to_metric_families(answer.get_data(as_text=True)))
    assert all(family.documentation for family in families)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_metrics_count_what_is_there(make_api):
    """Prometheus' own parser reads the metrics, and they follow a load and a claim."""
    api = make_api()
    api.load()
    secret = api.register(1).get_json()["secret"]
    before = scrape(api)
    assert before["p3s_jobs", "default", "defined"] == 1
    assert before["p3s_claim_seconds_count",] == 0
    assert before["p3s_queue_age_seconds",] >= 0
    claim = {"claim": {"number": 1, "want": 1, "cpus": 1}}
    api.call("POST", f"/pilots/{UUID % 1}/exchange", body=claim, secret=secret)
    # Counting may have been dear on a busy machine; the sweeper would count again in a moment.
    api.core.counts.count()
    after = scrape(api)
    assert after["p3s_claim_seconds_count",] == 1
    assert after["p3s_jobs", "default", "dispatched"] == 1
    assert after["p3s_pilots", "default", "running"] == 1
    assert after["p3s_request_seconds_count", "201", "api.load_workflow"] == 1
    assert after["p3s_heartbeat_age_seconds",] < 60
    assert not math.isnan(sum(after.values()))


def test_metrics_need_a_token(make_api):
    """Metrics are read with a token that reads, and with none they are refused."""
    api = make_api()
    assert api.app.test_client().get("/metrics").status_code == 401


def make_record(message, **fields):
    """Return a log record."""
    record = logging.LogRecord("p3s.test", logging.INFO, "f", 1, message, (), None)
    record.__dict__.update(fields)
    return record


def test_json_lines_are_json_without_tokens(make_api):
    """A line is one JSON object with the request's id and its fields; whatever looks like a token is hidden."""
    api = make_api()
    with api.app.test_request_context():
        from flask import g

        g.request_id = "abc123abc123"
        secret = api.tokens[Role.ADMIN]
        line = JsonFormatter().format(make_record(f"a\nline with {secret}", fields={"status": 200}))
        text = TextFormatter().format(make_record(f"with {secret}"))
    found = json.loads(line)
    assert "\n" not in line
    assert found["request_id"] == "abc123abc123"
    assert (found["status"], found["level"], found["logger"]) == (200, "info", "p3s.test")
    assert secret not in line
    assert secret not in text
    assert "abc123abc123" in text


def test_a_line_stays_one_line():
    """Line ends, control characters and marks of direction that a caller chose are written out."""
    message = "a\nb\x1b[2J\u202e\u2028\x9b\u00e9"
    text = TextFormatter().format(make_record(message))
    assert text.endswith(r"a\nb\u001b[2J\u202e\u2028\u009b" + "\u00e9")
    line = JsonFormatter().format(make_record(message, fields={"path": message}))
    assert text.isprintable()
    assert line.isprintable()
    assert json.loads(line)["path"] == message


def test_the_log_says_who_asked_for_what(make_api, caplog):
    """At level info each request is a line with the token's name, never the token."""
    api = make_api()
    caplog.set_level(logging.INFO, logger="p3s.server.door")
    api.call("GET", "/status?x=%0Aforged", Role.VIEWER)
    assert "viewer: GET '/api/v1/status' 200" in caplog.text
    assert api.tokens[Role.VIEWER] not in caplog.text


def test_the_servers_secret_is_in_no_answer(make_api):
    """What signs sessions and attempt tokens is shown nowhere."""
    api = make_api()
    with api.db.read() as connection:
        secret = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "secret"))
    assert secret
    for method, path, _ in list_routes(api):
        if method == "GET":
            headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"}
            assert secret not in api.app.test_client().get(path, headers=headers).get_data(as_text=True)


@pytest.mark.parametrize(
    ("host", "secure", "warned"),
    [
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("farm.example.org", False, True),
        ("0.0.0.0", True, False),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("localhost", False, False),
    ],
)
def test_tokens_in_the_clear_are_warned_of(tmp_path, caplog, host, secure, warned):
    """Whoever listens elsewhere than on loopback, with no TLS of its own or in front, is told at the start."""
    settings = ServerSettings(database="sqlite://", home=Home(tmp_path), secure=secure)
    with caplog.at_level("WARNING", logger="p3s"):
        _warn_of_exposure(settings, host)
    assert bool(caplog.messages) is warned
    assert all("without TLS" in message for message in caplog.messages)
