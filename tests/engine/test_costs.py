"""Hostile files cost no more than good ones of their size: measured side by side, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.graphml import load_graphml
from p3s.engine.load import load_dag, load_standalone
from p3s.engine.original import read_job_list
from p3s.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

#: Characters of each file, about.
SIZE = 100_000
#: How many times the CPU time of a good file a hostile one may take; it is below 2 on a quiet machine.
RATIO = 4
#: Bytes by which all of them together may make the process grow.
GROWTH = 100_000_000
ROOT = Path(__file__).parents[2]

GOOD = "name: x\njobs:\n" + "".join(f" j{number}: {{run: x}}\n" for number in range(SIZE // 18))
GRAPH = (
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    '<key id="p" for="node" attr.name="payload" attr.type="string"/><graph edgedefault="directed">'
)
NODES = "".join(f'<node id="n{number}"><data key="p">/bin/true</data></node>' for number in range(100))


def make_job(text: str) -> str:
    """Return a DAG of one job with something in it."""
    return f"name: x\njobs: {{a: {{run: x, {text}}}}}"


def make_texts() -> dict[str, str]:
    """Return hostile YAML and JSON."""
    return {
        "brackets": "[" * SIZE,
        "braces": "{a: " * (SIZE // 4),
        "sequences": "- " * (SIZE // 2),
        "indentation": "\n".join(" " * depth + "a:" for depth in range(440)),
        "unclosed": "'" + "x" * SIZE,
        "aliases": "a: &a [x]\n" + "".join(f"b{number}: *a\n" for number in range(SIZE // 10)),
        "alias bomb": "a: &a [x,x,x,x]\n" + "".join(f"b{number}: &b{number} [*a,*a]\n" for number in range(100)),
        "anchors": "".join(f"- &a{number} x\n" for number in range(8000)),
        "merges": "<<: {a: 1}\n" * 8000,
        "tags": "!!python/object:os.system " * 4000,
        "documents": "---\n" * (SIZE // 4),
        "digits": make_job(f"priority: {'9' * SIZE}"),
        "exponent": make_job(f"timelimit: 1e{'9' * SIZE}"),
        "faults": "name: x\njobs:\n" + "".join(f" j{number}: {{zz: 1}}\n" for number in range(SIZE // 18)),
        "cycle": "name: x\njobs:\n" + "".join(f" j{n}: {{run: x, needs: [j{(n + 1) % 3000}]}}\n" for n in range(3000)),
        "matrix": make_job(
            "matrix: {" + ", ".join(f"m{axis}: [{', '.join(map(str, range(100)))}]" for axis in range(200)) + "}"
        ),
        "parentheses": make_job("if: '${{ " + "(" * 20000 + "1" + ")" * 20000 + " }}'"),
        "product": make_job('env: {z: \'${{ "a" ' + "* 9999 " * 8000 + "}}'}"),
        "power": make_job("if: '${{ 9 ** 9 ** 9 ** 9 }}'"),
        "padding": make_job("env: {z: '${{ \"a\" | pad(999999999) }}'}"),
        "range": make_job("env: {z: '${{ range(99999999) | list }}'}"),
        "NUL": "\0" * SIZE,
        "bidi": "name: " + "\u202e" * (SIZE // 3),
        "job list": "[" + ",".join(['{"name":"x"}'] * 7000) + "]",
    }


def make_graphs() -> dict[str, str]:
    """Return hostile GraphML."""
    nested = "".join(f'<!ENTITY a{level} "{"&a;" * 10}">' for level in range(10))
    edges = "".join(
        f'<edge source="n{one}" target="n{two}"/>' for one in range(100) for two in range(one + 1, min(one + 24, 100))
    )
    return {
        "entity bomb": f'<!DOCTYPE x [<!ENTITY a "aaaa">{nested}]><graphml>&a9;</graphml>',
        "outside entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><graphml>&a;</graphml>',
        "depth": "<a>" * (SIZE // 3),
        "attributes": "<graphml " + " ".join(f'a{number}="x"' for number in range(10000)) + "/>",
        "dense": f"{GRAPH}{NODES}{edges}</graph></graphml>",
        "loop": f'{GRAPH}{NODES}<edge source="n0" target="n1"/><edge source="n1" target="n0"/></graph></graphml>',
        "text": f"<graphml>{'x' * SIZE}</graphml>",
        "NUL in XML": "<graphml>\0</graphml>",
    }


def measure(readers: tuple[Callable[[str, str], object], ...], text: str) -> float:
    """Return the CPU time of reading a text, in seconds; whatever it is, it is read or it is bad input."""
    begun = time.process_time()
    for read in readers:
        with contextlib.suppress(BadInput):
            read(text, "x")
    return time.process_time() - begun


def measure_all() -> dict[str, float]:
    """Return the CPU time of each hostile file in that of a good one, and the growth of this process in bytes."""
    texts, graphs = (load_dag, load_standalone, read_job_list), (load_graphml,)
    measure(texts, "name: x\njobs: {a: {run: x}}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    good = measure(texts, GOOD)
    found = {name: measure(texts, text) / good for name, text in make_texts().items()}
    found |= {name: measure(graphs, text) / good for name, text in make_graphs().items()}
    return found | {"growth": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024.0}


def test_hostile_files_cost_no_more_than_good_ones() -> None:
    """No bomb, depth, number or product takes more than a few times the time of a good file, or much memory."""
    code = "import json; from tests.engine.test_costs import measure_all; print(json.dumps(measure_all()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, float] = json.loads(done.stdout)
    assert found.pop("growth") < GROWTH
    assert {name: ratio for name, ratio in found.items() if ratio > RATIO} == {}
