"""How workflows end: written when no job of theirs is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import WORKFLOW, JobState, Signal, WorkflowState
from p3s.server.models import job, workflow
from p3s.server.prepared import Prepared, among, there_is

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.transitions.ledger import Ledger

__all__ = ["settle_workflows"]

_SETTLE = Prepared(
    sa.select(
        workflow.c.id,
        workflow.c.state,
        workflow.c.dag_id,
        workflow.c.failures,
        workflow.c.cancelled_by,
        there_is(
            # Not by the index of states: that would read the cancelled jobs of all workflows.
            job.c.workflow_id == workflow.c.id,
            job.c.state.concat("") == JobState.CANCELLED,
            job.c.tolerated.is_(False),
        ).label("cancelled"),
    ).where(among(workflow.c.id, "ids"), workflow.c.remaining == 0, workflow.c.state != WorkflowState.LOADING)
)


def settle_workflows(ledger: Ledger, ids: Sequence[int]) -> None:
    """Write how workflows ended, of those with no job left that are not being loaded."""
    if not ids:
        return
    endings: dict[tuple[Signal, WorkflowState], list[Any]] = {}
    for row in _SETTLE.run(ledger.connection, ids=list(ids)):
        if row.failures and row.cancelled_by is None:
            signal = Signal.FAIL
        elif row.cancelled_by is not None or row.cancelled:
            signal = Signal.CANCEL
        else:
            signal = Signal.SUCCEED
        endings.setdefault((signal, WorkflowState(row.state)), []).append(row)
    for (signal, state), rows in endings.items():
        if (state, signal) not in WORKFLOW:
            # It has ended so before.
            continue
        # Only a DAG has run times to remember.
        dags = {row.id for row in rows if row.dag_id is not None}

        def note(moved: list[int], dags: set[int] = dags) -> None:
            ledger.ended.update(dags.intersection(moved))

        ledger.send("workflow", [row.id for row in rows], signal, expected=state, then=note, ended=ledger.now)
