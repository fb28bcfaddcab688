"""Other engines, one file each, run by the Python of an environment of their own (``make bench`` installs it).

Each file is a script: ``huey_peer.py bag 1000 2`` runs 1,000 ``/bin/true`` in two workers, ``chain 100 2`` a hundred
one after the other, and prints the seconds from the first submission to the last end.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["find_peers", "measure_peer"]

PYTHON = Path(".venv-bench/bin/python")
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
    script = Path(__file__).parent / f"{name}_peer.py"
    command = [str(PYTHON), str(script), kind, str(number), str(slots)]
    env = os.environ | {"P3S_BENCH_POSTGRES": database}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{name} failed at {case}: {done.stderr[-1000:]}")
    return float(done.stdout.split()[-1]) * 1000 / number
