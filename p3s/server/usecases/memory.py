"""What a process remembers of the pilots that call it, so that a call need not ask for it before it acts.

A call looks up its pilot and the attempts that it reports on, and what follows depends on what is found: to PostgreSQL
these are two ways there and back. But mostly the process that takes a report is the one that gave the job out, and
nothing has happened since. So what a call left is remembered, the next one acts on it, and looks all the same, on the
same way: was anything else than remembered, all is rolled back and done anew, without memory. An attempt is in no
need of such a look, because it moves only from the state that is remembered.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from p3s.engine.states import AttemptState, JobState, PilotState, PilotStatus
from p3s.server.db import Overtaken
from p3s.server.pipeline import Later
from p3s.server.secrets import hash_token
from p3s.server.transitions.edges import AHEAD
from p3s.server.transitions.reports import Looked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.server.queries.orders import Given
    from p3s.wire import ExchangeBody

__all__ = ["Left", "Memory", "Recalled"]

#: Pilots, and attempts, that are remembered; one more, and all are forgotten.
MOST = 20_000
#: Seconds in which nothing is believed of a pilot after something was wrong: it may call several processes in turn.
DOUBT = 10.0
#: What of a pilot's row a call must find as it was. The number of its newest claim may have grown, in another process,
#: and what it has acknowledged decides nothing.
_SAME: tuple[str, ...] = (
    "id",
    "hash",
    "state",
    "status",
    "host",
    "site",
    "labels",
    "accepts",
    "banned",
    "has_orders",
    "has_removals",
)

_AT_WORK = {PilotState.ACTIVE, PilotState.IDLE, PilotState.RUNNING}


class _Attempt(NamedTuple):
    """An attempt that was given out, as `p3s.server.transitions.reports` looks it up for a plain success."""

    id: int
    uuid: str
    number: int
    job_id: int
    job_name: str
    job_attempt: int
    pilot_id: int
    workflow_id: int
    workflow_uuid: str
    needed: bool
    site: str
    makes: bool = False
    state: str = AttemptState.DISPATCHED
    job_state: str = JobState.DISPATCHED


@dataclass(frozen=True, slots=True)
class Left:
    """What a call leaves to the next one, known when its transaction has ended.

    Attributes
    ----------
    row : Row
        The pilot, as the call left it.
    given : sequence of Given
        What it was given.
    minted, edges : Later
        The new attempts, and what leaves their jobs; also of calls that were taken along.
    """

    row: Any
    given: Sequence[Given]
    minted: Later
    edges: Later


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is believed of a call before the database has said it."""

    row: Any
    looked: Looked


class Memory:
    """What one process remembers; all of it may be out of date, and threads may use it at a time."""

    def __init__(self) -> None:
        self._rows: dict[str, Any] = {}
        self._attempts: dict[str, tuple[Any, Sequence[Any]]] = {}
        self._doubts: dict[str, float] = {}

    def keep(self, uuid: str, left: Left) -> None:
        """Remember what a call of a pilot left, after its commit."""
        for known in (self._rows, self._attempts):
            if len(known) >= MOST:
                known.clear()
        if time.monotonic() < self._doubts.get(uuid, 0.0):
            return
        self._keep_attempts(left)
        row = left.row
        # One that is to be told something is looked up, and so is one that is told to go.
        if row.status == PilotStatus.OK and row.banned is None and not row.has_orders and not row.has_removals:
            self._rows[uuid] = row
        else:
            self._rows.pop(uuid, None)

    def _keep_attempts(self, left: Left) -> None:
        found = left.edges.rows()
        if len(found) == AHEAD:
            # These may not be all.
            return
        edges: dict[int, list[Any]] = {}
        for edge in found:
            edges.setdefault(edge.source, []).append(edge)
        ids = {row.uuid: row.id for row in left.minted.rows()}
        for one in left.given:
            # What outputs are expected is looked up in any case.
            if not one.body.get("outputs"):
                mine = edges.get(one.job_id, ())
                row = _Attempt(
                    id=ids[one.uuid],
                    uuid=one.uuid,
                    number=one.number,
                    job_id=one.job_id,
                    job_name=one.name,
                    job_attempt=one.number,
                    pilot_id=left.row.id,
                    workflow_id=one.workflow_id,
                    workflow_uuid=one.workflow_uuid,
                    needed=bool(mine),
                    site=left.row.site,
                )
                self._attempts[one.uuid] = row, mine

    def recall(self, uuid: str, secret: str, body: ExchangeBody, *, held: bool) -> Recalled | None:
        """Return what is believed of a call that reports or is held; None if it has to look up something first.

        Of an attempt it is believed once: what is done anew, or comes again, is looked up.
        """
        if not (body.reports or held):
            return None
        attempts = [self._attempts.pop(report.attempt, None) for report in body.reports]
        row = self._rows.get(uuid)
        if row is None or not hmac.compare_digest(row.hash, hash_token(secret)) or row.state not in _AT_WORK:
            return None
        if body.state != "working" or body.running is not None or body.logs or body.removed:
            return None
        if any(report.kind != "succeeded" or report.outputs for report in body.reports):
            return None
        known = [one for one in attempts if one is not None]
        if len(known) < len(attempts):
            return None
        rows, edges = [one for one, _ in known], [edge for _, some in known for edge in some]
        return Recalled(row, Looked(Later(found=rows), Later(found=edges)))

    def check(self, uuid: str, body: ExchangeBody, recalled: Recalled, touched: Later) -> None:
        """Compare what was believed with what is there, within the transaction.

        Raises
        ------
        Overtaken
            If it differs: nothing may stay of what was done, and is done anew.
        """
        rows = touched.rows()
        same = bool(rows) and all(getattr(rows[0], name) == getattr(recalled.row, name) for name in _SAME)
        if same and (body.claim is None or rows[0].claim < body.claim.number):
            return
        if len(self._doubts) >= MOST:
            self._doubts.clear()
        self._doubts[uuid] = time.monotonic() + DOUBT
        self._rows.pop(uuid, None)
        raise Overtaken
