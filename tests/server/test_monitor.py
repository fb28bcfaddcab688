"""The monitor's pages: what they show, export and do, for whom, and in how many statements."""

from __future__ import annotations

import csv
import hashlib
import io
import re

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.server.auth import NEEDS, Role
from p3s.server.models import attempt, attempt_log, blob, dataset, job, minute, workflow
from p3s.server.monitor import contents, values
from p3s.server.usecases import counts as counts_module
from p3s.server.usecases.acts import store_blob
from p3s.server.usecases.purge import purge
from p3s.server.usecases.sweep import add_events
from p3s.settings import Home
from p3s.wire import PurgeBody
from tests.support.api import UUID, Api
from tests.support.doctests import check_doctests
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import load_text

#: Statements that one page may take, with who asks.
STATEMENTS = 30

LISTS = (
    "/",
    "/workflows",
    "/archive",
    "/jobs",
    "/pilots",
    "/hosts",
    "/sites",
    "/jobtypes",
    "/datasets",
    "/datatypes",
    "/files",
    "/dags",
    "/services",
    "/events",
    "/results",
)


@pytest.fixture
def api(tmp_path, address):
    made = Api(address, Home(tmp_path / "home"))
    yield made
    made.db.close()


def get(api, path, role=Role.VIEWER, status=200):
    answer = api.app.test_client().get(path, headers={"Authorization": f"Bearer {api.tokens[role]}"})
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer


def post(api, path, role=Role.SUBMITTER, status=303, **fields):
    headers = {"Authorization": f"Bearer {api.tokens[role]}"}
    answer = api.app.test_client().post(path, data=fields, headers=headers)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer


def find_state(api, noun, ident):
    return api.call("GET", f"/{noun}/{ident}").get_json()["state"]


def list_pages(api):
    """Return the address of every page: the lists, and one object of each kind."""
    api.load()
    api.register(9)
    api.call("POST", "/datasets", body={"place": "/data/raw.csv"})
    found = api.call("GET", "/datasets?limit=5").get_json()["items"][0]["uuid"]
    things = (f"/workflows/{UUID % 1}", f"/jobs/{UUID % 1}/a", f"/pilots/{UUID % 9}", f"/datasets/{found}")
    return (*LISTS, *things, "/dags/small", "/search?q=small", "/search?q=run=4610", "/search?q=/data/raw.csv")


def test_every_page_is_shown_and_exported(api):
    """Each page is HTML with one heading and its tables; each table comes as CSV and JSON with equal rows."""
    for path in list_pages(api):
        text = get(api, path).get_data(as_text=True)
        assert text.count("<h1") == 1, path
        assert text.count('id="live"') == 1, path
        for name in re.findall(r'<table id="table-([a-z]+)"', text):
            mark = "&" if "?" in path else "?"
            rows = get(api, f"{path}{mark}format=json&table={name}").get_json()["items"]
            lines = get(api, f"{path}{mark}format=csv&table={name}").get_data(as_text=True)
            assert len(list(csv.DictReader(io.StringIO(lines)))) == len(rows), (path, name)


def test_no_page_takes_more_statements_with_more_rows(api, monkeypatch):
    """A page takes the same bounded number of statements with 1 and with 30 workflows."""
    # On a machine that has much to do, counting would be left to the sweeper.
    monkeypatch.setattr(counts_module, "CHEAP", 3600.0)
    pages = list_pages(api)
    counts: dict[str, list[int]] = {}
    taken: list[str] = []
    sa.event.listen(api.db.engine, "before_cursor_execute", lambda *args: taken.append(args[2]))
    for number in (1, 30):
        for extra in range(2, number + 1):
            api.load(extra)
        for path in pages:
            taken.clear()
            get(api, path)
            counts.setdefault(path, []).append(len([one for one in taken if not one.startswith("BEGIN")]))
    assert all(before == after for before, after in counts.values()), counts
    assert max(number for both in counts.values() for number in both) <= STATEMENTS, counts


