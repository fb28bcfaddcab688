"""Broken files for the loaders of YAML, JSON and GraphML: ``python -m tests.fuzz_files --seconds 60``.

Each file is a good or a hostile one that was changed by chance, of at most 100 KB. It is read or it is bad input;
anything else, more than a second of CPU time or 100 MB of memory is a failure, printed with the number that makes the
file again (``--seed``). Each process reads its files in a process of its own, so that one that dies is told, too.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import resource
import subprocess
import sys
import time
import traceback
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.engine.expand import expand_dag
from p3s.engine.graphml import load_graphml
from p3s.engine.load import is_standalone, load_dag, load_standalone
from p3s.engine.original import read_job_list
from p3s.errors import BadInput
from tests.engine.test_costs import make_graphs, make_texts
from tests.support.files import GRAPH_PIECES, TEXT_PIECES, break_text

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
#: What one file of 100 KB may cost: seconds of CPU time, and bytes by which the process grows.
SECONDS = 1.0
GROWTH = 100_000_000
_GRAPH = (
    '<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    '<key id="p" for="node" attr.name="payload" attr.type="string"/>'
    '<key id="d" for="edge" attr.name="dirpath" attr.type="string"/><graph id="g" edgedefault="directed">'
    '<node id="a"><data key="p">/bin/true</data></node><node id="b"><data key="p">/bin/true</data></node>'
    '<edge source="a" target="b"><data key="d">/data</data></edge></graph></graphml>'
)


@cache
def list_seeds() -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    """Return the good and the hostile texts that are changed, then the good and the hostile graphs."""
    found = [path.read_text() for kind in ("yaml", "json") for path in sorted((ROOT / "workflows").rglob(f"*.{kind}"))]
    jobs: dict[str, Any] = {f"j{number}": {"run": "x", "needs": []} for number in range(20)}
    found.append(json.dumps({"name": "x", "jobs": jobs}))
    good = [text for text in found if len(text) < 20_000]
    return (good, list(make_texts().values())), ([_GRAPH], list(make_graphs().values()))


def make_file(seed: int) -> tuple[bool, str]:
    """Return whether a file is a graph, and its text."""
    dice = random.Random(seed)
    is_graph, is_hostile = dice.random() < 0.25, dice.random() < 0.05
    seeds = list_seeds()[is_graph][is_hostile]
    return is_graph, break_text(dice, dice.choice(seeds), GRAPH_PIECES if is_graph else TEXT_PIECES)


def read_dag(text: str, file: str) -> object:
    """Read a DAG and expand it."""
    spec = load_dag(text, file)
    with contextlib.suppress(BadInput):
        expand_dag(spec, {"run": "1"}, {}, bundle={})
    return spec


def read_graph(text: str, file: str) -> object:
    """Read a graph and expand it."""
    spec = load_graphml(text, file)
    with contextlib.suppress(BadInput):
        expand_dag(spec, {}, {}, bundle={})
    return spec


def judge_file(seed: int) -> tuple[float, int, int, str]:
    """Return the dearest reader's CPU seconds, the growth of this process in bytes, how many read it, what is wrong."""
    is_graph, text = make_file(seed)
    readers: tuple[Callable[[str, str], object], ...]
    readers = (read_graph,) if is_graph else (read_dag, load_standalone, read_job_list, is_standalone)
    before, dearest, read, wrong = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, 0, ""
    for reader in readers:
        begun = time.process_time()
        try:
            reader(text, "x")
            read += reader is not is_standalone
        except BadInput:
            pass
        except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
            wrong = f"{reader.__name__}:\n{traceback.format_exc(limit=-3)}"
        dearest = max(dearest, time.process_time() - begun)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if dearest > SECONDS:
        wrong = wrong or f"it took {dearest:.2f} s of CPU time"
    if growth > GROWTH:
        wrong = wrong or f"the process grew by {growth / 1e6:.0f} MB"
    return dearest, growth, read, wrong


def work(first: int, step: int, seconds: float) -> None:
    """Read files for so long and print, as lines of JSON, what is wrong, and at last the sums."""
    judge_file(first)
    until = time.monotonic() + seconds
    files, read, dearest, largest = 0, 0, (0.0, 0), (0, 0)
    for seed in itertools.count(first, step):
        if time.monotonic() > until:
            break
        # Whoever started this process knows what the last file was.
        print(seed, flush=True)
        spent, growth, ok, wrong = judge_file(seed)
        files, read = files + 1, read + bool(ok)
        dearest, largest = max(dearest, (spent, seed)), max(largest, (growth, seed))
        if wrong:
            print(json.dumps({"seed": seed, "wrong": wrong}), flush=True)
    print(json.dumps({"files": files, "read": read, "dearest": dearest, "largest": largest}), flush=True)


def run(seconds: float, processes: int, seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the sums of each process, and what was wrong."""
    calls = [
        [sys.executable, "-m", "tests.fuzz_files", "--work", str(seed + number), str(processes), str(seconds)]
        for number in range(processes)
    ]
    children = [subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, text=True) for call in calls]
    sums, wrong = [], []
    for child in children:
        said = child.communicate()[0].splitlines()
        told = [json.loads(line) for line in said if line.startswith("{")]
        wrong += [f"--- file {one['seed']}\n{one['wrong']}" for one in told if "wrong" in one]
        sums += [one for one in told if "files" in one]
        if child.returncode != 0:
            wrong.append(f"--- file {said[-1] if said else seed}: the process ended with {child.returncode}")
    return sums, wrong


def main() -> int:
    """Run, and return 1 if a file was neither read nor bad input, or cost too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first file; the others follow")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(int(given.work[0]), int(given.work[1]), float(given.work[2]))
        return 0
    sums, wrong = run(given.seconds, given.processes, given.seed)
    print(*wrong, sep="\n")
    dearest, largest = (max([tuple(one[name]) for one in sums], default=(0, 0)) for name in ("dearest", "largest"))
    files, read = (sum(one[name] for one in sums) for name in ("files", "read"))
    print(f"the dearest file took {dearest[0]:.2f} s of CPU time (file {dearest[1]})")
    print(f"the largest growth of a process by one file was {largest[0] / 1e6:.0f} MB (file {largest[1]})")
    print(f"{files} files, {read} read and the others bad input, {len(wrong)} wrong")
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main())
