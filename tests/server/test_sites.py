"""Sites: defined by an admin, shown to the pilots that belong there, forgotten without harm."""

from __future__ import annotations

import pytest

from p3s.server.auth import Role
from p3s.settings import Home
from tests.support.api import Api


@pytest.fixture
def api(address, tmp_path):
    made = Api(address, Home(tmp_path / "home"))
    yield made
    made.db.close()


def test_a_definition_replaces_the_one_before(api):
    """Defining a site anew leaves nothing of the old definition; deleting forgets it and keeps its pilots."""
    first = {"name": "lxvm", "pilots": "3", "pilotcycles": 20, "pilotlife": "12h", "env": '{"A": 1}', "data": "/eos"}
    first |= {"batch": "HTCondor"}
    defined = api.call("POST", "/sites", body=first).get_json()
    assert (defined["env"], defined["batch"]) == ({"A": "1"}, "htcondor")
    found = api.call("POST", "/sites", body={"name": "lxvm", "pilotperiod": 40}).get_json()
    keys = ("pilots", "pilotcycles", "pilotlife", "pilotperiod", "env", "data", "batch")
    assert {key: found[key] for key in keys} == {
        "pilots": None,
        "pilotcycles": None,
        "pilotlife": None,
        "pilotperiod": 40.0,
        "env": {},
        "data": "",
        "batch": "",
    }
    api.register(1, site="lxvm")
    assert api.call("DELETE", "/sites/lxvm").status_code == 204
    assert api.call("DELETE", "/sites/lxvm").status_code == 404
    (left,) = api.call("GET", "/sites").get_json()["items"]
    assert (left["name"], left["defined"], left["live"]) == ("lxvm", False, 1)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": "a b"}, "name"),
        ({"server": "ftp://a"}, "server"),
        ({"env": {"P3S_JOB_UUID": "x"}}, "env"),
        ({"pilotperiod": 0}, "pilotperiod"),
        ({"pilotcycles": -1}, "pilotcycles"),
        ({"data": "relative"}, "data"),
        ({"batch": "slrum"}, "batch"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_definitions_change_nothing(api, fields, where):
    """A bad field is refused with its place, and no site is there afterwards."""
    answer = api.call("POST", "/sites", body={"name": "x"} | fields)
    assert answer.status_code == 400
    assert where in [problem["where"] for problem in answer.get_json()["error"]["problems"]]
    assert api.call("GET", "/sites").get_json()["items"] == []


def test_a_bound_token_sees_its_own_site_alone(api):
    """A pilot token bound to a site is shown that one, also as `default`, and no other; it lists and defines none."""
    for name in ("cern", "fnal"):
        api.call("POST", "/sites", body={"name": name, "server": f"http://{name}"})
    bound = api.make_token(Role.PILOT, "farm", site="cern")
    shown = {name: api.call("GET", f"/sites/{name}", secret=bound) for name in ("cern", "default", "fnal")}
    assert [shown[name].status_code for name in shown] == [200, 200, 403]
    assert shown["default"].get_json()["name"] == "cern"
    assert api.call("GET", "/sites/fnal", Role.PILOT).status_code == 200
    assert api.call("GET", "/sites", secret=bound).status_code == 403
    assert api.call("POST", "/sites", Role.SUBMITTER, body={"name": "mine"}).status_code == 403
