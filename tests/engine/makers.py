"""Short ways to make what the engine's tests need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from p3s.engine.expand import expand_dag
from p3s.engine.load import load_dag
from p3s.errors import BadInput

if TYPE_CHECKING:
    from p3s.engine.plan import WorkflowPlan


@dataclass
class File:
    """A file as the client saw it."""

    place: str
    available: bool = True
    size: int | None = None
    checksum: str = ""


def make_plan(jobs: str, head: str = "", params: dict[str, str] | None = None, **externals: list[str]) -> WorkflowPlan:
    """Expand a DAG of these jobs (the YAML of ``jobs``), with each bundle file there."""
    spec = load_dag(f"name: x\n{head}\njobs:\n{jobs}", "x.yaml")
    files = {name: [File(place) for place in places] for name, places in externals.items()}
    bundle = ["a.py", "b.sh", "report.sh"]
    return expand_dag(spec, params or {}, files, bundle=bundle)


def find_messages(text: str) -> list[str]:
    """Return the problems of a DAG's text."""
    try:
        load_dag(text, "x.yaml")
    except BadInput as error:
        return [str(problem) for problem in error.problems]
    return []


def refuse(jobs: str, head: str = "", params: dict[str, str] | None = None, **externals: list[str]) -> list[str]:
    """Return the problems of a DAG that cannot be expanded."""
    with pytest.raises(BadInput) as caught:
        make_plan(jobs, head, params, **externals)
    return [str(problem) for problem in caught.value.problems]
