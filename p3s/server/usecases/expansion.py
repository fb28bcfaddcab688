"""Expansion: text and parameters become a ranked plan. A large text is worked on in a process of its own.

Parsing and ranking hold the interpreter for seconds where a DAG has a hundred thousand jobs; the serving process
must answer heartbeats meanwhile.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from p3s.engine.expand import expand_dag
from p3s.engine.graph import schedule_plan, sort_jobs
from p3s.engine.load import load_dag
from p3s.engine.overrides import override_dag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.engine.plan import WorkflowPlan
    from p3s.wire import ExternalMember, LoadBody

__all__ = ["Source", "expand_text"]

#: Characters of text, or members of external datasets times a hundred, from which a child process is worth its start.
LARGE = 200_000


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a DAG, the files that travel with it, the extensions of datatypes; ids where it is stored already."""

    text: str
    file: str
    files: tuple[str, ...]
    extensions: Mapping[str, str]
    dag_id: int | None = None
    bundle_id: int | None = None


def expand_text(
    source: Source, body: LoadBody, expected: Mapping[str, Mapping[str, float]], max_jobs: int
) -> tuple[WorkflowPlan, list[str]]:
    """Return the ranked plan, and its jobs' names in topological order.

    Parameters
    ----------
    source : Source
        The text and its bundle.
    body : LoadBody
        Its `params` and `externals`.
    expected : mapping
        Seconds by DAG and family of jobs.
    max_jobs : int
        The largest workflow.

    Raises
    ------
    BadInput
        With every problem.
    """
    arguments = (source, dict(body.params), body.overrides, dict(body.externals), expected, max_jobs)
    members = sum(len(found) for found in body.externals.values())
    if len(source.text) + 100 * members < LARGE:
        return _expand(*arguments)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_expand, *arguments).result()


def _expand(
    source: Source,
    params: dict[str, str],
    overrides: dict[str, Any],
    externals: dict[str, list[ExternalMember]],
    expected: Mapping[str, Mapping[str, float]],
    max_jobs: int,
) -> tuple[WorkflowPlan, list[str]]:
    spec = override_dag(load_dag(source.text, source.file), overrides)
    plan = expand_dag(spec, params, externals, bundle=source.files, max_jobs=max_jobs, extensions=source.extensions)
    plan = schedule_plan(plan, expected.get(plan.name, {}))
    return plan, sort_jobs(plan)
