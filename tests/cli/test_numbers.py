"""Numbers of JSON results are kept and listed beside the params."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.processes

DAG = """\
name: counted
params: {n: {type: int}}
results: [sums, text]
jobs:
  count:
    outputs: {sums: sums.json, text: text.txt}
    run: |
      echo "{\\"n\\": $n, \\"fit\\": {\\"slope\\": 0.5}, \\"good\\": true, \\"bins\\": [1, 2]}" > "$sums"
      echo plain > "$text"
"""


def test_numbers_are_listed(farm):
    """Each workflow's numbers stand beside its params; a key chooses one; other results have none."""
    path = farm.write("counted.yaml", DAG)
    for n in (3, 4, 3):
        farm.run("workflow", "load", str(path), "-p", f"n={n}", "--watch", "-q")
    found = json.loads(farm.run("dag", "numbers", "counted", "--json").stdout)
    assert [(item["params"]["n"], item["result"], item["numbers"]) for item in found] == [
        (str(n), "sums", {"n": float(n), "fit.slope": 0.5}) for n in (3, 4, 3)
    ]
    head, *rows = farm.run("dag", "numbers", "counted", "--key", "fit.slope", "-n", "2").stdout.splitlines()
    assert head.split() == ["WORKFLOW", "AGE", "n", "RESULT", "fit.slope"]
    assert [row.split()[2:] for row in rows] == [["3", "sums", "0.5"], ["4", "sums", "0.5"]]
    assert "no numbers" in farm.run("dag", "numbers", "counted", "--key", "none").stderr
    farm.run("dag", "numbers", "nothing", check=5)
