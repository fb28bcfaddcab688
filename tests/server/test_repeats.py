"""Requests with an Idempotency-Key: done once, and answered the same however often they come, whatever they ask for."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.server.api.frame import KEYED
from p3s.server.auth import Role
from p3s.server.models import event, metadata, repeat, token
from p3s.server.transitions import repeats
from p3s.settings import Home
from tests.support.api import UUID, Api
from tests.support.databases import copy_sqlite
from tests.support.walk import PILOT, REQUESTS, prepare


@pytest.fixture
def api(address, tmp_path):
    made = Api(address, Home(tmp_path / "home"))
    yield made
    made.db.close()


@pytest.fixture
def lite(tmp_path, sqlite_template):
    made = Api(copy_sqlite(sqlite_template, tmp_path), Home(tmp_path / "home"))
    yield made
    made.db.close()


def send(api, method, path, body, key="k", secret=""):
    """Send a request with a key."""
    headers = {"Authorization": f"Bearer {secret or api.tokens[Role.ADMIN]}", "Idempotency-Key": key}
    return api.app.test_client().open("/api/v1" + path, method=method, headers=headers, json=body)


def read_tables(api):
    """Return all rows of all tables."""
    with api.db.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for table in metadata.sorted_tables
        }


def count_events(api, **given):
    """Return how many events there are of a kind."""
    which = [event.c[name] == value for name, value in given.items()]
    with api.db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(event).where(*which))


def test_a_repeat_is_answered_the_same_and_changes_nothing(api):
    """Of every route that takes a key, in a life of all objects."""
    assert {f"api.{name}" for name, *_ in REQUESTS} == KEYED
    for number, (name, method, path, body, before) in enumerate(REQUESTS):
        for step in before:
            assert prepare(api, *step).status_code < 300, name
        first = send(api, method, path, body, f"key-{number}")
        assert first.status_code < 300, (name, first.data)
        assert "Idempotency-Replayed" not in first.headers, name
        tables = read_tables(api)
        again = send(api, method, path, body, f"key-{number}")
        assert (again.status_code, again.mimetype) == (first.status_code, first.mimetype), name
        assert again.get_json(silent=True) == first.get_json(silent=True), name
        assert again.headers["Idempotency-Replayed"] == "true", name
        assert read_tables(api) == tables, name


def test_a_key_belongs_to_one_request_of_one_caller(lite):
    """The same key with another body, path or query is a conflict; other callers have keys of their own."""
    assert send(lite, "POST", "/events", {"name": "a", "message": "m"}).status_code == 200
    for path, body in (("/events", {"name": "b", "message": "m"}), ("/events?x=1", {"name": "a", "message": "m"})):
        answer = send(lite, "POST", path, body)
        assert answer.status_code == 409
        assert "Idempotency-Key" in answer.get_json()["error"]["message"]
    other = send(lite, "POST", "/events", {"name": "b", "message": "m"}, secret=lite.tokens[Role.SUBMITTER])
    assert other.status_code == 200
    for bad in ("a b", "x" * 201, "\u00e9"):
        assert send(lite, "POST", "/events", {"name": "a", "message": "m"}, bad).status_code == 400
    assert send(lite, "GET", "/status", None, "a b").status_code == 200


def test_what_was_refused_can_be_sent_again(lite):
    """A refusal changes nothing and is not kept: the same request succeeds when it may."""
    path = f"/workflows/{UUID % 1}/cancel"
    assert send(lite, "POST", path, {}).status_code == 404
    lite.load()
    assert send(lite, "POST", path, {}).status_code == 200


def test_many_at_once_do_it_once(api):
    """However many requests with one key come together, one is done; the others are answered the same, or 503."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(api, "POST", "/events", {"name": "a", "message": "m"}), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 503)
    assert len({answer.data for answer in answers if answer.status_code == 200}) == 1
    assert count_events(api, noun="report") == 1


def test_a_server_that_died_before_the_answer(lite, monkeypatch):
    """The change stands with its key; a repeat is put off, then goes on from there and finds it done."""
    lite.load()
    monkeypatch.setattr("p3s.server.api.keys._keep", lambda *_: None)
    path = f"/workflows/{UUID % 1}/cancel"
    send(lite, "POST", path, {})
    monkeypatch.undo()
    answer = send(lite, "POST", path, {})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    events = count_events(lite)
    monkeypatch.setattr(repeats, "GRACE", 0.0)
    answer = send(lite, "POST", path, {})
    assert (answer.status_code, answer.get_json()["state"]) == (200, "cancelled")
    assert count_events(lite) == events
    assert send(lite, "POST", path, {}).headers["Idempotency-Replayed"] == "true"


def test_a_start_is_answered_again_though_its_server_died(api, monkeypatch):
    """A start cannot be found done by starting again: its key has the status, and a repeat shows what is there now."""
    for number in (1, 2):
        api.load(number, Role.ADMIN, hold=True)
    path = f"/workflows/{UUID % 1}/start"
    monkeypatch.setattr("p3s.server.api.workflows._view", lambda _: sys.exit("killed"))
    with pytest.raises(SystemExit):
        send(api, "POST", path, {})
    monkeypatch.undo()
    assert send(api, "POST", path, {}, "another").status_code == 409
    for state in ("running", "cancelled"):
        events = count_events(api)
        answer = send(api, "POST", path, {})
        assert (answer.status_code, answer.get_json()["state"]) == (200, state)
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert count_events(api) == events
        prepare(api, "POST", f"/workflows/{UUID % 1}/cancel", {})
    other = send(api, "POST", f"/workflows/{UUID % 2}/start", {})
    assert other.status_code == 409
    assert "Idempotency-Key" in other.get_json()["error"]["message"]
    assert send(api, "POST", f"/workflows/{UUID % 2}/start", {}, "another").get_json()["state"] == "running"


def test_secrets_are_shown_again_and_kept_nowhere(lite):
    """A repeat shows a new token's secret, which works; no table has it, nor the key, and another key makes another."""
    body = {"name": "guest", "role": "admin"}
    key = "3f8a1c52-0000-4000-8000-0123456789ab"
    secret = send(lite, "POST", "/tokens", body, key).get_json()["secret"]
    assert send(lite, "POST", "/tokens", body, key).get_json()["secret"] == secret
    assert lite.call("GET", "/status", secret=secret).status_code == 200
    rotated = send(lite, "POST", "/tokens/guest/rotate", {}, key + "2").get_json()["secret"]
    own = send(lite, "POST", "/pilots", PILOT, key + "3").get_json()["secret"]
    assert len({secret, rotated, own}) == 3
    text = repr(read_tables(lite))
    assert not [one for one in (secret, rotated, own, key) if one in text]
    with lite.db.read() as connection:
        assert connection.scalar(sa.select(token.c.id).where(token.c.name == "guest")) is not None


def test_old_keys_are_forgotten(api):
    """After a day a key is free again."""
    send(api, "POST", "/events", {"name": "a", "message": "m"})
    api.core.change("sweeper", repeats.forget_old)
    assert len(read_tables(api)["repeat"]) == 1
    old = sa.update(repeat).values(begun=read_clock() - repeats.KEPT - 1)
    api.db.write(lambda connection: connection.execute(old))
    api.core.change("sweeper", repeats.forget_old)
    assert read_tables(api)["repeat"] == []
