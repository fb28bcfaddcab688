"""Data of drawings: the graph with its families open or closed, and the timeline with its critical path."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from p3s.server.auth import Role
from p3s.server.models import attempt, job
from p3s.server.monitor.shapes import Shapes
from p3s.server.usecases.purge import purge
from p3s.server.usecases.sweep import add_events
from p3s.settings import Home
from p3s.wire import ExternalMember, PurgeBody
from tests.support.api import UUID, Api
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import load_text

THERE = {"raw": [ExternalMember(place="/data/raw.csv", available=True)]}
WIDE = """\
name: wide
datasets:
  raw: {path: /data/raw.csv}
jobs:
  first: {inputs: [raw], outputs: {hits: hits.csv}, run: "true"}
  part:
    matrix: {plane: [u, v, w], side: [l, r]}
    inputs: [hits]
    outputs: {trk: "trk-${{ matrix.plane }}-${{ matrix.side }}.csv"}
    run: "true"
  other: {needs: [first], matrix: {n: ["1", "2"]}, run: "true"}
  last: {inputs: {trk: all}, needs: [other], run: "true"}
"""


@pytest.fixture
def api(address, tmp_path):
    made = Api(address, Home(tmp_path / "home"))
    yield made
    made.db.close()


def read(api, path, status=200, **headers):
    """Return what an address of the monitor answers to a viewer; of a graph, nodes with their states, links by keys."""
    shown = {"Authorization": f"Bearer {api.tokens[Role.VIEWER]}"} | headers
    answer = api.app.test_client().get(path, headers=shown)
    assert answer.status_code == status, answer.get_data(as_text=True)
    if status == 304:
        return answer
    found = answer.get_json() | {"etag": answer.headers.get("ETag")}
    if "nodes" in found:
        for node, states in zip(found["nodes"], found["states"], strict=True):
            node["states"] = {states: 1} if isinstance(states, str) else states
        found["links"] = [[found["nodes"][end]["key"] for end in link] for link in found["links"]]
    return found


def test_graph_opens_and_closes_families(api):
    """All is shown one by one while it is little; families close to one node each, and open by name."""
    loaded = load_text(api.core, WIDE, externals=THERE)
    base = f"/workflows/{loaded.uuid}/graph.json"
    whole = read(api, base)
    assert len(whole["nodes"]) == 10 + 8
    assert ["dataset:raw", "job:first"] in whole["links"]
    assert ["job:first", "job:other-1"] in whole["links"]
    assert (whole["closed"], whole["opened"]) == ([], ["other", "part"])
    folded = read(api, f"{base}?fold=1")
    nodes = {node["key"]: node for node in folded["nodes"]}
    assert sorted(nodes) == [
        "dataset:hits", "dataset:raw", "family:other", "family:part", "group:trk", "job:first", "job:last",
    ]  # fmt: skip
    assert nodes["family:part"]["states"] == {"waiting": 6}
    assert nodes["group:trk"]["states"] == {"expected": 6}
    assert [key for key, node in nodes.items() if "external" in node] == ["dataset:raw"]
    assert sorted(map(tuple, folded["links"])) == [
        ("dataset:hits", "family:part"),
        ("dataset:raw", "job:first"),
        ("family:other", "job:last"),
        ("family:part", "group:trk"),
        ("group:trk", "job:last"),
        ("job:first", "dataset:hits"),
        ("job:first", "family:other"),
    ]
    half = read(api, f"{base}?open=other")
    assert {node["key"] for node in half["nodes"]} >= {"job:other-1", "job:other-2", "family:part"}
    read(api, f"{base}?fold=1", 304, **{"If-None-Match": folded["etag"]})
    pilot = ScriptedPilot(api.core, slots=4)
    pilot.succeed(pilot.claim()[0])
    assert read(api, f"{base}?fold=1", **{"If-None-Match": folded["etag"]})["nodes"] != folded["nodes"]


def test_large_graph_has_levels(api, monkeypatch):
    """Above what a browser lays out the levels come with the nodes; above what can be drawn the answer says so."""
    monkeypatch.setattr("p3s.server.monitor.drawings.LAYOUT", 5)
    loaded = load_text(api.core, WIDE, externals=THERE)
    levels = {node["key"]: node["level"] for node in read(api, f"/workflows/{loaded.uuid}/graph.json?fold=1")["nodes"]}
    assert levels == {
        "dataset:raw": 0, "job:first": 1, "dataset:hits": 2, "family:other": 2, "family:part": 3, "group:trk": 4,
        "job:last": 5,
    }  # fmt: skip
    monkeypatch.setattr("p3s.server.monitor.drawings.NODES", 5)
    refused = read(api, f"/workflows/{loaded.uuid}/graph.json?open=*", 400)
    assert "11 jobs and data are more than a drawing can show" in refused["error"]["problems"][0]["message"]


def test_what_is_kept_of_a_graph_is_bounded():
    """A value is made once for each workflow that is loaded, and those asked for longest ago go first."""
    made = []

    def find(shapes, uuid, state="running", size=4):
        def make():
            made.append(uuid)
            return [uuid] * size

        return shapes.find(SimpleNamespace(uuid=uuid, state=state), "links", make)

    shapes = Shapes(most=10)
    assert find(shapes, "a") == find(shapes, "a") == ["a"] * 4
    find(shapes, "b")
    find(shapes, "a")
    find(shapes, "c")
    assert made == ["a", "b", "c"]
    find(shapes, "a")
    find(shapes, "b")
    assert made == ["a", "b", "c", "b"]
    for _ in range(2):
        find(shapes, "d", state="loading")
    find(shapes, "e", size=99)
    assert made == ["a", "b", "c", "b", "d", "d", "e"]


def test_a_graph_looked_at_again_shows_new_states(api):
    """Edges are kept, states are not; a workflow that takes a deleted one's place has its own edges."""
    loaded = load_text(api.core, WIDE, externals=THERE)
    base = f"/workflows/{loaded.uuid}/graph.json"
    first = read(api, base)
    pilot = ScriptedPilot(api.core)
    (order,) = pilot.claim()
    pilot.succeed(order)
    again = read(api, base)
    assert (again["links"], again["mark"]) == (first["links"], first["mark"])
    # Who has the nodes and edges gets the states alone, of the same drawing.
    short = read(api, f"{base}?known={first['mark']}")
    assert (short.keys() & {"nodes", "links"}, short["states"]) == (set(), again["states"])
    assert read(api, f"{base}?fold=1&known={first['mark']}")["nodes"]
    states = {node["key"]: node["states"] for node in again["nodes"]}
    assert (states["job:first"], states["dataset:hits"]) == ({"finished": 1}, {"available": 1})
    assert api.call("POST", f"/workflows/{loaded.uuid}/cancel", body={}).status_code == 200
    assert api.call("DELETE", f"/workflows/{loaded.uuid}").status_code == 204
    api.load(5)
    other = read(api, f"/workflows/{UUID % 5}/graph.json")
    assert other["links"] == [["job:a", "job:b"]]