def test_a_page_that_says_the_same_is_not_sent_again(api):
    """The mark of an answer is answered 304 until something changes."""
    api.load()
    client, headers = api.app.test_client(), {"Authorization": f"Bearer {api.tokens[Role.VIEWER]}"}
    mark = client.get("/workflows", headers=headers).headers["ETag"]
    again = client.get("/workflows", headers=headers | {"If-None-Match": mark})
    assert (again.status_code, again.data) == (304, b"")
    api.load(2)
    assert client.get("/workflows", headers=headers | {"If-None-Match": mark}).status_code == 200


def test_lists_are_filtered_and_paged(api):
    """Filters narrow a list, a cursor leads through all of it, and what is no filter's value is refused in words."""
    for number in range(1, 8):
        api.load(number)
    api.call("POST", f"/workflows/{UUID % 3}/cancel", body={})
    rows = get(api, "/workflows?state=cancelled&format=json").get_json()["items"]
    assert [row["uuid"] for row in rows] == [UUID % 3]
    with api.db.engine.begin() as connection:
        connection.execute(sa.update(workflow).where(workflow.c.uuid == UUID % 5).values(late=True))
    rows = get(api, "/workflows?late=yes&format=json").get_json()["items"]
    assert [row["uuid"] for row in rows] == [UUID % 5]
    seen, cursor = [], ""
    while cursor is not None:
        page = get(api, f"/workflows?format=json&limit=3&cursor={cursor}").get_json()
        seen += [row["uuid"] for row in page["items"]]
        cursor = page["next"]
    assert seen == [UUID % number for number in range(7, 0, -1)]
    assert "is no number" in get(api, "/jobs?cursor=x", status=400).get_data(as_text=True)
    assert "is not one of" in get(api, "/datasets?state=blue", status=400).get_data(as_text=True)
    assert "is no format" in get(api, "/jobs?format=xml", status=400).get_data(as_text=True)


def test_workflows_are_filtered_by_time_and_late_ones_are_marked(api):
    """A time is a day or how long ago; a workflow that runs past its deadline says so in the list and on its page."""
    for number in (1, 2):
        api.load(number)
    with api.db.engine.begin() as connection:
        old = {"created": 1_000_000.0, "deadline": 1_000_300.0}
        connection.execute(sa.update(workflow).where(workflow.c.uuid == UUID % 1).values(**old))
    for query, found in (
        ("since=1h", [2]),
        ("before=1h", [1]),
        ("before=1970-01-02", []),
        ("since=1970-01-02", [2, 1]),
    ):
        rows = get(api, f"/workflows?format=json&{query}").get_json()["items"]
        assert [row["uuid"] for row in rows] == [UUID % number for number in found], query
    assert "is no time" in get(api, "/workflows?since=soon", status=400).get_data(as_text=True)
    assert get(api, "/workflows").get_data(as_text=True).count("<b>late</b>") == 1
    assert "<b>late</b>" in get(api, f"/workflows/{UUID % 1}").get_data(as_text=True)
    assert "<b>late</b>" not in get(api, f"/workflows/{UUID % 2}").get_data(as_text=True)


def test_many_jobs_at_once(api):
    """Jobs have ticks in their list and on their workflow's page, for those who may change them."""
    api.load()
    jobs = [row["uuid"] for row in get(api, "/jobs?format=json").get_json()["items"]]
    for page in ("/jobs", f"/workflows/{UUID % 1}"):
        assert get(api, page).get_data(as_text=True).count('type="checkbox"') == 0
        assert get(api, page, Role.SUBMITTER).get_data(as_text=True).count('type="checkbox"') == 2
    answer = post(api, "/jobs/bulk", act="cancel", id=jobs, back="/jobs?state=waiting")
    assert answer.headers["Location"] == "/jobs?state=waiting"
    assert [find_state(api, "jobs", uuid) for uuid in jobs] == ["cancelled", "cancelled"]
    post(api, "/jobs/bulk", act="retry", id=jobs)
    assert sorted(find_state(api, "jobs", uuid) for uuid in jobs) == ["defined", "waiting"]


