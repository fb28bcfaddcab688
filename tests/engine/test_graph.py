"""The graph, ranks and the release rule: on made cases and on random DAGs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p3s.engine.graph import build_graph, find_critical_path, find_generations, schedule_plan
from p3s.engine.plan import DatasetPlan, InputPlan, JobPlan, OutputPlan, WorkflowPlan
from p3s.engine.release import find_broken, find_released
from p3s.engine.states import FINAL_JOB, DatasetState, JobState
from p3s.errors import BadInput
from tests.engine.makers import make_plan

DIAMOND = (
    " a: {outputs: [p], run: x}\n b: {inputs: [p], outputs: [q], run: x}\n c: {inputs: [p], outputs: [r], run: x}\n"
)


def test_ranks_and_critical_path() -> None:
    """A job's rank is the longest expected time to the end; unknown families count with the median of the known."""
    plan = schedule_plan(make_plan(DIAMOND + " d: {inputs: [q, r], run: x}"), {"a": 1, "b": 10, "c": 4})
    assert {name: job.rank for name, job in plan.jobs.items()} == {"a": 15, "b": 14, "c": 8, "d": 4}
    assert plan.critical_path == 15
    assert find_critical_path(plan) == ["a", "b", "d"]
    assert find_generations(plan) == [["a"], ["b", "c"], ["d"]]


def test_unknown_times_are_a_minute_and_waiting_takes_none() -> None:
    """Without any record a job counts 60 s; sync points and skipped jobs count nothing."""
    plan = schedule_plan(
        make_plan(" a: {run: x}\n s: {needs: a}\n b: {run: x, needs: s}\n c: {run: x, needs: b, if: 0}"), {}
    )
    assert [job.rank for job in plan.jobs.values()] == [120, 60, 60, 0]


@pytest.mark.parametrize(
    ("last", "tolerated"),
    [
        (" d: {inputs: [q, r]}", set()),
        (" d: {inputs: {q: partial, r: }}", {"b"}),
        (" d: {inputs: {q: partial, r: partial}}", {"a", "b", "c"}),
        (" d: {needs: {b: done, c: done}}", {"a", "b", "c"}),
        (" d: {needs: {b: done}}\n e: {needs: [b]}", set()),
        (" d: {inputs: [q]}\n e: {needs: {d: done}}", {"b", "d"}),
    ],
)
def test_tolerated_jobs(last: str, tolerated: set[str]) -> None:
    """A failure is tolerated if the job has successors and every path down meets `partial` or `done`."""
    plan = schedule_plan(make_plan(DIAMOND + last), {})
    assert {name for name, job in plan.jobs.items() if job.tolerated} == tolerated


def test_cycle_of_a_made_plan_is_refused() -> None:
    """A plan that was not expanded from a checked file is checked for cycles, too."""
    jobs = {
        "a": JobPlan("a", "a", inputs=(InputPlan("q", ("q",)),), outputs=(OutputPlan("p", "p", "p"),)),
        "b": JobPlan("b", "b", inputs=(InputPlan("p", ("p",)),), outputs=(OutputPlan("q", "q", "q"),)),
        "c": JobPlan("c", "c", needs=(("a", False),)),
    }
    plan = WorkflowPlan("x", jobs, {key: DatasetPlan(key, key) for key in "pq"})
    with pytest.raises(BadInput, match=r"cycle: .*dataset [pq] -> "):
        schedule_plan(plan, {})
    loop = WorkflowPlan("x", {"a": JobPlan("a", "a", needs=(("a", False),))}, {})
    with pytest.raises(BadInput, match="cycle: a -> a"):
        find_generations(loop)


def test_empty_plan() -> None:
    """A plan without jobs has no layers and takes no time."""
    plan = WorkflowPlan("x", {}, {})
    assert schedule_plan(plan, {}).critical_path == 0
    assert find_generations(plan) == []
    assert find_critical_path(plan) == []


def test_join_waits_for_both_parents() -> None:
    """A job with two parents is never released by the first of them."""
    graph = build_graph(make_plan(" a: {run: x}\n b: {run: x}\n c: {needs: [a, b]}"))
    states = {"a": JobState.FINISHED, "b": JobState.RUNNING, "c": JobState.WAITING}
    assert find_released(graph, states, {}) == set()
    assert find_released(graph, states | {"b": JobState.FINISHED}, {}) == {"c"}
    assert find_broken(graph, states | {"b": JobState.CANCELLED}, {}) == {"c"}


