"""Tokens: made once, ended at once, with the pilots that they registered."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.server.auth import Role, ensure_tokens
from p3s.server.models import event, pilot, token
from p3s.server.secrets import hash_token
from p3s.server.usecases.sweep import sweep
from p3s.server.usecases.tokens import keep_uses
from p3s.settings import Home
from tests.support.api import UUID, Api


@pytest.fixture
def api(address, tmp_path):
    made = Api(address, Home(tmp_path / "home"))
    yield made
    made.db.close()


def create(api, name="anna", role="submitter", **fields):
    """Make a token over the API and return its secret."""
    answer = api.call("POST", "/tokens", body={"name": name, "role": role} | fields)
    assert answer.status_code == 201, answer.data
    return answer.get_json()["secret"]


def test_a_token_is_shown_once_and_kept_hashed(api):
    """Only the answer that makes it has the secret; lists and the database do not."""
    secret = create(api)
    who = api.call("GET", "/who", secret=secret).get_json()
    assert (who["name"], who["role"]) == ("anna", "submitter")
    assert secret not in api.call("GET", "/tokens").get_data(as_text=True)
    with api.db.read() as connection:
        row = connection.execute(sa.select(token).where(token.c.name == "anna")).one()
    assert secret not in str(row)
    assert row.hash == hash_token(secret)


def test_names_stay_with_what_they_own(api):
    """A name that is or was taken is refused, because its jobs would change hands."""
    create(api)
    for _ in range(2):
        answer = api.call("POST", "/tokens", body={"name": "anna", "role": "admin"})
        assert (answer.status_code, answer.get_json()["error"]["kind"]) == (409, "conflict")
        api.call("POST", "/tokens/anna/revoke", body={})


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "../x"}, "name"),
        ({"role": "self"}, "role"),
        ({"expires": 0}, "expires"),
        ({"expires": 1e300}, "expires"),
        ({"site": "cern"}, "site"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_wishes_make_no_token(api, fields, where):
    """Each bad field is refused with its place and nothing is made."""
    before = api.call("GET", "/tokens").get_json()
    answer = api.call("POST", "/tokens", body={"name": "anna", "role": "viewer"} | fields)
    assert answer.status_code == 400
    assert {problem["where"] for problem in answer.get_json()["error"]["problems"]} == {where}
    after = api.call("GET", "/tokens").get_json()
    assert [item["name"] for item in after["items"]] == [item["name"] for item in before["items"]]


def test_revoking_acts_at_once_and_twice_is_once(api):
    """A revoked token is refused by the next call; the second revocation changes nothing."""
    secret = create(api)
    first = api.call("POST", "/tokens/anna/revoke", body={}).get_json()
    assert first["state"] == "revoked"
    assert api.call("POST", "/tokens/anna/revoke", body={}).get_json()["revoked"] == first["revoked"]
    assert api.call("GET", "/who", secret=secret).status_code == 401
    assert api.call("POST", "/tokens/nobody/revoke", body={}).status_code == 404


def test_the_last_admin_stays(api):
    """The last token that can make others is not revoked."""
    assert api.call("POST", "/tokens/admin/revoke", body={}).status_code == 409
    other = create(api, "second", "admin")
    assert api.call("POST", "/tokens/admin/revoke", body={}, secret=other).status_code == 200


def test_rotation_ends_the_old_secret_only(api):
    """The new secret works, the old one does not, and pilots that registered go on."""
    secret = create(api, "farm", "pilot")
    own = api.register(1, secret).get_json()["secret"]
    fresh = api.call("POST", "/tokens/farm/rotate", body={}).get_json()["secret"]
    assert api.register(2, secret).status_code == 401
    assert api.register(2, fresh).status_code == 201
    assert api.call("POST", f"/pilots/{UUID % 1}/exchange", body={}, secret=own).status_code == 200


def test_ended_tokens_are_not_rotated_back(api):
    """A revoked token stays so; an expired one needs a new life."""
    create(api)
    api.call("POST", "/tokens/anna/revoke", body={})
    assert api.call("POST", "/tokens/anna/rotate", body={"expires": 60}).status_code == 409
    api.make_token(Role.VIEWER, "old", expires=read_clock() - 1)
    assert api.call("POST", "/tokens/old/rotate", body={}).status_code == 409
    secret = api.call("POST", "/tokens/old/rotate", body={"expires": 60}).get_json()["secret"]
    assert api.call("GET", "/status", secret=secret).status_code == 200


def test_the_file_of_the_first_start_follows_a_rotation(api):
    """A rotated token of the home folder is in its file, and stays after the next start."""
    home = api.core.settings.home
    ensure_tokens(api.core, home)
    old = home.token_file("admin").read_text().strip()
    name = api.call("GET", "/who", secret=old).get_json()["name"]
    fresh = api.call("POST", f"/tokens/{name}/rotate", body={}).get_json()["secret"]
    ensure_tokens(api.core, home)
    assert home.token_file("admin").read_text().strip() == fresh
    assert home.token_file("admin").stat().st_mode & 0o077 == 0
    assert api.call("GET", "/status", secret=fresh).status_code == 200


def test_use_is_remembered(api):
    """The list says when a token was last used."""
    secret = create(api)
    api.call("GET", "/who", secret=secret)
    keep_uses(api.core)
    used = {item["name"]: item["used"] for item in api.call("GET", "/tokens").get_json()["items"]}
    assert abs(used["anna"] - read_clock()) < 60
    assert used["viewer"] is None


def test_who_changed_tokens_is_in_the_event_log(api):
    """Each change leaves an event that names the token and who did it, without the secret."""
    secret = create(api)
    api.call("POST", "/tokens/anna/rotate", body={})
    api.call("POST", "/tokens/anna/revoke", body={})
    with api.db.read() as connection:
        rows = connection.execute(sa.select(event).where(event.c.noun == "token").order_by(event.c.id)).all()
    assert [(row.signal, row.cause) for row in rows] == [
        (signal, "anna, by admin") for signal in ("create", "rotate", "revoke")
    ]
    assert hash_token(secret) not in str(rows)


def test_a_bound_token_registers_within_its_site(api):
    """A pilot of a bound token gets the token's site; another site is refused."""
    secret = create(api, "farm", "pilot", site="cern")
    assert api.register(1, secret).status_code == 201
    assert api.register(2, secret, site="fnal").status_code == 403
    assert api.call("GET", f"/pilots/{UUID % 1}").get_json()["site"] == "cern"


