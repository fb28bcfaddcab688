"""DAGs in and out, their versions, and what is changed for one workflow, against a real server and pilot."""

from __future__ import annotations

import json

import pytest

from p3s.engine.load import load_dag
from p3s.engine.writing import dump_spec
from tests.engine.test_graphml import FILTER
from tests.support.servers import wait_until

pytestmark = pytest.mark.processes

DAG = """\
name: once
params: {word: {required: true}}
results: [said]
jobs:
  say: {outputs: {said: said.txt}, run: 'echo "$word $X" > "$said"', env: {X: one}}
"""


@pytest.fixture(scope="module")
def once(farm):
    """A stored DAG."""
    path = farm.write("once.yaml", DAG)
    farm.run("workflow", "load", str(path), "-p", "word=first", "--watch", "-q")
    return "once"


def read_result(farm, ident):
    """Return what the workflow said."""
    farm.run("workflow", "watch", ident)
    (found,) = farm.client.list_results(ident).items
    return farm.client.fetch_blob(found.digest).decode()


def check_published(path, text):
    """Wait until a pilot has published a file, which it does after acceptance."""
    wait_until(path.exists, 20, f"{path} is published")
    assert path.read_text() == text


def test_the_originals_graphml_runs(farm, tmp_path):
    """A GraphML file of the original is loaded, waits for its input, runs in a shell, and publishes its output."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "input.txt").write_text("A\nB\nA\n")
    text = FILTER.replace("/data/", f"{data}/")
    (data / "out").mkdir()
    path = farm.write("filter.graphml", text)
    ident = farm.run("workflow", "load", str(path), "--watch", "-q").stdout.strip().splitlines()[0]
    check_published(data / "out/output.txt", "2\n")
    exported = farm.run("workflow", "export", ident, "--format", "graphml").stdout
    again = farm.write("again.graphml", exported)
    shown = [farm.run("workflow", "export", str(name), "--json").stdout for name in (path, again)]
    assert json.loads(shown[0]) == json.loads(shown[1])
    (data / "other.txt").write_text("A\n")
    files = json.dumps({"NOOP1:filter": {"name": "other.txt"}, "filter:NOOP2": {"name": "new.txt"}})
    farm.run("dag", "run", "filter", "--files", files, "--watch", "-q")
    check_published(data / "out/new.txt", "1\n")
    jobs = farm.write("jobs.json", '{"filter": {"payload": "cat $INPTXT > $OUTTXT"}}')
    farm.run("dag", "run", "filter", "--jobs", str(jobs), "--names", "inherit:r1", "--watch", "-q")
    check_published(data / "out/r1-filter-OUTTXT.txt", "A\nB\nA\n")
    broken = farm.write("broken.graphml", exported.replace("filter", "other", 1))
    assert "was edited" in farm.run("workflow", "load", str(broken), check=64).stderr


def test_exports_load_again(farm, once):
    """A stored DAG, a workflow and a file are written in each format; what loads again is the same."""
    for kind in ("yaml", "json"):
        text = farm.run("workflow", "export", once, "--format", kind).stdout
        assert dump_spec(load_dag(text, "x.yaml")) == dump_spec(load_dag(DAG, "x.yaml"))
    assert '"say" -> "_end" [label="said"]' in farm.run("workflow", "export", once, "--format", "dot").stdout
    assert "no workflow and no DAG" in farm.run("workflow", "export", "nothing", check=5).stderr


def test_one_workflow_is_changed(farm, once):
    """What is set for a run reaches its payload, is shown, is exported with it, and makes no new version."""
    value = farm.write("word.txt", "from a file\n")
    ident = farm.run("dag", "run", once, "-p", f"word=@{value}", "--set", "jobs.say.env.X=two", "-q").stdout.strip()
    assert read_result(farm, ident) == "from a file two\n"
    assert "jobs.say.env.X=two" in farm.run("workflow", "show", ident).stdout
    assert "X: two" in farm.run("workflow", "export", ident).stdout
    assert farm.client.show_dag(once).version == 1
    again = farm.run("workflow", "retry", ident, "--from", "say", "-q").stdout.strip()
    assert read_result(farm, again) == "from a file two\n"
    for wrong in (["--set", "jobs.sya.env.X=1"], ["--files", "{oops"], ["--jobs", "none.json"], ["--names", "new"]):
        farm.run("dag", "run", once, "-p", "word=x", *wrong, check=64)
    assert "cannot be read" in farm.run("dag", "run", once, "-p", "word=@/nowhere", check=64).stderr
    escaped = farm.run("dag", "run", once, "-p", "word=@@home", "-q").stdout.strip()
    assert read_result(farm, escaped) == "@home one\n"


def test_versions_are_compared(farm):
    """Two versions of a DAG are compared line by line, and the files that travel by content."""
    text = "name: twice\nfiles: [a.txt]\njobs: {a: {run: cat a.txt}}\n"
    farm.write("a.txt", "one")
    farm.run("workflow", "load", str(farm.write("twice.yaml", text)), "-q")
    assert "the first of twice" in farm.run("dag", "diff", "twice", check=64).stderr
    farm.write("a.txt", "second")
    farm.run("workflow", "load", str(farm.write("twice.yaml", text.replace("cat", "wc"))), "-q")
    shown = farm.run("dag", "diff", "twice").stdout
    assert "-jobs: {a: {run: cat a.txt}}" in shown
    assert "+jobs: {a: {run: wc a.txt}}" in shown
    assert "file a.txt: changed, 3 to 6 bytes" in shown
    assert json.loads(farm.run("dag", "diff", "twice", "--json").stdout)["from"] == 1
    assert "are the same" in farm.run("dag", "diff", "twice", "--from", "2", "--to", "2").stderr
