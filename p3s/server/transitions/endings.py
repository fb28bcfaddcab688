"""How an attempt ends without success, and what becomes of its job: another try, or its failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.outcome import decide_outcome
from p3s.engine.plan import Retry
from p3s.engine.states import FINAL_JOB, Reason, Signal
from p3s.server.models import attempt, job, job_spec
from p3s.server.transitions.spread import end_jobs, release_jobs

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger

__all__ = ["ReportRules", "end_attempt_badly"]


@dataclass(frozen=True, slots=True)
class ReportRules:
    """What taking reports needs to know: the server's secret and the infrastructure budget."""

    secret: str
    budget: int


def end_attempt_badly(
    ledger: Ledger,
    row: Any,
    signal: Signal,
    reason: Reason,
    rules: ReportRules,
    /,
    *,
    begun: float | None = None,
    **values: Any,
) -> bool:
    """End an open attempt without success and decide what becomes of its job.

    Parameters
    ----------
    ledger : Ledger
        The open transaction.
    row : row
        The attempt, its ``job_id``, ``job_state``, ``job_attempt``, ``job_failures`` and ``job_losses``.
    signal : Signal
        ``fail``, ``lose`` or ``hand-back``.
    reason : Reason
        Why.
    rules : ReportRules
        The budget.
    begun : float, optional
        When its payload began; for one that ended before anybody had told of its start.
    **values
        Columns of the attempt to set.

    Returns
    -------
    bool
        Whether the attempt was open and is ended.
    """
    if begun is not None:
        values["started"] = sa.func.coalesce(attempt.c.started, begun)
    if not ledger.move("attempt", [row.id], signal, reason=reason, ended=ledger.now, **values):
        return False
    if row.job_attempt != row.number or row.job_state in FINAL_JOB:
        return True
    if signal is Signal.HAND_BACK:
        moved = ledger.move("job", [row.job_id], Signal.HAND_BACK, released=ledger.now)
        held = ledger.move("job", moved, Signal.PAUSE, guard=job.c.paused.is_(True)) if moved else []
        ledger.released.update(row.requirement_id for _ in set(moved) - set(held))
        return True
    outcome = decide_outcome(
        reason,
        values.get("exit_code"),
        _read_retry(ledger, row.job_id),
        failures=row.job_failures,
        losses=row.job_losses,
        budget=rules.budget,
    )
    counts = {
        "failures": job.c.failures + outcome.failures,
        "losses": job.c.losses + outcome.losses,
        "reason": reason,
        "message": values.get("message", ""),
    }
    if begun is not None:
        counts["started"] = sa.func.coalesce(job.c.started, begun)
    if outcome.again:
        moved = ledger.move("job", [row.job_id], Signal.AGAIN, not_before=ledger.now + outcome.delay, **counts)
        if moved and outcome.delay == 0:
            release_jobs(ledger, moved)
    else:
        moved = ledger.move("job", [row.job_id], Signal.FAIL, ended=ledger.now, **counts)
        end_jobs(ledger, moved, failed=True)
    return True


def _read_retry(ledger: Ledger, job_id: int) -> Retry:
    body = ledger.connection.scalar(sa.select(job_spec.c.body).where(job_spec.c.job_id == job_id)) or {}
    fields = body.get("retry", {})
    return Retry(**(fields | {"when": tuple(fields.get("when", ()))}))
