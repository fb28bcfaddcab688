"""The transition tables."""

from __future__ import annotations

from typing import Any

import pytest

from p3s.engine import states
from p3s.engine.states import ATTEMPT, DATASET, JOB, PILOT, WORKFLOW, Signal, compute_final_states, find_sources

#: Each table, the states that objects begin in, and the final ones.
TABLES: dict[str, tuple[Any, set[str], set[str]]] = {
    "job": (JOB, {"held", "waiting"}, {"finished", "failed", "cancelled", "skipped"}),
    "attempt": (ATTEMPT, {"dispatched"}, {"succeeded", "failed", "lost", "handed-back", "stopped"}),
    # Whoever registers deleted data brings it back.
    "dataset": (DATASET, {"expected"}, set()),
    "workflow": (WORKFLOW, {"loading"}, {"finished", "failed", "cancelled"}),
    "pilot": (PILOT, {"active"}, {"stopped", "timeout"}),
}


@pytest.mark.parametrize("noun", TABLES)
def test_every_state_is_reachable(noun: str) -> None:
    """Every state of an object is reached from where it begins, and the table knows no other."""
    table, reached, _ = TABLES[noun]
    reached = set(reached)
    for _ in range(len(table)):
        reached |= {after for (before, _), after in table.items() if before in reached}
    enum: Any = type(next(iter(table))[0])
    assert reached == {str(state) for state in enum}


@pytest.mark.parametrize("noun", TABLES)
def test_final_states(noun: str) -> None:
    """Final states are those that only retry and late success lead out of."""
    table, _, final = TABLES[noun]
    assert compute_final_states(table) == final


@pytest.mark.parametrize("noun", ["job", "attempt", "workflow", "pilot"])
def test_an_end_is_reachable_from_everywhere(noun: str) -> None:
    """From every state some final state can be reached: nothing is stuck by its table."""
    table, _, final = TABLES[noun]
    enum: Any = type(next(iter(table))[0])
    ending = set(final)
    for _ in range(len(table)):
        ending |= {before for (before, _), after in table.items() if after in ending}
    assert ending == {str(state) for state in enum}


def test_sources_of_a_signal() -> None:
    """The states that a signal leads from are grouped by where it leads."""
    assert find_sources(JOB, Signal.RETRY) == {
        states.JobState.WAITING: (states.JobState.FAILED, states.JobState.CANCELLED, states.JobState.SKIPPED)
    }
    assert find_sources(JOB, Signal.DELETE) == {}