def test_timeline_marks_the_critical_path(api):
    """Attempts stand by pilot, none over another; from the last job back, the parent that ended last is marked."""
    loaded = load_text(api.core, WIDE, externals=THERE)
    pilot = ScriptedPilot(api.core, slots=4)
    order = 0
    while orders := pilot.claim():
        for one in orders:
            pilot.succeed(one)
            # The later it was claimed, the later it ended; `other-1` is made the last parent.
            order += 1
            ended = 100 if one.job_name == "other-1" else 200 if one.job_name == "last" else order
            set_end(api, one, ended)
    found = read(api, f"/workflows/{loaded.uuid}/timeline.json")
    assert [(lane["host"], len(lane["bars"])) for lane in found["pilots"]] == [("testhost", 10)]
    critical = {bar["name"] for bar in found["pilots"][0]["bars"] if bar["critical"]}
    assert critical == {"first", "other-1", "last"}
    assert found["end"] is not None


def test_archived_work_is_drawn_as_before(api, monkeypatch):
    """The graph, however it is opened, and the timeline stay at their address; what is too large is refused."""
    loaded = load_text(api.core, WIDE, externals=THERE)
    pilot = ScriptedPilot(api.core, slots=4)
    while orders := pilot.claim():
        for one in orders:
            pilot.succeed(one)
    base = f"/workflows/{loaded.uuid}"
    ways = ("?open=*", "?fold=1", "?open=other")
    before = [arrange_graph(read(api, f"{base}/graph.json{way}")) for way in ways]
    timeline = read(api, f"{base}/timeline.json")
    add_events(api.core)
    assert purge(api.core, PurgeBody(what=["workflows"], older=0, dry_run=False), "root", owner=None).items
    assert [arrange_graph(read(api, f"{base}/graph.json{way}")) for way in ways] == before
    kept = read(api, f"{base}/timeline.json")
    assert [{bar["name"]: bar["critical"] for bar in lane["bars"]} for lane in kept["pilots"]] == [
        {bar["name"]: bar["critical"] for bar in lane["bars"]} for lane in timeline["pilots"]
    ]
    assert all(kept[name] == timeline[name] for name in ("begin", "end", "deadline", "left_out"))
    monkeypatch.setattr("p3s.server.monitor.subjects.ARCHIVED", 3)
    refused = read(api, f"{base}/graph.json", 400)
    assert "more than are drawn from there (3); `p3s workflow graph" in refused["error"]["problems"][0]["message"]


def arrange_graph(found):
    """Return what a graph says, whatever the order."""
    nodes = sorted((node["key"], str(node["states"]), node.get("external", False)) for node in found["nodes"])
    # A family's uuid is any of its members'.
    uuids = sorted((node["key"], node["uuid"]) for node in found["nodes"] if node["key"].startswith(("job", "dataset")))
    return nodes, uuids, sorted(found["links"]), found["closed"], found["opened"], found["state"]


def set_end(api, one, ended):
    """Say when a job ended."""
    mine = sa.select(attempt.c.job_id).where(attempt.c.uuid == one.attempt).scalar_subquery()
    api.db.write(lambda connection: connection.execute(sa.update(job).where(job.c.id == mine).values(ended=ended)))


def test_numbers_of_results(api):
    """A plot of results asks for a DAG; without numbers it says so."""
    assert read(api, "/results/series.json", 400)["error"]["problems"][0]["where"] == "dag"
    found = read(api, "/results/series.json?dag=wide&key=b&x=run")
    assert (found["x"], found["empty"]) == ([], "No result of wide has such a number yet.")
    overview = read(api, "/overview/series.json?span=day")
    assert len(overview["x"]) == 144
    assert [panel["title"] for panel in overview["panels"]] == ["Jobs in each 10 minutes", "Jobs waiting for a pilot"]
