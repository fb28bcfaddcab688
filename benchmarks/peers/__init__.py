"""Other engines, one file each, run by the Python of an environment of their own (``make bench`` installs it).

Each file is a script: ``huey_peer.py bag 1000 2`` runs 1,000 ``/bin/true`` in two workers, ``chain 100 2`` a hundred
one after the other, and prints the seconds from the first submission to the last end. ``idle 0 2 [[0.15,20]]``
prints what `benchmarks.idle.measure_idle` returns, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["find_peers", "measure_idle_peer", "measure_peer", "read_plan", "show"]

PYTHON = Path(".venv-bench/bin/python")
ROOT = Path(__file__).parents[2]
#: Those that start a single job within a moment.
PROMPT = ("celery", "dask", "huey", "hyperqueue", "parsl", "procrastinate")
_SLOTS = {"bag-2": ("bag", 2), "bag-8": ("bag", 8), "chain": ("chain", 2)}


def find_peers() -> list[str]:
    """Return the peers that can be run here: none without their environment."""
    if not PYTHON.exists():
        return []
    return sorted(path.stem.removesuffix("_peer") for path in Path(__file__).parent.glob("*_peer.py"))


def measure_peer(name: str, case: str, number: int, database: str) -> float | None:
    """Return a peer's ms per job, None if it has no such case.

    Parameters
    ----------
    name, case : str
        Which peer does what.
    number : int
        How many jobs.
    database : str
        The address of an empty PostgreSQL database, for a peer that keeps its jobs there.
    """
    if case not in _SLOTS:
        return None
    kind, slots = _SLOTS[case]
    return float(_run(name, [kind, str(number), str(slots)], database)) * 1000 / number


def measure_idle_peer(name: str, plan: Sequence[tuple[float, int]], database: str) -> list[list[float]]:
    """Return for each entry of the plan what `benchmarks.idle.measure_idle` does."""
    found: list[list[float]] = _run(name, ["idle", "0", "2", json.dumps(plan)], database)
    return found


def read_plan() -> list[tuple[float, int]]:
    """Return the plan that a script is given."""
    return [(pause, number) for pause, number in json.loads(sys.argv[4])]


def show(value: float | list[list[float]]) -> None:
    """Print what a peer has measured."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def _run(name: str, words: list[str], database: str) -> Any:
    script = Path(__file__).parent / f"{name}_peer.py"
    env = os.environ | {"P3S_BENCH_POSTGRES": database, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(PYTHON), str(script), *words], capture_output=True, text=True, timeout=300, check=False, env=env
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed at {words[0]}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.split("\n")[-2])
