"""Overrides: what is set by path, and the original's file and job information."""

from __future__ import annotations

from functools import partial

import pytest

from p3s.engine.expand import expand_dag
from p3s.engine.load import load_dag
from p3s.engine.overrides import convert_file_info, convert_job_info, name_files, override_dag
from p3s.errors import BadInput

TEXT = """\
name: x
datasets: {raw: /data/raw.csv}
jobs:
  NOOP1:
  a.b: {inputs: [raw], needs: [NOOP1], outputs: {hits: {path: hits.csv, type: CSV}}, run: 'true'}
  Monitor:Main:
    matrix: {plane: [u, v]}
    inputs: [hits]
    outputs: {trk: 'trk-${{ matrix.plane }}.csv'}
    publish: {trk: '/pub/trk-${{ matrix.plane }}.csv'}
    payload: /bin/true
    args: [x]
"""


def problems_of(call, *arguments):
    """Return what a call refuses."""
    with pytest.raises(BadInput) as caught:
        call(load_dag(TEXT, "x.yaml"), *arguments)
    return [str(problem) for problem in caught.value.problems]


def test_values_are_set_by_path():
    """Names with dots and colons are found, maps are made where there are none, None takes out."""
    spec = load_dag(TEXT, "x.yaml")
    made = override_dag(
        spec,
        {
            "jobs.a.b.env.X": "1",
            "jobs.Monitor:Main.args": None,
            "jobs.Monitor:Main.timelimit": "5m",
            "datasets.raw.path": "/other.csv",
            "defaults.env.Y": "2",
            "deadline": "1h",
        },
    )
    assert made.jobs["a.b"].env == {"X": "1"}
    assert (made.jobs["Monitor:Main"].args, made.jobs["Monitor:Main"].timelimit) == ([], 300.0)
    assert (made.datasets["raw"].path, made.defaults.env, made.deadline) == ("/other.csv", {"Y": "2"}, 3600.0)
    assert spec.jobs["a.b"].env == {}


def test_a_new_payload_takes_the_old_ones_place():
    """A payload replaces a script, a script a payload with its arguments."""
    made = override_dag(load_dag(TEXT, "x.yaml"), {"jobs.a.b.payload": "/bin/date", "jobs.Monitor:Main.run": "ls"})
    assert (made.jobs["a.b"].run, made.jobs["a.b"].payload) == (None, "/bin/date")
    assert (made.jobs["Monitor:Main"].run, made.jobs["Monitor:Main"].payload) == ("ls", None)
    assert made.jobs["Monitor:Main"].args == []


def test_paths_that_lead_nowhere_are_all_told():
    """Each wrong path is named with what may have been meant; a wrong value is refused as in a file."""
    found = problems_of(override_dag, {"jobs.c.env.X": "1", "job.a.b.run": "x", "jobs.a.b": "x", "jobs.a.b.run.x": "1"})
    assert len(found) == 4
    assert "did you mean 'jobs'?" in found[1]
    assert "must be a whole number" in problems_of(override_dag, {"jobs.a.b.priority": "high"})[0]
    assert "unknown key 'colour'" in problems_of(override_dag, {"jobs.a.b.colour": "red"})[0]


def test_file_information():
    """External and produced files are moved; the rest of a place stays."""
    spec = load_dag(TEXT, "x.yaml")
    info = {
        "NOOP1:a.b": {"dirpath": "/new", "comment": "here"},
        "a.b:Monitor:Main": {"name": "h.csv", "dirpath": "/pub"},
    }
    assert convert_file_info(spec, info) == {
        "datasets.raw.path": "/new/raw.csv",
        "datasets.raw.comment": "here",
        "jobs.a.b.outputs.hits.path": "h.csv",
        "jobs.a.b.publish.hits": "/pub/h.csv",
    }
    override_dag(spec, convert_file_info(spec, info))
    assert "there is no such edge" in problems_of(convert_file_info, {"a.b:NOOP1": {"name": "x"}})[0]
    assert "unknown key 'nam'" in problems_of(convert_file_info, {"NOOP1:a.b": {"nam": "x"}})[0]
    assert "must be a JSON object" in problems_of(convert_file_info, [])[0]


def test_job_information():
    """Payloads become what runs the same; a sync point can be given one; unknown jobs are told."""
    spec = load_dag(TEXT, "x.yaml")
    found = convert_job_info(
        spec, {"NOOP1": {"payload": "date"}, "a.b": {"payload": "x > y", "env": {"P3S_EXECMODE": "SHELL"}}}
    )
    made = override_dag(spec, found)
    assert (made.jobs["NOOP1"].run, made.jobs["a.b"].run, made.jobs["a.b"].shell) == ("exec date", "x > y", "sh")
    assert "there is no job 'c'" in problems_of(convert_job_info, {"c": {}})[0]


def test_names_are_inherited():
    """Names are made of the text, the job and the variable, one for each member of a family; extensions stay."""
    spec = load_dag(TEXT, "x.yaml")
    found = name_files(spec, "inherit:run7", {})
    assert found == {
        "jobs.a.b.outputs.hits.path": "run7-a.b-hits.csv",
        "jobs.Monitor:Main.outputs.trk.path": "run7-Monitor:Main-trk-${{ matrix.plane }}.csv",
        "jobs.Monitor:Main.publish.trk": "/pub/run7-Monitor:Main-trk-${{ matrix.plane }}.csv",
    }
    override_dag(spec, found)
    assert "neither `sticky`" in problems_of(partial(name_files, extensions={}), "inherits")[0]


def test_unnamed_files_are_named_by_their_datatype():
    """An output without a path gets the extension of its datatype, also in a published folder."""
    text = "name: x\njobs: {a: {outputs: {y: {type: H5}, z: {type: CSV}, u: }, run: x, publish: {y: /pub/}}}"
    spec = load_dag(text, "x.yaml")
    job = expand_dag(spec, {}, {}, bundle=(), extensions={"H5": ".hdf5"}).jobs["a"]
    assert {output.name: output.path for output in job.outputs} == {"y": "y.hdf5", "z": "z.csv", "u": "u"}
    assert job.publish == {"y": "/pub/y.hdf5"}
    assert name_files(spec, "inherit:run7", {"H5": ".hdf5"})["jobs.a.publish.y"] == "/pub/run7-a-y.hdf5"
