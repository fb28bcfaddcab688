"""Who bans a host: jobs that cannot be started in a row there, while others run elsewhere, show a black hole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.engine.states import AttemptState
from p3s.server.db import insert_missing
from p3s.server.models import attempt, host, pilot
from p3s.server.prepared import Prepared, param

if TYPE_CHECKING:
    from p3s.server.transitions.ledger import Ledger

__all__ = ["clear_burns", "is_burnt", "record_burn", "write_ban"]

#: Different jobs that must fail in a row on a host before it is banned.
BURNS = 5


def record_burn(ledger: Ledger, pilot_id: int, job_id: int, reason: str) -> None:
    """Note that a job could not be run on a pilot's host, and ban the host if it burns one after the other.

    One broken job, or many of one user, fail everywhere: a host is banned only if some job succeeded on another
    host since its row of failures began.
    """
    name = ledger.connection.scalar(sa.select(pilot.c.host).where(pilot.c.id == pilot_id)) or ""
    insert_missing(ledger.connection, host, [{"name": name, "burnt": [], "since": ledger.now}])
    row = ledger.connection.execute(sa.select(host).where(host.c.name == name).with_for_update()).one()
    since = row.since if row.burnt else ledger.now
    burnt = [*row.burnt, job_id] if job_id not in row.burnt else row.burnt
    ledger.connection.execute(sa.update(host).where(host.c.name == name).values(burnt=burnt[-100:], since=since))
    if len(burnt) >= BURNS and not row.banned and _runs_elsewhere(ledger.connection, name, since):
        write_ban(ledger, name, f"{len(burnt)} jobs in a row could not be run there, the last one: {reason}")


_BURNT = sa.cast(host.c.burnt, sa.Text) != sa.literal_column("'[]'")


def is_burnt(name: sa.ColumnElement[str]) -> sa.Exists:
    """Return the condition that jobs in a row could not be run on a host."""
    return sa.exists().where(host.c.name == name, _BURNT)


_CLEAR = Prepared(
    sa.update(host)
    .where(
        host.c.name == sa.select(pilot.c.host).where(pilot.c.id == param("pilot", sa.BigInteger())).scalar_subquery(),
        _BURNT,
    )
    .values(burnt=sa.literal_column("'[]'"))
)


def clear_burns(ledger: Ledger, pilot_id: int) -> None:
    """Note that a job succeeded on a pilot's host."""
    _CLEAR.send(ledger.connection, pilot=pilot_id)


def write_ban(ledger: Ledger, name: str, reason: str | None, by: str = "the server") -> None:
    """Ban a host for a reason, or, with None, allow it again."""
    insert_missing(ledger.connection, host, [{"name": name, "burnt": [], "since": ledger.now}])
    values = {"banned": reason is not None, "reason": reason or "", "burnt": [], "since": ledger.now}
    ledger.connection.execute(sa.update(host).where(host.c.name == name).values(values))
    ledger.note(
        "host",
        name[:36],
        "ban" if reason else "allow",
        cause=f"{name}: {reason}, by {by}" if reason else f"{name}, by {by}",
    )


def _runs_elsewhere(connection: sa.Connection, name: str, since: float) -> bool:
    statement = (
        sa.select(attempt.c.id)
        .join(pilot, pilot.c.id == attempt.c.pilot_id)
        .where(attempt.c.state == AttemptState.SUCCEEDED, attempt.c.ended >= since, pilot.c.host != name)
        .limit(1)
    )
    return connection.scalar(statement) is not None
