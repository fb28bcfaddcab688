"""The page of states: made from the transition tables."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from _ext.tables import make_table, read_comments
from p3s.engine import states

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

__all__ = ["make_states"]

_OBJECTS: tuple[tuple[str, type[StrEnum], Mapping[tuple[Any, states.Signal], Any]], ...] = (
    ("Job", states.JobState, states.JOB),
    ("Attempt", states.AttemptState, states.ATTEMPT),
    ("Dataset", states.DatasetState, states.DATASET),
    ("Workflow", states.WorkflowState, states.WORKFLOW),
    ("Pilot", states.PilotState, states.PILOT),
)


def make_states() -> str:
    """Return, for each kind of object, its states and the signals that move it; then signals and reasons."""
    parts = [
        _make_object(name, enum, table, f"table `{name.upper()}` of `p3s.engine.states`")
        for name, enum, table in _OBJECTS
    ]
    parts.append(_make_words("Signals", "signal", states.Signal))
    parts.append(_make_words("What the server answers a pilot", "status", states.PilotStatus))
    parts.append(_make_reasons())
    return "\n".join(parts)


def _make_object(name: str, enum: type[StrEnum], table: Mapping[tuple[Any, states.Signal], Any], source: str) -> str:
    meanings = read_comments(inspect.getsource(enum))
    final = states.compute_final_states(table)
    rows = []
    for state in enum:
        moves = [f"`{signal}` → {after}" for (before, signal), after in table.items() if before is state]
        end = ", final" if state in final else ""
        rows.append([f"**{state}**{end}", meanings[state.name], "<br>".join(moves) or "—"])
    head = ["state", "meaning", "signal → next state"]
    return f"## {name}\n\nFrom the {source}.\n\n{make_table(head, rows)}"


def _make_words(title: str, column: str, enum: type[StrEnum]) -> str:
    meanings = read_comments(inspect.getsource(enum))
    rows = [[f"`{word}`", meanings[word.name]] for word in enum]
    return f"## {title}\n\n{make_table([column, 'meaning'], rows)}"


def _make_reasons() -> str:
    def find_budget(reason: states.Reason) -> str:
        if reason in states.PAYLOAD_REASONS:
            return "the payload's (`retry`)"
        if reason in states.INFRASTRUCTURE_REASONS:
            return "infrastructure"
        return "none"

    rows = [[f"`{reason}`", find_budget(reason)] for reason in states.Reason]
    return f"## Reasons\n\n{make_table(['reason', 'budget that it spends'], rows)}"
