"""Who ends what fell silent: pilots past their lease, claims whose answer never arrived, attempts nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import AttemptState, JobState, Reason, Signal
from p3s.server.models import attempt, job, pilot
from p3s.server.prepared import Prepared, param
from p3s.server.queries.pilots import LIVE
from p3s.server.transitions.endings import end_attempt_badly
from p3s.server.transitions.spread import release_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p3s.server.pipeline import Later
    from p3s.server.prepared import Conditions
    from p3s.server.transitions.endings import ReportRules
    from p3s.server.transitions.ledger import Ledger

__all__ = [
    "are_asleep",
    "are_overdue",
    "are_silent",
    "are_unacknowledged",
    "end_overdue_attempts",
    "end_silent_pilots",
    "look_for_kept",
    "return_unacknowledged",
    "return_unknown",
    "wake_sleepers",
]

STEP = 200


def _write_out(states: Iterable[str]) -> list[sa.ColumnElement[str]]:
    return [sa.literal_column(f"'{state}'") for state in states]


#: In the words of the index of open attempts, which alone are looked through.
_IS_OPEN = attempt.c.state.in_(_write_out((AttemptState.DISPATCHED, AttemptState.RUNNING, AttemptState.STOPPING)))


def are_asleep(now: Any) -> Conditions:
    """Return what holds of jobs whose backoff is over, or whose release was interrupted."""
    return (
        job.c.state == sa.literal_column(f"'{JobState.WAITING}'"),
        job.c.missing == sa.literal_column("0"),
        job.c.paused.is_(False),
        job.c.not_before <= now,
    )


def are_silent(before: Any) -> Conditions:
    """Return what holds of pilots not heard of since a moment."""
    return pilot.c.state.in_(_write_out(LIVE)), pilot.c.seen < before


def are_unacknowledged(before: Any) -> Conditions:
    """Return what holds of attempts claimed before a moment in an answer that never arrived, and of their pilots."""
    return (
        _IS_OPEN,
        attempt.c.state == sa.literal_column(f"'{AttemptState.DISPATCHED}'"),
        pilot.c.id == attempt.c.pilot_id,
        attempt.c.claim > pilot.c.acked,
        attempt.c.created < before,
    )


def are_overdue(before: Any) -> Conditions:
    """Return what holds of attempts whose time limit passed before a moment, and of their jobs."""
    return (
        _IS_OPEN,
        attempt.c.state == sa.literal_column(f"'{AttemptState.RUNNING}'"),
        job.c.id == attempt.c.job_id,
        attempt.c.started + job.c.timelimit < before,
    )


def _select_open() -> sa.Select[Any]:
    return sa.select(
        attempt.c.id,
        attempt.c.uuid,
        attempt.c.number,
        attempt.c.state,
        attempt.c.job_id,
        attempt.c.pilot_id,
        job.c.state.label("job_state"),
        job.c.attempt.label("job_attempt"),
        job.c.failures.label("job_failures"),
        job.c.losses.label("job_losses"),
        job.c.requirement_id,
    ).join(job, job.c.id == attempt.c.job_id)


def end_silent_pilots(ledger: Ledger, lease: float, rules: ReportRules) -> bool:
    """Move pilots not heard for `lease` seconds to ``timeout`` and end their attempts; return if some are left.

    The guard on the pilot's own row keeps this and a call of that pilot from overtaking each other.
    """
    silent = are_silent(ledger.now - lease)
    ids = list(ledger.connection.scalars(sa.select(pilot.c.id).where(*silent).order_by(pilot.c.id).limit(STEP)))
    if not ids:
        return False
    gone = ledger.move(
        "pilot",
        ids,
        Signal.TIME_OUT,
        guard=pilot.c.seen < ledger.now - lease,
        reason="fell silent past its lease",
    )
    lose_attempts(ledger, gone, rules, "its pilot fell silent past its lease")
    return len(ids) == STEP


def lose_attempts(ledger: Ledger, pilots: Sequence[int], rules: ReportRules, message: str) -> None:
    """End the open attempts of pilots that are gone."""
    rows = ledger.connection.execute(
        _select_open().where(attempt.c.pilot_id.in_(pilots), _IS_OPEN).order_by(attempt.c.id)
    ).all()
    for row in rows:
        end_attempt_badly(ledger, row, Signal.LOSE, Reason.PILOT_LOST, rules, message=message)


def return_unacknowledged(ledger: Ledger, after: float, rules: ReportRules) -> None:
    """Put back what was claimed more than `after` seconds ago in an answer that never arrived."""
    rows = ledger.connection.execute(
        _select_open().where(*are_unacknowledged(ledger.now - after)).order_by(attempt.c.id).limit(STEP)
    ).all()
    for row in rows:
        end_attempt_badly(
            ledger,
            row,
            Signal.HAND_BACK,
            Reason.HANDED_BACK,
            rules,
            message="the claim's answer never arrived",
        )


def end_overdue_attempts(ledger: Ledger, slack: float, rules: ReportRules) -> bool:
    """End attempts whose time limit passed more than `slack` seconds ago while their pilot says nothing of it."""
    rows = ledger.connection.execute(
        _select_open().where(*are_overdue(ledger.now - slack)).order_by(attempt.c.id).limit(STEP)
    ).all()
    for row in rows:
        message = "its time limit is over, and its pilot did not end it"
        end_attempt_badly(ledger, row, Signal.FAIL, Reason.TIMELIMIT, rules, message=message)
        ledger.poked.add(row.pilot_id)
    return len(rows) == STEP


#: What a pilot has by its acknowledged claims; read in almost every call.
_KEPT = Prepared(
    _select_open()
    .where(
        attempt.c.pilot_id == sa.select(pilot.c.id).where(pilot.c.uuid == param("pilot", sa.Text())).scalar_subquery(),
        _IS_OPEN,
        attempt.c.claim <= param("acked", sa.Integer()),
    )
    .order_by(attempt.c.id)
)


def look_for_kept(ledger: Ledger, uuid: str, acked: int) -> Later:
    """Send for what a pilot has by its acknowledged claims, ahead of `return_unknown`."""
    return _KEPT.send(ledger.connection, pilot=uuid, acked=acked)


def return_unknown(ledger: Ledger, unknown: Sequence[Any], rules: ReportRules) -> None:
    """Put back attempts that their pilot does not know, rows of `look_for_kept`: they cost nothing."""
    for row in unknown:
        if row.state == AttemptState.STOPPING:
            ledger.move("attempt", [row.id], Signal.STOP, ended=ledger.now)
        else:
            end_attempt_badly(
                ledger, row, Signal.HAND_BACK, Reason.HANDED_BACK, rules, message="its pilot does not know it"
            )


def wake_sleepers(ledger: Ledger) -> bool:
    """Release jobs whose backoff is over, or whose release was interrupted; return whether some may be left."""
    ids = list(
        ledger.connection.scalars(
            sa.select(job.c.id).where(*are_asleep(ledger.now)).order_by(job.c.not_before).limit(STEP)
        )
    )
    release_jobs(ledger, ids)
    return len(ids) == STEP
