"""What the server notices on both databases, and that the book of it survives whatever happens while sending."""

from __future__ import annotations

import re

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.engine.notices import LEASE, Kind, Pace
from p3s.engine.sites import SiteSpec
from p3s.server.models import event, meta, service, workflow
from p3s.server.usecases import notices
from p3s.server.usecases.acts import cancel_workflow, delete_workflow
from p3s.server.usecases.arrivals import beat_service
from p3s.server.usecases.core import Core
from p3s.server.usecases.holds import retry_workflow
from p3s.server.usecases.notices import settle_letter, take_letters
from p3s.server.usecases.sites import define_site
from p3s.wire import BeatBody
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import load_text

PACE = Pace(gather=0.0, every=0.0, wants={"desk": frozenset(Kind)})
UUID = "11111111-2222-4333-8444-000000000001"


def turn_clock(monkeypatch, core, seconds):
    """Let the notifications believe that so much time has passed; what was written down becomes that old."""
    now = read_clock() + seconds
    monkeypatch.setattr(notices, "read_clock", lambda: now)
    monkeypatch.setattr("p3s.server.usecases.changes.read_clock", lambda: now)


def tell(core, *, settled=True):
    """Send what is due, and return it as (over, text)."""
    told = []
    for letter in take_letters(core, PACE, settled=settled, keep=False):
        settle_letter(core, letter, "sent")
        told += [(notice.over, notice.trouble.text) for notice in letter.notices]
    return told


def run_one(core, kind, **fields):
    """Load a workflow of one job, and have its only attempt end so."""
    reply = load_text(core, "name: one\njobs: {work: {run: 'true'}}\n", **fields)
    finish_one(core, kind)
    return reply.uuid


def finish_one(core, kind):
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    pilot.report(order, "started")
    pilot.report(order, kind, **({"reason": "exit-code"} if kind == "failed" else {}))


def test_what_a_removed_channel_owes_is_written_down(core):
    """A channel that is gone with unsent notices leaves an event that tells them, once, and owes them no more."""
    tell(core)
    uuids = [run_one(core, "failed") for _ in range(4)]
    (letter,) = take_letters(core, PACE, settled=True, keep=False)
    settle_letter(core, letter, "four", "the webhook answered 500")
    gone = Pace(gather=0.0, every=0.0, wants={"other": frozenset({Kind.PILOTS})})
    for _ in range(2):
        assert take_letters(core, gone, settled=True, keep=True) == []
    with core.db.read() as connection:
        rows = connection.execute(sa.select(event).where(event.c.noun == "notice", event.c.signal == "dropped")).all()
        assert notices.read_book(connection).outlets.keys() == {"other"}
    (row,) = rows
    assert (row.uuid, [uuid[:8] in row.cause for uuid in uuids]) == ("desk", [True, True, True, False])
    assert "4 unsent notices" in row.cause
    assert row.cause.endswith("; and 1 more")


def find_row(core, uuid):
    with core.db.read() as connection:
        return connection.execute(sa.select(workflow).where(workflow.c.uuid == uuid)).one()


def test_failures_are_news_once(core):
    """What failed before is no news; a failure is told once, and that it was mended; a forgotten one is forgotten."""
    run_one(core, "failed")
    assert tell(core) == []
    uuid = run_one(core, "failed")
    run_one(core, "succeeded")
    text = f"workflow one {uuid[:8]} of ann failed: work (exit-code); `p3s why {uuid[:8]}` says more"
    assert tell(core) == [(False, text)]
    assert tell(core) == []
    retry_workflow(core, find_row(core, uuid), "ann")
    finish_one(core, "succeeded")
    assert tell(core) == [(True, f"workflow one {uuid[:8]} has finished after all")]
    again = run_one(core, "failed")
    assert len(tell(core)) == 1
    delete_workflow(core, find_row(core, again), "ann")
    assert tell(core) == []
    with core.db.read() as connection:
        sent = connection.scalars(sa.select(event.c.cause).where(event.c.noun == "notice")).all()
    assert sent == ["sent"] * 3


def test_a_letter_whose_sender_died_is_sent_by_another(core, monkeypatch):
    """Taken and not settled, it is nobody else's until its lease is over, then the next process sends it, too."""
    tell(core)
    run_one(core, "failed")
    (lost,) = take_letters(core, PACE, settled=True, keep=False)
    other = Core(core.db, core.settings)
    assert take_letters(other, PACE, settled=True, keep=False) == []
    turn_clock(monkeypatch, core, LEASE + 1)
    (found,) = take_letters(other, PACE, settled=True, keep=False)
    assert found == lost
    settle_letter(other, found, "sent")
    settle_letter(core, lost, "sent late")
    assert tell(core) == []


def test_quiet_looks_write_nothing(core):
    """Without news nothing is written, however much else happens, unless it is asked for."""
    tell(core)
    run_one(core, "succeeded")

    def read():
        with core.db.read() as connection:
            return connection.scalar(sa.select(meta.c.value).where(meta.c.key == notices.KEY))

    before = read()
    assert tell(core) == []
    assert read() == before
    take_letters(core, PACE, settled=True, keep=True)
    assert read() != before


def test_silence_is_judged_only_when_it_could_be_broken(core, monkeypatch):
    """A silent injector and a thin site are told, not soon after the server's start; and that they are back."""
    body = BeatBody(instance=UUID, host="h", pid=7, period=10, last="/data/run1.csv", arriving=True)
    beat_service(core, "quakes", body, "ann")
    define_site(core, SiteSpec(name="default", pilots=2), "ann")
    ScriptedPilot(core)
    turn_clock(monkeypatch, core, 45)
    assert tell(core, settled=False) == []
    # A busy machine took its time before the clock was turned.
    assert [(over, re.sub(r"for \d+ s", "for long", text)) for over, text in tell(core)] == [
        (
            False,
            "injector quakes on h (process 7) has not been heard for long; the last file it saw is /data/run1.csv",
        ),
        (False, "site default has 1 of 2 pilots"),
    ]
    assert tell(core, settled=False) == []
    beat_service(core, "quakes", body, "ann")
    ScriptedPilot(core)
    assert [over for over, _ in tell(core)] == [True, True]
    core.db.write(lambda connection: connection.execute(sa.update(service).values(stopped=True, seen=0.0)))
    assert tell(core) == []


def test_a_deadline_is_at_risk_before_it_passes(core, monkeypatch):
    """Told once when the work left does not fit any more, still once when it has passed, and how it ended."""
    reply = load_text(core, "name: slow\ndeadline: 100s\njobs: {a: {run: x}, b: {run: x, needs: [a]}}\n")
    (begun,) = tell(core)
    assert begun[1].startswith(f"workflow slow {reply.uuid[:8]} is likely to miss its deadline: it is due in ")
    assert begun[1].endswith("and needs 120 s more") or begun[1].endswith("and needs 2 min more")
    turn_clock(monkeypatch, core, 150)
    assert tell(core) == []
    finish_one(core, "succeeded")
    finish_one(core, "succeeded")
    (ended,) = tell(core)
    assert ended[0]
    # A busy machine took its time before the clock was turned.
    assert re.search(r"finished [56]\d s after its deadline", ended[1])
    fits = load_text(core, "name: fits\ndeadline: 130s\njobs: {a: {run: x}, b: {run: x, needs: [a]}}\n")
    assert tell(core) == []
    cancel_workflow(core, find_row(core, fits.uuid), "ann")
    assert tell(core) == []
