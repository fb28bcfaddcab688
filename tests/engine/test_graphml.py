"""GraphML in and out: the original's schema, the way there and back, and clear errors."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p3s.engine.expand import expand_dag
from p3s.engine.exports import write_dot, write_graphml
from p3s.engine.graph import build_graph
from p3s.engine.graphml import load_graphml
from p3s.engine.load import load_dag
from p3s.engine.writing import dump_spec, write_json, write_yaml
from p3s.errors import BadInput
from tests.engine.makers import File
from tests.support.files import GRAPH_PIECES, break_text

HEAD = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key attr.name="payload" attr.type="string" for="node" id="p"/>
  <key attr.name="env" attr.type="string" for="node" id="e"/>
  <key attr.name="jobtype" attr.type="string" for="node" id="j"/>
  <key attr.name="timelimit" attr.type="int" for="node" id="t"/>
  <key attr.name="priority" attr.type="int" for="node" id="r"/>
  <key attr.name="name" attr.type="string" for="edge" id="n"/>
  <key attr.name="dirpath" attr.type="string" for="edge" id="d"/>
  <key attr.name="datatype" attr.type="string" for="edge" id="y"/>
  <key attr.name="datatag" attr.type="string" for="edge" id="g"/>
  <key attr.name="comment" attr.type="string" for="edge" id="c"/>
  <graph edgedefault="directed">
"""


def node(name, payload="", env="{}", jobtype="noop", timelimit=0, priority=0):
    """Return a node as the original writes it."""
    values = {"p": payload, "e": env, "j": jobtype, "t": timelimit, "r": priority}
    return (
        f'<node id="{name}">'
        + "".join(f'<data key="{key}">{value}</data>' for key, value in values.items())
        + "</node>"
    )


def edge(source, target, **values):
    """Return an edge with data."""
    inner = "".join(f'<data key="{key}">{value}</data>' for key, value in values.items())
    return f'<edge source="{source}" target="{target}">{inner}</edge>'


def document(*parts):
    """Return a whole file."""
    return HEAD + "\n".join(parts) + "</graph></graphml>"


SHELL = '{"P3S_EXECMODE":"SHELL"}'
FILTER = document(
    node("NOOP1"),
    node("filter", "grep -c A $INPTXT &gt; $OUTTXT", SHELL, "filter", 7777, 4),
    node("NOOP2"),
    edge("NOOP1", "filter", n="input.txt", d="/data/", y="TXT", g="INPTXT", c="the input"),
    edge("filter", "NOOP2", n="output.txt", d="/data/out", y="TXT", g="OUTTXT"),
)


def problems_of(text):
    """Return all that is wrong with a file."""
    with pytest.raises(BadInput) as caught:
        load_graphml(text, "x.graphml")
    return [str(problem) for problem in caught.value.problems]


def test_original_schema_is_read():
    """Nodes become jobs, sync points stay, an edge that leaves one is external data and a need."""
    spec = load_graphml(FILTER, "inputs/filter.graphml")
    assert dump_spec(spec) == {
        "name": "filter",
        "datasets": {"INPTXT": {"path": "/data/input.txt", "type": "TXT", "comment": "the input"}},
        "jobs": {
            "NOOP1": {},
            "filter": {
                "env": {"P3S_EXECMODE": "SHELL"},
                "shell": "sh",
                "jobtype": "filter",
                "priority": 4,
                "timelimit": 7777.0,
                "run": "grep -c A $INPTXT > $OUTTXT",
                "inputs": {"INPTXT": "plain"},
                "needs": {"NOOP1": "finished"},
                "outputs": {"OUTTXT": {"path": "output.txt", "type": "TXT"}},
                "publish": {"OUTTXT": "/data/out/output.txt"},
            },
            "NOOP2": {"inputs": {"OUTTXT": "plain"}},
        },
    }


def test_payloads_are_what_they_were():
    """A program with arguments, a bare name and a program that travels each become what runs the same."""
    spec = load_graphml(
        document(
            node("Monitor:Main", "/bin/echo 'a b' c", jobtype="x"),
            node("bare", "env", jobtype="x"),
            node("own", "./run.sh", jobtype="x"),
            edge("Monitor:Main", "bare"),
        ),
        "p.graphml",
    )
    jobs = spec.jobs
    assert (jobs["Monitor:Main"].payload, jobs["Monitor:Main"].args) == ("/bin/echo", ["a b", "c"])
    assert (jobs["bare"].run, jobs["bare"].needs) == ("exec env", {"Monitor:Main": "finished"})
    assert (jobs["own"].payload, spec.files) == ("./run.sh", ["./run.sh"])