def test_what_older_attempts_printed_is_a_link_away(api):
    """Each attempt of a job leads to its own output, without a script; one that never was is not found."""
    text = "name: again\njobs: {a: {retry: 1, run: 'true'}}\n"
    api.load(text=text)
    pilot = ScriptedPilot(api.core)
    for words in (b"first words", b"second words"):
        (order,) = pilot.claim()
        pilot.fail(order)
        with api.db.engine.begin() as connection:
            ident = connection.scalar(sa.select(attempt.c.id).where(attempt.c.uuid == order.attempt))
            row = {"attempt_id": ident, "stream": "stdout", "start": 0, "data": words}
            connection.execute(sa.insert(attempt_log).values(row))
    page = f"/jobs/{UUID % 1}/a"
    uuid = api.call("GET", page).get_json()["uuid"]
    newest = get(api, page).get_data(as_text=True)
    assert ("second words" in newest, "first words" in newest) == (True, False)
    assert f'href="/jobs/{uuid}?attempt=1"' in newest
    assert "first words" in get(api, f"/jobs/{uuid}?attempt=1").get_data(as_text=True)
    get(api, f"/jobs/{uuid}?attempt=3", status=404)


def test_archived_work_is_shown_at_its_old_addresses(api):
    """After a purge, a workflow and its jobs say since when they are in the archive; nothing can be done to them."""
    api.load(
        text="name: old\nresults: [x]\njobs: {a: {outputs: {x: x.txt}, run: 'true'}, b: {inputs: [x], run: 'true'}}\n"
    )
    job = get(api, f"/jobs/{UUID % 1}/a?format=json&table=events").get_json()["items"][0]["uuid"]
    api.call("POST", f"/workflows/{UUID % 1}/cancel", body={})
    # The sweeper of a server does this each five seconds.
    add_events(api.core)
    moved = purge(api.core, PurgeBody(what=["workflows"], older=0.0, dry_run=False), "root", owner=None)
    assert not moved.more
    page = f"/workflows/{UUID % 1}"
    for path, words in (
        (page, "in the archive since"),
        (f"{page}/a".replace("workflows", "jobs"), "in the archive since"),
    ):
        text = get(api, path, Role.ADMIN).get_data(as_text=True)
        assert words in text
        assert "cancelled" in text
        assert '<form class="act"' not in text
        assert 'type="checkbox"' not in text
    rows = get(api, f"{page}?format=json&table=jobs").get_json()["items"]
    assert [row["name"] for row in rows] == ["b", "a"]
    assert get(api, f"{page}?format=json&table=jobs&state=finished").get_json()["items"] == []
    rows = get(api, "/archive?format=json&name=old").get_json()["items"]
    assert [row["uuid"] for row in rows] == [UUID % 1]
    assert get(api, "/archive?format=json&name=new").get_json()["items"] == []
    for query, noun in ((UUID % 1, "workflow"), (job, "job")):
        found = get(api, f"/search?format=json&q={query}").get_json()["items"]
        assert (noun, "archived") in {(row["noun"], row["state"]) for row in found}
    post(api, f"{page}/retry", status=409)


STEPS = """\
name: steps
results: [x]
jobs:
  a: {outputs: {x: x.json}, run: "true"}
  b: {inputs: [x], outputs: {y: y.txt}, run: "true"}
"""


def test_archived_results_are_served(api, monkeypatch):
    """Results, data and logs stay at their addresses in the archive, also if maker and reader are in two parts."""
    monkeypatch.setattr("p3s.server.transitions.archive.STEP", 1)
    uuid = load_text(api.core, STEPS).uuid
    pilot = ScriptedPilot(api.core)
    data = b'{"hits": 3}'
    digest = hashlib.sha256(data).hexdigest()
    store_blob(api.core, digest, data, pilot.uuid)
    (order,) = pilot.claim()
    made = {"name": "x", "path": pilot.place(order, "x.json"), "size": len(data), "digest": digest}
    pilot.report(order, "succeeded", outputs=[made], stdout=b"done", stdout_size=4)
    pilot.succeed(*pilot.claim())
    rows = get(api, "/results?format=json&key=x").get_json()["items"]
    address = f"/results/{rows[0]['dataset']}/content"
    assert get(api, address).get_data() == data
    add_events(api.core)
    purge(api.core, PurgeBody(what=["workflows"], older=0.0, dry_run=False), "root", owner=None)
    assert get(api, "/results?format=json").get_json()["items"] == []
    assert get(api, address).get_data() == data
    text = get(api, f"/workflows/{uuid}").get_data(as_text=True)
    # A table of ours follows the theme; so small a one is low.
    assert re.search(rf'<iframe src="{address}\?as=page"[^>]* class="own low">', text)
    assert "graph.json" in text
    assert "in the archive since" in get(api, f"/datasets/{uuid}/x").get_data(as_text=True)
    assert get(api, f"/jobs/{uuid}/a/log?offset=2").get_json()["text"] == "ne"
    assert get(api, "/results/00000000-0000-4000-8000-000000000000/content", status=404)
    shown = api.call("GET", f"/datasets?workflow={uuid}&limit=1").get_json()
    rest = api.call("GET", f"/datasets?workflow={uuid}&limit=9&cursor={shown['next']}").get_json()
    assert [item["key"] for item in shown["items"] + rest["items"]] == ["y", "x"]
    assert rest["next"] is None
    assert api.call("GET", f"/datasets?workflow={uuid}&state=failed").get_json()["items"] == []


