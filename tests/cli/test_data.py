"""Datatypes and datasets, against a real server and pilot."""

from __future__ import annotations

import json

import pytest

from tests.support.servers import wait_until

pytestmark = pytest.mark.processes

READER = """\
name: reader
datasets: {raw: {path: raw.csv}}
results: [copy]
jobs:
  read: {inputs: [raw], outputs: {copy: copy.csv}, run: 'cp "$raw" "$copy"'}
"""

TYPED = """\
name: typed
results: [note]
jobs:
  make: {outputs: {note: {type: H5}}, run: 'basename "$note" > "$note"'}
"""


def test_datatypes_name_files(farm):
    """A registered datatype names files; the same again changes nothing, another extension is refused."""
    farm.write(
        "txt.json", json.dumps([{"name": "TXT", "ext": ".txt", "comment": "plain"}, {"name": "H5", "ext": ".hdf5"}])
    )
    assert farm.run("datatype", "add", "-j", "txt.json").stdout.split() == ["TXT", "H5"]
    assert farm.run("datatype", "add", "TXT", ".txt", "-q").stdout == "TXT\n"
    refused = farm.run("datatype", "add", "TXT", ".text", check=4).stderr
    assert "has the extension .txt" in refused or "with the extension .txt" in refused
    assert "is no extension: a dot" in farm.run("datatype", "add", "BAD", "bad", check=64).stderr
    problems = farm.run("datatype", "add", "-j", '[{"name": "X"}, {"nam": "Y", "ext": ".y"}]', check=64).stderr
    assert all(word in problems for word in ("'ext' is missing", "unknown key 'nam'", "'name' is missing"))
    listed = json.loads(farm.run("datatype", "list", "--json").stdout)
    assert [(item["name"], item["ext"]) for item in listed] == [("H5", ".hdf5"), ("TXT", ".txt")]
    for options, name in (((), "note.hdf5"), (("--names", "inherit:run7"), "run7-make-note.hdf5")):
        path = farm.write("typed.yaml", TYPED)
        ident = farm.run("workflow", "load", str(path), *options, "--watch", "-q").stdout.split()[0]
        (found,) = farm.client.list_results(ident).items
        assert farm.client.fetch_blob(found.digest).decode().strip() == name
    farm.run("datatype", "delete", "TXT", "H5", "--yes")
    assert "`p3s datatype list`" in farm.run("datatype", "delete", "TXT", "--yes", check=5).stderr


def test_datasets_from_registration_to_deletion(farm, tmp_path):
    """Data is registered by hand and by JSON, shown with who made and reads it, adjusted, deleted and brought back."""
    raw = tmp_path / "raw.csv"
    path = tmp_path / "reader.yaml"
    path.write_text(READER)
    work = farm.run("workflow", "load", str(path), "-q").stdout.strip()
    waiting = json.loads(farm.run("dataset", "show", str(raw), "--json").stdout)
    assert (waiting["state"], waiting["waiting"]) == ("expected", [f"{work[:8]}/read (waiting)"])
    assert "nobody has registered" in waiting["why"]
    refused = farm.run("dataset", "delete", str(raw), "--yes", check=4).stderr
    assert f"job read of workflow {work[:8]} needs it; `--force`" in refused
    raw.write_text("1\n")
    described = {"name": "raw.csv", "dirpath": str(tmp_path), "datatype": "CSV", "state": "defined", "wf": "x"}
    other = {"place": str(path), "checksum": "md5:0"}
    wrong = farm.run("dataset", "register", "-j", json.dumps([described, other]), check=64).stderr
    assert "is no checksum" in wrong
    given = json.dumps([described, {"place": str(path), "comment": "a DAG"}])
    done = farm.run("dataset", "register", "-j", given, "--checksum", "compute")
    assert "`state` is not taken" in done.stderr
    farm.run("workflow", "watch", work)
    again = farm.run("dataset", "register", str(raw), "-q").stdout
    assert again.split() == done.stdout.split()[:1]
    made = farm.run("dataset", "show", f"{work}/copy").stdout
    for word in ("producer", "read", "attempts", "1 succeeded on", "sha256:"):
        assert word in made
    farm.run("dataset", "adjust", str(raw), "--comment", "beam off")
    assert "size is 2" in farm.run("dataset", "adjust", str(raw), "--size", "7", check=4).stderr
    shown = json.loads(farm.run("dataset", "show", str(raw), "--json").stdout)
    assert (shown["comment"], shown["datatype"], shown["consumers"]) == ("beam off", "CSV", [f"{work[:8]}/read"])
    raw.write_text("longer\n")
    second = farm.run("dataset", "register", str(raw), "-q").stdout.strip()
    listed = json.loads(farm.run("dataset", "list", "--place", str(raw), "--json").stdout)
    assert [(item["version"], item["uuid"] == second) for item in listed] == [(2, True), (1, False)]
    assert "would delete" in farm.run("dataset", "delete", second, "--dry-run").stderr
    assert farm.run("dataset", "delete", second, "--yes").stdout.strip() == second
    assert "was deleted by" in farm.run("why", second).stdout


def test_by_force_waiting_jobs_are_skipped(farm, tmp_path):
    """Data that will not come is deleted by force; its consumers are skipped with the reason, and a retry mends it."""
    path = tmp_path / "reader.yaml"
    path.write_text(READER)
    work = farm.run("workflow", "load", str(path), "-q").stdout.strip()
    told = farm.run("dataset", "delete", str(tmp_path / "raw.csv"), "--force", "--yes")
    assert "1 job skipped" in told.stderr
    assert "was deleted by" in farm.run("why", f"{work}/read").stdout
    assert json.loads(farm.run("workflow", "show", work, "--json").stdout)["state"] == "failed"
    (tmp_path / "raw.csv").write_text("1\n")
    farm.run("dataset", "register", str(tmp_path / "raw.csv"))
    farm.run("workflow", "retry", work)
    farm.run("workflow", "watch", work)


def test_verified_inputs_hold_what_was_recorded(farm, tmp_path):
    """A job that verifies its inputs runs on the recorded content, and does not start on another of the same size."""
    (tmp_path / "raw.csv").write_text("1\n")
    path = tmp_path / "reader.yaml"
    path.write_text(READER.replace("inputs: [raw]", "inputs: [raw], verify: true"))
    good = farm.run("workflow", "load", str(path), "--hold", "-q").stdout.strip()
    bad = farm.run("workflow", "load", str(path), "--hold", "-q").stdout.strip()
    farm.run("workflow", "start", good)
    farm.run("workflow", "watch", good)
    (tmp_path / "raw.csv").write_text("2\n")
    farm.run("workflow", "start", bad)

    def find_ended():
        return [one for one in farm.client.show_job(f"{bad}/read").attempts if one.ended is not None]

    wait_until(find_ended, 60, "the end of an attempt")
    # It may have been meant for another pilot, so it is tried again; nobody waits for that here.
    farm.run("workflow", "cancel", bad, "--yes")
    first = find_ended()[0]
    assert (first.state, first.reason, first.started) == ("failed", "bad-checksum", None)
    assert "instead of sha256:" in first.message
