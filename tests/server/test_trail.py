"""The audit trail: whatever is changed, the event log says by whom."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
import sqlalchemy as sa

from p3s.server.auth import Role
from p3s.server.models import event
from p3s.settings import Home
from tests.support.api import UUID, Api
from tests.support.databases import copy_sqlite
from tests.support.walk import JOB, REQUESTS, prepare

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


def list_forms(api):
    """Return each form of the pages that changes something: its address, its fields, and the endpoint."""
    api.register(99)
    for number in range(30, 32):
        api.load(number, hold=number == 30)
    bodies = [JOB | {"uuid": UUID % number, "hold": True} for number in range(40, 42)]
    assert api.call("POST", "/jobs", Role.SUBMITTER, {"jobs": bodies}).status_code == 201
    acts = ("start", "pause", "resume", "cancel", "retry", "cancel", "delete")
    yield from ((f"/workflows/{UUID % 30}/{act}", {}, "change_workflow") for act in acts)
    yield from (("/workflows/bulk", {"act": act, "id": UUID % 31}, "change_workflows") for act in ("cancel", "retry"))
    changes = {"priority": "3", "timelimit": "5m"}
    for act in ("adjust", "release", "hold", "cancel", "retry"):
        yield f"/jobs/{UUID % 40}/{act}", changes if act == "adjust" else {}, "change_job"
    yield from (("/jobs/bulk", {"act": act, "id": UUID % 41}, "change_jobs") for act in ("cancel", "retry"))
    yield "/jobtypes/wide/limit", {"cap": "3"}, "limit_jobtype"
    yield from ((f"/hosts/h/{act}", {}, "change_host") for act in ("ban", "allow"))
    yield from ((f"/server/{act}", {}, "change_server") for act in ("pause", "resume"))
    yield from ((f"/pilots/{UUID % 99}/{act}", {}, "change_pilot") for act in ("drain", "kill"))


def test_every_form_leaves_who_sent_it(api):
    """Each form of a page that changes something leaves an event that names whose session it was."""
    client = api.app.test_client()

    def send(path, fields):
        found = re.search(r'name="mark" value="([^"]+)"', client.get("/").get_data(as_text=True))
        assert found is not None
        return client.post(path, data=fields | {"mark": found[1]})

    assert send("/login", {"token": api.tokens[Role.ADMIN]}).status_code == 303
    walked = set()
    for path, fields, endpoint in list_forms(api):
        _, last = read_new(api, 0)
        answer = send(path, fields)
        assert answer.status_code == 303, (path, answer.get_data(as_text=True))
        causes, _ = read_new(api, last)
        assert any("admin" in cause for cause in causes), (path, causes)
        walked.add(f"monitor.{endpoint}")
    # A login and its end change nothing but the visitor's own cookie.
    sent = {
        rule.endpoint
        for rule in api.app.url_map.iter_rules()
        if rule.endpoint.startswith("monitor.") and "POST" in rule.methods
    }
    assert sent == walked | {"monitor.login", "monitor.logout"}