def test_partial_input_takes_any_end() -> None:
    """A partial fan-in is released when the last member has ended, however it did."""
    plan = make_plan(" a: {matrix: {n: [1, 2]}, outputs: [q], run: x}\n b: {inputs: {q: partial}}\n c: {inputs: [q]}")
    graph = build_graph(plan)
    jobs = {"a-1": JobState.FINISHED, "a-2": JobState.RUNNING, "b": JobState.WAITING, "c": JobState.HELD}
    data = {"q-1": DatasetState.AVAILABLE, "q-2": DatasetState.EXPECTED}
    assert find_released(graph, jobs, data) == set()
    data["q-2"] = DatasetState.FAILED
    assert find_released(graph, jobs, data) == {"b"}
    assert find_broken(graph, jobs, data) == {"c"}


@st.composite
def plans(draw: st.DrawFn) -> WorkflowPlan:
    """Random DAGs with inputs, control edges, partial edges and externals."""
    jobs: dict[str, JobPlan] = {}
    data = {
        f"x{number}": DatasetPlan(f"x{number}", f"x{number}", place="/x") for number in range(draw(st.integers(0, 2)))
    }
    for number in range(draw(st.integers(1, 12))):
        name = f"j{number}"
        taken = draw(st.lists(st.sampled_from(sorted(data)), unique=True, max_size=4)) if data else []
        parents = draw(st.lists(st.sampled_from(sorted(jobs)), unique=True, max_size=3)) if jobs else []
        keys = [f"d{number}.{item}" for item in range(draw(st.integers(0, 2)))]
        jobs[name] = JobPlan(
            name,
            name,
            run="x",
            inputs=tuple(InputPlan(key, (key,), partial=draw(st.booleans())) for key in taken),
            outputs=tuple(OutputPlan(key, key, key) for key in keys),
            needs=tuple((parent, draw(st.booleans())) for parent in parents),
        )
        data |= {key: DatasetPlan(key, key, producer=name) for key in keys}
    return WorkflowPlan("random", jobs, data)


@settings(max_examples=150, deadline=None)
@given(plan=plans(), seed=st.integers(0, 2**32))
def test_everything_is_released_in_order_and_ends(plan: WorkflowPlan, seed: int) -> None:
    """Under random failures nothing starts before all its predecessors are done, and every job ends."""
    dice = random.Random(seed)
    plan = schedule_plan(plan, {})
    graph = build_graph(plan)
    jobs = dict.fromkeys(plan.jobs, JobState.WAITING)
    data = {
        key: DatasetState.EXPECTED if item.producer else dice.choice([DatasetState.AVAILABLE, DatasetState.FAILED])
        for key, item in plan.datasets.items()
    }

    def end(name: str, state: JobState) -> None:
        jobs[name] = state
        for output in plan.jobs[name].outputs:
            data[output.key] = DatasetState.AVAILABLE if state is JobState.FINISHED else DatasetState.FAILED

    started: set[str] = set()
    for _ in range(3 * len(jobs) + 1):
        released = find_released(graph, jobs, data)
        broken = find_broken(graph, jobs, data)
        assert not released & broken
        for name in released:
            job = plan.jobs[name]
            assert all(jobs[parent] in FINAL_JOB for parent, _ in job.needs)
            assert all(done or jobs[parent] is JobState.FINISHED for parent, done in job.needs)
            for item in job.inputs:
                assert all(data[key] is not DatasetState.EXPECTED for key in item.keys)
                assert item.partial or all(data[key] is DatasetState.AVAILABLE for key in item.keys)
            jobs[name] = JobState.DEFINED
            started.add(name)
        for name in broken:
            end(name, JobState.SKIPPED)
        running = [name for name, state in jobs.items() if state is JobState.DEFINED]
        if running:
            end(dice.choice(running), dice.choice([JobState.FINISHED, JobState.FAILED, JobState.CANCELLED]))
        elif not broken:
            break
    assert all(state in FINAL_JOB for state in jobs.values())
    assert all((jobs[name] is JobState.SKIPPED) == (name not in started) for name in jobs)
    assert {name for layer in find_generations(plan) for name in layer} == set(jobs)


@settings(max_examples=100, deadline=None)
@given(plan=plans())
def test_ranks_fall_along_every_edge(plan: WorkflowPlan) -> None:
    """A predecessor's rank is its own time more than any successor's at least, and the longest path is the largest."""
    plan = schedule_plan(plan, {})
    producers = {key: item.producer for key, item in plan.datasets.items()}
    layers = {name: number for number, layer in enumerate(find_generations(plan)) for name in layer}
    for name, job in plan.jobs.items():
        before = [producers[key] for item in job.inputs for key in item.keys] + [parent for parent, _ in job.needs]
        for parent in filter(None, before):
            assert plan.jobs[parent].rank >= job.rank + 60
            assert layers[parent] < layers[name]
    assert plan.critical_path == max(job.rank for job in plan.jobs.values())
    assert 60 * len(find_critical_path(plan)) == plan.critical_path