def test_capacity_and_lateness_are_measured(api):
    """Pilots of a site stand against what it names; the oldest job against its deadline, and how the hour went."""
    assert api.call("POST", "/sites", body={"name": "farm", "pilots": 2}).status_code == 200
    api.load(text="name: due\ndeadline: 1h\njobs: {a: {run: 'true'}}\n")
    now = read_clock()
    rows = [{"at": int(now) - 60 * n, "started": 0, "finished": 0, "failed": 0, "queue": 1} for n in range(1, 17)]
    rows = [row | {"wait": 2 if row["at"] < now - 500 else 90} for row in rows]
    api.db.write(lambda connection: connection.execute(sa.insert(minute), rows))
    text = get(api, "/").get_data(as_text=True)
    assert re.search(r"of site farm</dt><dd[^>]*><a[^>]*>0 of 2<", text)
    assert "getting worse" in text
    assert "2.0 s → 1 min 30 s" in text
    assert re.search(r'<span class="">due <time', text)


def test_forms_are_shown_to_those_who_may(api):
    """A viewer sees no form but the search; the owner and an admin see what may be done, another submitter does not."""
    api.load()
    page = f"/workflows/{UUID % 1}"
    assert "/cancel" not in get(api, page).get_data(as_text=True)
    assert f"{page}/cancel" in get(api, page, Role.SUBMITTER).get_data(as_text=True)
    assert f"{page}/cancel" in get(api, page, Role.ADMIN).get_data(as_text=True)
    other = {"Authorization": f"Bearer {api.make_token(Role.SUBMITTER, 'other')}"}
    client = api.app.test_client()
    assert f"{page}/cancel" not in client.get(page, headers=other).get_data(as_text=True)
    assert client.post(f"{page}/cancel", headers=other).status_code == 403
    assert client.post("/workflows/bulk", data={"act": "cancel", "id": UUID % 1}, headers=other).status_code == 403
    assert find_state(api, "workflows", UUID % 1) == "running"


def test_workflows_and_jobs_are_changed_from_their_pages(api):
    """Pause, resume, cancel, retry, adjust, hold, release and delete do what the API does."""
    api.load()
    at, one = f"/workflows/{UUID % 1}", f"/jobs/{UUID % 1}/a"
    for act, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("retry", "running")):
        assert post(api, f"{at}/{act}").headers["Location"] == at
        assert find_state(api, "workflows", UUID % 1) == state
    post(api, f"{one}/adjust", priority="7", timelimit="2m")
    view = api.call("GET", f"/jobs/{UUID % 1}/a").get_json()
    assert (view["priority"], view["timelimit"]) == (7, 120.0)
    for act, hold in (("hold", True), ("release", False)):
        post(api, f"{one}/{act}")
        assert api.call("GET", f"/jobs/{UUID % 1}/a").get_json()["hold"] is hold
    post(api, f"{one}/cancel")
    post(api, f"{one}/retry")
    post(api, f"{at}/cancel")
    assert post(api, f"{at}/delete").headers["Location"] == "/workflows"
    get(api, at, status=404)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"priority": "high"}, "high"),
        ({"timelimit": "soon"}, "soon"),
        ({"timelimit": "0"}, "greater"),
        ({}, "say what to change"),
    ],
)
def test_a_bad_form_changes_nothing(api, fields, words):
    """What cannot be read is answered with a page that says so."""
    api.load()
    assert words in post(api, f"/jobs/{UUID % 1}/a/adjust", status=400, **fields).get_data(as_text=True)
    assert api.call("GET", f"/jobs/{UUID % 1}/a").get_json()["priority"] == 0


