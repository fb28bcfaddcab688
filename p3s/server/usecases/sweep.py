"""The sweeper: what time alone brings about, once a second, at most one at a time across all server processes."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.engine.states import WorkflowState
from p3s.errors import Unavailable
from p3s.server.models import job, ripple, workflow
from p3s.server.prepared import Prepared, param, there_is
from p3s.server.transitions.deadlines import are_late, are_past, pass_deadlines, rewrite_some
from p3s.server.transitions.ends import cancel_some
from p3s.server.transitions.leases import (
    are_asleep,
    are_overdue,
    are_silent,
    are_unacknowledged,
    end_overdue_attempts,
    end_silent_pilots,
    return_unacknowledged,
    wake_sleepers,
)
from p3s.server.transitions.pauses import pause_some, resume_some
from p3s.server.transitions.removals import are_unassigned, assign_removals
from p3s.server.transitions.repeats import forget_old
from p3s.server.transitions.series import add_up
from p3s.server.transitions.spread import continue_ripples
from p3s.server.transitions.starts import IS_HELD, are_abandoned, delete_abandoned, find_unstarted, start_some
from p3s.server.usecases.marks import Mark
from p3s.server.usecases.tokens import are_ended, cut_ended, keep_uses, poke_cut_pilots

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.core import Core

__all__ = ["Sweeper", "add_events", "sweep"]

log = logging.getLogger(__name__)

#: Steps of one kind in one sweep; the rest waits for the next.
STEPS = 20
#: Seconds between two additions of the event log.
ADDITIONS = 5.0
#: A load that has written nothing for so long was abandoned: its server died.
ABANDONED = 60.0


#: Of workflows that somebody, or their deadline, cancelled, and that have not ended.
_CANCELLED = (
    workflow.c.cancelled_by.is_not(None),
    workflow.c.state.in_((WorkflowState.RUNNING, WorkflowState.PAUSED, WorkflowState.HELD)),
)
_NOW, _SILENT = param("now", sa.Double()), param("silent", sa.Double())
#: What there may be to do, in one statement: each second of most days there is nothing.
_DUE = Prepared(
    sa.select(
        there_is(*are_asleep(_NOW)).label("asleep"),
        there_is(*are_ended(_NOW)).label("ended"),
        there_is(*are_unacknowledged(param("unacknowledged", sa.Double()))).label("unacknowledged"),
        there_is(*are_silent(_SILENT)).label("silent"),
        there_is(*are_overdue(_SILENT)).label("overdue"),
        there_is(*are_unassigned(_NOW)).label("unassigned"),
        there_is(*are_past(_NOW)).label("past"),
        there_is(*are_late()).label("late"),
        there_is(*are_abandoned(param("abandoned", sa.Double()))).label("abandoned"),
        there_is(ripple.c.id.is_not(None)).label("rippling"),
        there_is(job.c.paused.is_(True)).label("resuming"),
        there_is(workflow.c.state == WorkflowState.PAUSED).label("pausing"),
        there_is(*_CANCELLED).label("cancelling"),
        there_is(IS_HELD).label("starting"),
    )
)


def sweep(core: Core, *, leases: bool) -> None:
    """Do once all that is due.

    Parameters
    ----------
    core : Core
        The server.
    leases : bool
        Whether leases may end; not within one lease length of the server's own start or stall, or of a moment at which
        the database was away.
    """
    rules, settings = core.rules, core.settings
    steps: dict[str, Callable[[Ledger], bool | None]] = {"asleep": wake_sleepers, "ended": cut_ended}
    if leases:
        # A pilot that could not acknowledge because the server was away has its lease, too.
        steps["unacknowledged"] = lambda ledger: return_unacknowledged(ledger, settings.ack, rules)
        steps["silent"] = lambda ledger: end_silent_pilots(ledger, settings.lease, rules)
        steps["overdue"] = lambda ledger: end_overdue_attempts(ledger, settings.lease, rules)
    steps |= {"unassigned": assign_removals, "past": pass_deadlines, "late": rewrite_some}
    steps["abandoned"] = lambda ledger: delete_abandoned(ledger, ABANDONED)
    due = _find_due(core)
    for name, step in steps.items():
        if getattr(due, name, False):
            _repeat(core, "backoff over" if name == "asleep" else "sweeper", step)
            # What it brought about may be due itself.
            due = _find_due(core)
    _go_on(core, due)


def _find_due(core: Core) -> Any:
    """Return what there may be to do; None if another process sweeps at this moment."""
    settings = core.settings

    def action(ledger: Ledger) -> Any:
        if not core.db.try_to_lead(ledger.connection):
            return None
        moments = {
            "unacknowledged": ledger.now - settings.ack,
            "silent": ledger.now - settings.lease,
            "abandoned": ledger.now - ABANDONED,
        }
        return _DUE.run(ledger.connection, now=ledger.now, **moments)[0]

    return core.change("sweeper", action)


def _go_on(core: Core, due: Any) -> None:
    """Go on with what was too large for one transaction, or whose process died."""
    if due is None:
        return
    if due.rippling:
        _repeat(core, "release in batches", continue_ripples)
    if not (due.resuming or due.pausing or due.cancelling or due.starting):
        return
    with core.db.read() as connection:
        resuming = connection.scalars(
            sa.select(workflow.c.id)
            .where(workflow.c.id.in_(sa.select(job.c.workflow_id).where(job.c.paused.is_(True))))
            .where(workflow.c.state == WorkflowState.RUNNING)
            .limit(STEPS)
        ).all()
        pausing = connection.scalars(
            sa.select(workflow.c.id).where(workflow.c.state == WorkflowState.PAUSED).limit(STEPS)
        ).all()
        cancelling = connection.execute(sa.select(workflow.c.id, workflow.c.cancelled_by).where(*_CANCELLED)).all()
        starting = find_unstarted(connection)
    for row in cancelling:
        _repeat(core, row.cancelled_by, partial(_go_on_cancelling, workflow_id=row.id, by=row.cancelled_by))
    for ident in resuming:
        _repeat(core, "resume in batches", partial(resume_some, workflows=[ident]))
    for ident in pausing:
        _repeat(core, "pause in batches", partial(pause_some, workflow_id=ident))
    for ident in starting:
        _repeat(core, "start in batches", partial(start_some, workflow_id=ident))


def add_events(core: Core) -> None:
    """Add the event log up for plots, unless another process sweeps."""

    def action(ledger: Ledger) -> None:
        if core.db.try_to_lead(ledger.connection):
            add_up(ledger)

    core.change("sweeper", action)


def _repeat(core: Core, cause: str, step: Callable[[Ledger], bool | None]) -> None:
    def action(ledger: Ledger) -> bool:
        return bool(core.db.try_to_lead(ledger.connection) and step(ledger))

    for _ in range(STEPS):
        if not core.change(cause, action):
            return


def _go_on_cancelling(ledger: Ledger, workflow_id: int, by: str) -> bool:
    return cancel_some(ledger, workflow_id, by)[2]


class Sweeper(threading.Thread):
    """Sweeps until told to end, and rings waiting calls for work that another process released."""

    def __init__(self, core: Core) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._core = core
        self._over = threading.Event()
        self._mark = Mark(core)

    def run(self) -> None:
        """Sweep each `ServerSettings.sweep` seconds."""
        pause = self._core.settings.sweep
        awake_since = last = time.monotonic()
        added = 0.0
        while not self._over.wait(pause):
            now = time.monotonic()
            # A stall (a stopped process, a sleeping laptop) silenced the pilots too: they get a full lease again.
            if now - last > pause + 5.0:
                awake_since = now
            last = now
            try:
                sweep(self._core, leases=now - awake_since > self._core.settings.lease)
                self._core.observe("sweep", time.monotonic() - now)
                if now - added > ADDITIONS:
                    add_events(self._core)
                    _repeat(self._core, "sweeper", forget_old)
                    added = now
                self._mark.keep()
                self._core.counts.refresh()
                keep_uses(self._core)
                poke_cut_pilots(self._core)
                self._core.read_pause()
                self._core.read_caps()
                self._core.read_requirements()
                self._core.ring_all()
            except Unavailable as error:
                # The database that is away for the sweeper is so for the pilots' calls, too.
                awake_since = time.monotonic()
                log.warning("sweep put off: %s", error)
            except Exception:
                # The sweeper must outlive any one bad row or lost connection; the next sweep tries again.
                log.exception("sweep failed")

    def stop(self) -> None:
        """End the thread, and say that this process ends as it should."""
        self._over.set()
        try:
            self._mark.take_away()
        except Unavailable as error:
            log.warning("this process ends, and could not say so: %s", error)
