"""Minutes of plots: added up from the event log, equal to the truth whatever commits when."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.engine.states import JobState
from p3s.server.models import event, job, minute, workflow
from p3s.server.queries.series import list_minutes
from p3s.server.usecases.acts import cancel_workflow
from p3s.server.usecases.holds import retry_workflow
from p3s.server.usecases.sweep import add_events
from tests.server.test_holds import FORK, run_all
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import find, load_text, make_job


def read_minutes(core):
    """Return the sums over all minutes, and the queue at the end of the last."""
    with core.db.read() as connection:
        rows = connection.execute(sa.select(minute).order_by(minute.c.at)).all()
    return {name: sum(getattr(row, name) for row in rows) for name in ("started", "finished", "failed")} | {
        "queue": rows[-1].queue
    }


def count(core, state):
    """Return how many jobs are in a state."""
    with core.db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(job.c.state == state))


def test_minutes_keep_how_late_work_is(core):
    """Each minute has how long the oldest ready job had waited, and how many workflows ran past their deadline."""
    add_events(core)
    made = make_job(core)
    with core.db.engine.begin() as connection:
        connection.execute(sa.update(job).values(released=job.c.released - 100))
        connection.execute(sa.update(workflow).values(late=True))
    add_events(core)
    with core.db.read() as connection:
        row = connection.execute(sa.select(minute).order_by(minute.c.at.desc())).first()
    assert row.wait >= 100, made
    assert row.late == 1


def test_minutes_equal_the_truth(core):
    """What is added up in several steps is what happened; what was there before the first step counts as waiting."""
    for _ in range(3):
        make_job(core)
    add_events(core)
    assert read_minutes(core) == {"started": 0, "finished": 0, "failed": 0, "queue": 3}
    load_text(core, FORK)
    held = load_text(core, FORK, hold=True)
    pilot = ScriptedPilot(core, slots=4)
    pilot.claim()
    add_events(core)
    assert read_minutes(core)["queue"] == count(core, JobState.DEFINED) == 0
    run_all(ScriptedPilot(core, slots=4), failing={"bad"})
    cancel_workflow(core, find(core, "workflow", held.uuid), "ann")
    add_events(core)
    add_events(core)
    assert read_minutes(core)["queue"] == count(core, JobState.DEFINED)
    retry_workflow(core, find(core, "workflow", held.uuid), "ann")
    add_events(core)
    with core.db.read() as connection:
        moved = sa.select(sa.func.count()).select_from(event).where(event.c.noun == "job")
        truth = {
            "started": connection.scalar(moved.where(event.c.signal == "begin")),
            "finished": connection.scalar(moved.where(event.c.after == "finished")),
            "failed": connection.scalar(moved.where(event.c.after == "failed")),
            "queue": count(core, JobState.DEFINED),
        }
    assert read_minutes(core) == truth


@pytest.mark.postgres
@pytest.mark.parametrize("address", ["postgres"], indirect=True)
def test_late_commit_is_counted_once(core):
    """An event whose transaction commits after later ones were added up is added up, too, and once."""
    add_events(core)
    values = {"at": read_clock(), "noun": "job", "uuid": "x", "signal": "begin", "before": "a", "after": "running"}
    slow = core.db.engine.connect()
    slow.execute(sa.insert(event).values(values))
    core.db.write(lambda connection: connection.execute(sa.insert(event).values(values)))
    add_events(core)
    assert read_minutes(core)["started"] == 0, "nothing is read past a transaction that is still open"
    slow.commit()
    slow.close()
    add_events(core)
    add_events(core)
    assert read_minutes(core)["started"] == 2


def test_spans(core):
    """Minutes are put together into longer spans; what no server lived through stays empty, not nought."""
    rows = [
        {"at": at, "started": 1, "finished": 2, "failed": 0, "queue": queue}
        for at, queue in ((600, 5), (660, 9), (1800, 1))
    ]
    core.db.write(lambda connection: connection.execute(sa.insert(minute), rows))
    with core.db.read() as connection:
        spans = list_minutes(connection, 600, 600, 3)
    assert spans == [
        {"at": 600, "started": 2, "finished": 4, "failed": 0, "queue": 9},
        {"at": 1200, "started": None, "finished": None, "failed": None, "queue": None},
        {"at": 1800, "started": 1, "finished": 2, "failed": 0, "queue": 1},
    ]