def test_many_workflows_at_once(api):
    """What was ticked is cancelled and retried; an unknown act or nothing ticked is refused."""
    for number in (1, 2, 3):
        api.load(number)
    answer = post(api, "/workflows/bulk", act="cancel", id=[UUID % 1, UUID % 2], back="/workflows?owner=submitter")
    assert answer.headers["Location"] == "/workflows?owner=submitter"
    assert [find_state(api, "workflows", UUID % number) for number in (1, 2, 3)] == [
        "cancelled",
        "cancelled",
        "running",
    ]
    post(api, "/workflows/bulk", act="retry", id=UUID % 1)
    assert find_state(api, "workflows", UUID % 1) == "running"
    post(api, "/workflows/bulk", act="burn", id=UUID % 1, status=400)
    post(api, "/workflows/bulk", act="cancel", status=400)


@pytest.mark.parametrize(
    "back", ["//elsewhere.example/", "https://elsewhere.example/", "/\\elsewhere.example", "javascript:1"]
)
def test_no_form_leads_elsewhere(api, back):
    """A form that names another host leads to a page of this one."""
    api.load()
    assert post(api, f"/workflows/{UUID % 1}/pause", back=back).headers["Location"] == f"/workflows/{UUID % 1}"


def test_admins_rule_pilots_hosts_jobtypes_and_the_server(api):
    """Drain, ban, allow, limit, pause and resume work from the pages of an admin only."""
    api.register(9)
    post(api, f"/pilots/{UUID % 9}/drain", status=403)
    post(api, f"/pilots/{UUID % 9}/drain", Role.ADMIN)
    assert api.call("GET", f"/pilots/{UUID % 9}").get_json()["status"] == "DRAIN"
    post(api, "/hosts/h/ban", Role.ADMIN, reason="it burns")
    assert "it burns" in get(api, "/hosts").get_data(as_text=True)
    post(api, "/hosts/h/allow", Role.ADMIN)
    post(api, "/jobtypes/track/limit", Role.ADMIN, cap="0")
    assert "track is suspended" in get(api, "/").get_data(as_text=True)
    post(api, "/jobtypes/track/limit", Role.ADMIN, cap="x", status=400)
    post(api, "/jobtypes/track/limit", Role.ADMIN, cap="")
    post(api, "/server/pause", Role.ADMIN)
    assert "gives out no jobs" in get(api, "/").get_data(as_text=True)
    post(api, "/server/resume", Role.ADMIN)


def test_a_search_finds_ids_names_params_and_files(api):
    """The beginning of an id, a name, a param whatever its zeros, and a path lead to what they mean."""
    text = "name: small\nparams: {run: {type: str, required: true}}\njobs: {reduce: {run: 'true'}}\n"
    api.load(text=text, params={"run": "004610"})
    api.call("POST", "/datasets", body={"place": "/data/raw.csv"})
    for query, noun in (
        ("11111111", "workflow"),
        ("smal", "workflow"),
        ("run=4610", "workflow"),
        ("run=004610", "workflow"),
        ("redu", "job"),
        ("/data/raw.csv", "dataset"),
        (f"{UUID % 1}/reduce", "job"),
    ):
        rows = get(api, f"/search?format=json&q={query}").get_json()["items"]
        assert noun in {row["noun"] for row in rows}, query
    assert get(api, "/search?format=json&q=run=4611").get_json()["items"] == []
    get(api, "/search?q=", status=400)


def add_result(api, number, name, content):
    """Give a job of the first workflow a result that the server keeps."""
    digest = hashlib.sha256(content).hexdigest()

    def make(connection):
        values = {"digest": digest, "size": len(content), "data": content, "created": 0.0}
        connection.execute(sa.insert(blob).values(values))
        row = connection.execute(sa.select(workflow.c.id, job.c.id.label("job")).join(job).limit(1)).one()
        values = {"uuid": UUID % number, "workflow_id": row.id, "producer_id": row.job, "key": name, "name": name}
        values |= {"state": "available", "place": f"/d/{name}", "result": True, "digest": digest, "created": 0.0}
        connection.execute(sa.insert(dataset).values(values))

    api.db.write(make)