def test_a_pilot_is_not_taken_over_by_another_token(api):
    """Registering the uuid of somebody else's pilot is refused, and that pilot goes on."""
    own = api.register(1).get_json()["secret"]
    other = create(api, "thief", "pilot")
    assert api.register(1, other).status_code == 403
    assert api.call("POST", f"/pilots/{UUID % 1}/exchange", body={}, secret=own).status_code == 200
    again = api.register(1).get_json()["secret"]
    assert again != own


def hold_call(api, secret):
    """Start a long poll in a thread; return the thread and where its answer will be."""
    answers: list[int] = []
    body = {"claim": {"number": 1, "want": 1, "cpus": 1}, "wait": 45.0}

    def call():
        answers.append(api.call("POST", f"/pilots/{UUID % 1}/exchange", body=body, secret=secret).status_code)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while not api.core.hub.is_wanted():
        assert thread.is_alive(), answers
        time.sleep(0.01)
    return thread, answers


def test_a_revoked_token_ends_a_held_call(api):
    """The long poll of a pilot whose token is revoked is answered 401 while it is held."""
    secret = api.register(1).get_json()["secret"]
    thread, answers = hold_call(api, secret)
    api.call("POST", "/tokens/pilot/revoke", body={})
    thread.join(30)
    assert answers == [401]
    assert api.register(1).status_code == 401


def test_an_expired_token_cuts_its_pilots_off(api):
    """The sweep after a token's end takes the secret from its pilots, of no others."""
    farm = create(api, "farm", "pilot", expires=3600)
    mine = api.register(1, farm).get_json()["secret"]
    other = api.register(2).get_json()["secret"]
    thread, answers = hold_call(api, mine)
    past = sa.update(token).where(token.c.name == "farm").values(expires=read_clock() - 1)
    api.db.write(lambda connection: connection.execute(past))
    sweep(api.core, leases=False)
    thread.join(30)
    assert answers == [401]
    assert api.call("POST", f"/pilots/{UUID % 2}/exchange", body={}, secret=other).status_code == 200
    with api.db.read() as connection:
        cut = connection.scalars(sa.select(pilot.c.uuid).where(pilot.c.hash == "")).all()
    assert cut == [UUID % 1]
