"""Graphs in the terminal and as SVG, of a real workflow and of a file."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from p3s.engine.drawing import COLORS
from tests.cli.conftest import DIAMOND

pytestmark = pytest.mark.processes

BROKEN = DIAMOND.replace("name: diamond", "name: broken").replace('cp "$seed" "$two"', "exit 3")


def test_states_are_shown(farm):
    """Each job stands below what it waits for, with its state; SVG has the colours of the states."""
    path = farm.write("broken.yaml", BROKEN)
    ident = farm.run("workflow", "load", str(path), "--watch", "-q", check=1).stdout.split()[0]
    shown = farm.run("workflow", "graph", ident).stdout.splitlines()
    assert shown[0] == "o top  finished"
    assert set(shown[1:3]) == {"  o left  finished  <- seed from top", "  o right  failed  <- seed from top"}
    assert shown[3].startswith("    o join  skipped  <- ")
    rows = json.loads(farm.run("workflow", "graph", ident, "--json").stdout)
    assert {row["name"]: row["layer"] for row in rows} == {"top": 0, "left": 1, "right": 1, "join": 2}
    svg = farm.run("workflow", "graph", ident, "--svg", "-").stdout
    ET.fromstring(svg)
    for state in ("finished", "failed", "skipped"):
        assert COLORS[state] in svg


def test_a_file_is_drawn(farm, tmp_path):
    """A file is drawn without being loaded; names are escaped; what cannot be written is told."""
    text = "name: x\ndatasets: {raw: /data/raw.csv}\njobs: {a: {inputs: [raw], run: ls}, b: {needs: [a], run: ls}}\n"
    path = farm.write("x.yaml", text)
    assert farm.run("workflow", "graph", str(path)).stdout == "= raw\n  o a  <- raw\n    o b  <- a\n"
    farm.run("workflow", "graph", str(path), "--svg", str(tmp_path / "x.svg"))
    assert ET.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")
    assert "cannot be written" in farm.run("workflow", "graph", str(path), "--svg", "/nowhere/x.svg", check=64).stderr
    farm.run("workflow", "graph", "nothing", check=5)
