"""The event log: in order, and whoever follows misses nothing."""

from __future__ import annotations

import threading

from p3s.server.queries.events import list_events
from p3s.server.transitions.ledger import Ledger


def note(core, name):
    core.change("a test", lambda ledger: ledger.note("report", name, "report"))


def read(core, after=None, **filters):
    with core.db.read() as connection:
        page = (
            list_events(connection, after=after, noun=None, thing=None, limit=100)
            if not filters
            else list_events(connection, **({"after": after, "noun": None, "thing": None, "limit": 100} | filters))
        )
    tx, ident = page.next.split("-")
    return [item.uuid for item in page.items], (int(tx), int(ident))


def test_events_come_in_order_and_by_page(core):
    """The newest ones, oldest first; from `next` on the later ones, and nothing twice."""
    for name in "abc":
        note(core, name)
    assert read(core)[0] == ["a", "b", "c"]
    assert read(core, limit=2)[0] == ["b", "c"]
    _, place = read(core)
    note(core, "d")
    found, place = read(core, place)
    assert found == ["d"]
    assert read(core, place) == ([], place)
    assert read(core, thing="b")[0] == ["b"]


def test_a_follower_misses_no_event_that_commits_late(core):
    """An event written early and committed late is read in its turn: nothing beyond it is read before."""
    wrote, go_on = threading.Event(), threading.Event()

    def slow(ledger):
        ledger.note("report", "slow", "report")
        Ledger.write_events([ledger])
        wrote.set()
        assert core.db.is_sqlite or go_on.wait(30)

    thread = threading.Thread(target=core.change, args=("a test", slow))
    thread.start()
    assert wrote.wait(30)
    if core.db.is_sqlite:
        # One transaction writes at a time there.
        thread.join(30)
    note(core, "quick")
    before, place = read(core)
    go_on.set()
    thread.join(30)
    after, _ = read(core, place)
    assert sorted(before + after) == ["quick", "slow"]