def test_a_result_is_shown_without_any_power(api):
    """HTML of a payload is answered under a policy that runs nothing; what the server does not keep is not found."""
    api.load()
    content = b"<script>alert(1)</script>"
    add_result(api, 77, "report.html", content)
    answer = get(api, f"/results/{UUID % 77}/content")
    assert answer.data == content
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "sandbox" in get(api, "/results").get_data(as_text=True)
    assert "report" in get(api, f"/workflows/{UUID % 1}").get_data(as_text=True)
    get(api, f"/results/{UUID % 78}/content", status=404)


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        (
            "a.csv",
            b"net,events\nci,<b>12</b>\nus,3\n",
            ['<th scope="col">events</th>', "<td>&lt;b&gt;12&lt;/b&gt;</td>"],
        ),
        ("a.tsv", b"net\tevents\nci\t12\n", ['<th scope="col">events</th>', "<td>12</td>"]),
        ("a.csv", b"n\n" + b"1\n" * 250, ["and 50 rows more"]),
        (
            "a.json",
            b'{"b": {"value": 0.9}, "bins": [1, 2]}',
            ['<th scope="row">value</th><td>0.9</td>', "<td>1, 2</td>"],
        ),
        ("a.json", b'[{"u": 1}, {"v": "<i>"}]', ['<th scope="col">v</th>', "<td></td><td>&lt;i&gt;</td>"]),
        ("a.json", b"no JSON <b>", None),
        ("a.json", b"[" * 100_000, None),
        ("a.csv", b"\xff\xfe", None),
    ],
)
def test_results_are_drawn_as_tables(api, name, content, shown):
    """JSON and tables of text are shown as tables, under the same policy; what is neither is shown as it is."""
    api.load()
    add_result(api, 77, name, content)
    answer = get(api, f"/results/{UUID % 77}/content?as=page")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    if shown is None:
        assert answer.data == content
        assert answer.mimetype != "text/html"
        return
    text = answer.get_data(as_text=True)
    assert answer.mimetype == "text/html"
    assert all(part in text for part in shown), text
    assert get(api, f"/results/{UUID % 77}/content").data == content


def test_examples_of_values():
    """What is said of the showing of values is true."""
    check_doctests(contents, values)


def test_counts_are_the_truth(api):
    """What the sweeper counted is what the tables hold, by state and by type."""
    for number in (1, 2, 3):
        api.load(number)
    api.call("POST", f"/workflows/{UUID % 2}/cancel", body={})
    counts = api.core.counts.count()
    with api.db.read() as connection:
        for noun, table in (("jobs", job), ("workflows", workflow)):
            rows = connection.execute(sa.select(table.c.state)).all()
            states = [row.state for row in rows]
            assert counts.nouns[noun] == {state: states.count(state) for state in sorted(set(states))}
    assert sum(sum(states.values()) for states in counts.jobtypes.values()) == sum(counts.nouns["jobs"].values())
    seen = [{"rule": "r", "place": f"/d/{n}", "stamp": "1", "size": 1, "fate": "growing"} for n in (1, 2)]
    api.call("POST", "/services/daq/beat", body={"instance": UUID % 3, "host": "h", "pid": 1, "period": 1})
    assert api.call("POST", "/arrivals", body={"service": "daq", "items": seen}).status_code == 200
    counts = api.core.counts.count()
    assert list(counts.fates.values()) == [{"growing": 2}]
    with api.db.read() as connection:
        released = connection.scalars(sa.select(job.c.released).where(job.c.state == "defined")).all()
    assert counts.ready_since == min(released)
    # As soon as counting is dear, what was counted last is given.
    api.core.counts._cost = 1.0
    api.load(4)
    assert api.core.counts.read() is counts
    assert api.core.counts.count().nouns["workflows"]["running"] == 3


def test_no_page_is_open_to_all():
    """Every route of the monitor but the door itself needs a role."""
    opened = {name for name, roles in NEEDS.items() if name.startswith("monitor.") and Role.ANYONE in roles}
    assert opened == {"monitor.login", "monitor.show_login", "monitor.logout", "monitor.describe_api"}