def test_edges_of_one_file_are_one_dataset():
    """Several readers of one file share it; several edges between two nodes are several data."""
    spec = load_graphml(
        document(
            node("N"),
            *(node(name, "/bin/a", jobtype="x") for name in ("a", "b")),
            edge("N", "a", n="in", g="IN"),
            edge("N", "b", n="in", g="IN"),
            edge("a", "b", n="one", g="ONE"),
            edge("a", "b", y="ROOT", g="TWO"),
        ),
        "m.graphml",
    )
    assert list(spec.datasets) == ["IN"]
    assert {name: output.path for name, output in spec.jobs["a"].outputs.items()} == {"ONE": "one", "TWO": None}
    assert set(spec.jobs["b"].inputs) == {"IN", "ONE", "TWO"}


def test_one_name_of_several_producers_becomes_several():
    """The original made names from uuids, so its files name one for several; here each is published beside it."""
    spec = load_graphml(
        document(
            node("NOOP1"),
            *(node(f"filter{k}", f"grep -c T{k} $IN &gt; $OUT{k}", SHELL, "filter", 7777, 4) for k in "123"),
            node("NOOP2"),
            *(edge("NOOP1", f"filter{k}", n="input.txt", d="/data/", y="TXT", g="IN") for k in "123"),
            *(edge(f"filter{k}", "NOOP2", n="output.txt", d="/data/", y="TXT", g=f"OUT{k}") for k in "12"),
            edge("filter3", "NOOP2", n="other.txt", d="/data/", y="TXT", g="OUT3"),
        ),
        "three.graphml",
    )
    published = {name: dict(spec.jobs[name].publish) for name in ("filter1", "filter2", "filter3")}
    assert published == {
        "filter1": {"OUT1": "/data/output-OUT1.txt"},
        "filter2": {"OUT2": "/data/output-OUT2.txt"},
        "filter3": {"OUT3": "/data/other.txt"},
    }
    plan = expand_dag(spec, {}, {"IN": [File("/data/input.txt")]}, bundle=())
    assert plan.jobs["filter1"].publish == {"OUT1": "/data/output-OUT1.txt"}


def test_a_tag_that_several_use_stays_the_payloads_variable():
    """Where two producers have one datatag, the variables differ, and each payload still sees its tag."""
    spec = load_graphml(
        document(
            node("N"),
            node("a", "/bin/a 'x y'", jobtype="x"),
            node("b", "cat $OUT", SHELL, "x"),
            node("end"),
            edge("a", "b", n="f", g="OUT"),
            edge("a", "end", n="f", g="OUT"),
            edge("b", "N", n="h", g="LAST"),
            edge("end", "N", n="g", g="OUT"),
        ),
        "t.graphml",
    )
    assert spec.jobs["a"].run == "export OUT=\"$OUT_a\"\nexec '/bin/a' 'x y'"
    assert spec.jobs["b"].run == 'export OUT="$OUT_a"\ncat $OUT'


