"""Datatypes and datasets, against a real server and pilot."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.processes

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
