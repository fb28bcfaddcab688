"""The audit trail: whatever is changed, the event log says by whom."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from p3s.server.auth import Role
from p3s.server.models import event
from p3s.settings import Home
from tests.support.api import UUID, Api
from tests.support.databases import copy_sqlite
from tests.support.walk import REQUESTS, prepare

#: Calls of programs, by the thousand, that change no decision of anyone: reports of attempts have events of their own.
QUIET = {"exchange", "find_leftovers", "ask_arrivals", "beat_service"}
#: Registered, and registered again with something else to be said of it.
PLACES = [("a", "fresh"), ("a", "good")]
CONTENT = b'{"a": 1}'


@pytest.fixture
def api(tmp_path, sqlite_template):
    made = Api(copy_sqlite(sqlite_template, tmp_path), Home(tmp_path / "home"))
    yield made
    made.db.close()


def read_new(api, last):
    """Return the causes of the events after one, and the newest one's number."""
    with api.db.read() as connection:
        rows = connection.execute(sa.select(event).where(event.c.id > last).order_by(event.c.id)).all()
    return [row.cause for row in rows], rows[-1].id if rows else last


def test_every_change_leaves_who_did_it(api):
    """Each route that changes something leaves an event that names the token, or the pilot, which did it."""
    secret = api.register(99).get_json()["secret"]
    digest = hashlib.sha256(CONTENT).hexdigest()
    puts: list[Any] = [
        ("limit_jobtype", "PUT", "/jobtypes/wide", {"cap": 3}, []),
        ("add_datatype", "PUT", "/datatypes/XML", {"ext": ".xml"}, []),
        ("store_blob", "PUT", f"/blobs/{digest}", CONTENT, []),
    ]
    again: list[Any] = [
        ("register_dataset", "POST", "/datasets", {"place": f"/data/{n}", "comment": c}, []) for n, c in PLACES
    ]
    walked, silent, last = set(), {}, 0
    for name, method, path, body, before in [*puts, *again, *REQUESTS]:
        for step in before:
            prepare(api, *step)
        _, last = read_new(api, last)
        by, token = ("admin", api.tokens[Role.ADMIN]) if name != "store_blob" else (UUID % 99, secret)
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Authorization": f"Bearer {token}"}
        answer = api.app.test_client().open("/api/v1" + path, method=method, headers=headers, **given)
        assert answer.status_code < 300, (name, answer.data)
        walked.add(name)
        causes, last = read_new(api, last)
        if not any(by in cause or by[:8] in cause for cause in causes):
            silent[name] = causes
    assert silent.keys() <= QUIET, silent
    routes = {
        rule.endpoint.removeprefix("api.")
        for rule in api.app.url_map.iter_rules()
        if rule.endpoint.startswith("api.") and rule.methods & {"POST", "PUT", "DELETE"}
    }
    assert routes <= walked | QUIET