BAD = {
    "no xml": ("<graphml", "x.graphml:1:1: is no XML here"),
    "no graph": ("<graphml></graphml>", "is no GraphML that NetworkX can read"),
    "undirected": (FILTER.replace('"directed"', '"undirected"'), "is an undirected graph"),
    "entity": ('<!DOCTYPE x [<!ENTITY a "b">]><graphml/>', "has a document type"),
    "empty": (document(), "has no nodes"),
    "unknown key": (FILTER.replace('attr.name="priority"', 'attr.name="prio"'), "has an unknown attribute 'prio'"),
    "bad number": (FILTER.replace(">7777<", ">soon<"), "is no GraphML that NetworkX can read"),
    "no key": (FILTER.replace('key="g"', 'key="zz"'), "is no GraphML that NetworkX can read"),
    "bad env": (FILTER.replace(SHELL, "{oops"), "`env` of node 'filter' must be a JSON object"),
    "bad tag": (FILTER.replace(">INPTXT<", ">IN-TXT<"), "datatag 'IN-TXT' is no variable name"),
    "no file": (FILTER.replace(">input.txt<", "><"), "leaves a sync point, so its data is there before"),
    "no tag": (FILTER.replace(">OUTTXT<", "><"), "names a file and has no `datatag`"),
    "cycle": (
        document(*(node(n, "/bin/a", jobtype="x") for n in "ab"), edge("a", "b"), edge("b", "a")),
        "in a cycle: ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_told(case):
    """Each file that is wrong gets a message that says what to do."""
    text, expected = BAD[case]
    assert any(expected in problem for problem in problems_of(text)), problems_of(text)


def test_all_problems_come_at_once():
    """Two wrong nodes are two problems."""
    text = FILTER.replace(SHELL, "{oops").replace(">INPTXT<", ">PATH<")
    assert len(problems_of(text)) == 2


def test_an_edited_export_is_refused():
    """An edit that the kept description contradicts is named instead of being lost."""
    text = write_graphml(load_dag("name: x\njobs: {a: {outputs: [y], run: ls}, b: {inputs: [y], run: date}}", "x.yaml"))
    assert "'payload' of node 'a' was edited" in problems_of(text.replace(">ls<", ">cat<"))[0]
    assert "edge 'a:b' was edited" in problems_of(text.replace(">y<", ">z<"))[0]


NAMES = st.sampled_from(["a", "b.c", "d:e", "f-g", "NOOP1"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: "${{" not in text and text.strip()
)


@st.composite
def dags(draw):
    """Return the plain data of a DAG that loads."""
    jobs: dict[str, dict[str, Any]] = {}
    made: list[str] = []
    for number, name in enumerate(draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))):
        job = {}
        if draw(st.booleans()):
            job["run"] = draw(TEXTS)
            outputs = [f"v{number}_{index}" for index in range(draw(st.integers(0, 2)))]
            job["outputs"] = {out: {"path": f"{out}.txt", "type": "TXT", "comment": draw(TEXTS)} for out in outputs}
            job["env"] = draw(st.dictionaries(st.sampled_from(["A", "B_C"]), TEXTS, max_size=2))
            job["priority"] = draw(st.integers(-9, 9))
            job["timelimit"] = draw(st.sampled_from([1, 0.5, "10m", "2h"]))
            job["retry"] = draw(st.sampled_from([0, 3, {"max": 2, "backoff": "1.5s", "when": ["timelimit", "75"]}]))
            if draw(st.booleans()):
                job["matrix"] = {f"x{number}": draw(st.lists(st.sampled_from("uvw"), min_size=1, unique=True))}
        else:
            outputs = []
        modes = st.sampled_from(["plain", "partial", "all"])
        job["inputs"] = draw(st.dictionaries(st.sampled_from(made), modes, max_size=3)) if made else {}
        before = list(jobs)
        job["needs"] = (
            draw(st.dictionaries(st.sampled_from(before), st.sampled_from(["finished", "done"]), max_size=2))
            if before
            else {}
        )
        made += outputs
        jobs[name] = job
    datasets: dict[str, dict[str, Any]] = {}
    if draw(st.booleans()):
        datasets["raw"] = {"path": "/data/raw.csv", "type": "CSV"}
        for job in jobs.values():
            if draw(st.booleans()):
                job["inputs"]["raw"] = "plain"
    if draw(st.booleans()):
        datasets["ped"] = {"from": "ana/pedestal/ped", "match": {"run": draw(TEXTS)}, "comment": draw(TEXTS)}
        jobs[draw(st.sampled_from(sorted(jobs)))]["inputs"]["ped"] = "partial"
    return {"name": "dag", "datasets": datasets, "jobs": jobs}


def make_plan_graph(spec):
    """Return the graph of all jobs and data."""
    externals = {name: [File("/data/raw.csv")] for name in spec.datasets if name != "ped"}
    return build_graph(expand_dag(spec, {}, externals, bundle=()))


@settings(max_examples=80, deadline=None)
@given(data=dags())
def test_there_and_back_is_the_same(data):
    """A DAG that is written as YAML, JSON or GraphML and read again is the same DAG with the same graph."""
    import json

    spec = load_dag(json.dumps(data), "x.yaml")
    write_dot(spec)
    for read, text in (
        (load_dag, write_yaml(spec)),
        (load_dag, write_json(spec)),
        (load_graphml, write_graphml(spec)),
    ):
        again = read(text, "x.yaml")
        assert dump_spec(again) == dump_spec(spec)
        assert nx.utils.graphs_equal(make_plan_graph(again), make_plan_graph(spec))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mutated_graphs_are_refused_or_read(seed):
    """Good files with pieces added, taken out and moved are read or are bad input, never a failure."""
    dice = random.Random(seed)
    text = break_text(dice, FILTER, GRAPH_PIECES, most=20_000)
    with contextlib.suppress(BadInput):
        expand_dag(load_graphml(text, "x.graphml"), {}, {}, bundle={})
