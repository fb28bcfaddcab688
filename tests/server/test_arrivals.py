"""What the server decides about files: once, in the same way, whatever is repeated or cut off."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from p3s.engine.fates import Fate
from p3s.errors import Conflict, NotAllowed, NotFound
from p3s.server.models import arrival, workflow
from p3s.server.queries.arrivals import count_fates, explain_place, list_services
from p3s.server.usecases.arrivals import beat_service, record_arrivals
from p3s.wire import BeatBody, Sighting, SightingsBody
from tests.support.workflows import load_text

TEXT = "name: one\ndeadline: 10m\njobs: {a: {run: 'true'}}\n"


def see(core, fate, place="/d/a", content="aa", owner="ann", *, dry_run=False, **keys):
    """Record one sighting and return what was decided."""
    fields = {"rule": "r", "stamp": "1", "size": 5} | keys
    item = Sighting(place=place, identity=f"sha256:{content}" if content else "", fate=fate, **fields)
    body = SightingsBody(service="inj", items=[item], dry_run=dry_run)
    return record_arrivals(core, body, owner)[0]


def new_id():
    return str(uuid.uuid4())


def count_rows(core):
    with core.db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(arrival))


def test_a_start_is_decided_once(core):
    """A repeated start gets the same answer with the first workflow's uuid, also with another proposal."""
    first = see(core, Fate.STARTING, workflow=new_id())
    assert see(core, Fate.STARTING, workflow=new_id()).workflow == first.workflow
    assert see(core, Fate.WAITING).fate is Fate.STARTING
    done = see(core, Fate.STARTED, workflow=first.workflow)
    assert (done.fate, done.uuid) == (Fate.STARTED, first.uuid)
    assert see(core, Fate.STARTING, workflow=new_id()).workflow == first.workflow
    assert count_rows(core) == 1


def test_a_file_that_grows_keeps_one_row(core):
    """What is decided before the content is known is replaced when it is."""
    first = see(core, Fate.GROWING, content="")
    see(core, Fate.TOO_SMALL, content="", stamp="2")
    assert see(core, Fate.WAITING, stamp="3").uuid == first.uuid
    assert count_rows(core) == 1


def test_an_injector_that_starts_anew_goes_on_with_the_row(core):
    """It does not know the content yet, and the row of the file stays one; a file that comes back is no old one."""
    see(core, Fate.WAITING)
    see(core, Fate.GROWING, content="")
    see(core, Fate.WAITING)
    see(core, Fate.GONE, content="aa")
    assert see(core, Fate.GROWING, content="", stamp="2").fate is Fate.GROWING
    assert see(core, Fate.WAITING, stamp="2").fate is Fate.WAITING
    assert count_rows(core) == 1


def test_the_same_content_under_another_name_is_a_duplicate(core):
    """It is told which file it repeats; a content that failed may be started under another name."""
    see(core, Fate.STARTING, workflow=new_id())
    found = see(core, Fate.STARTING, place="/d/b", workflow=new_id())
    assert (found.fate, found.workflow) == (Fate.DUPLICATE, None)
    assert "/d/a" in found.message
    see(core, Fate.FAILED, place="/d/c", content="cc")
    assert see(core, Fate.STARTING, place="/d/d", content="cc", workflow=new_id()).fate is Fate.STARTING


def test_a_rewritten_file_is_new(core):
    """New content at the same path starts work again; the same content written again does not."""
    first = see(core, Fate.STARTING, workflow=new_id())
    see(core, Fate.STARTED, workflow=first.workflow)
    assert see(core, Fate.STARTING, stamp="2", workflow=new_id()).fate is Fate.STARTED
    assert see(core, Fate.STARTING, stamp="3", content="bb", workflow=new_id()).fate is Fate.STARTING


def test_again_starts_what_was_settled(core):
    """Reprocessing replaces the workflow, once for each request."""
    first = see(core, Fate.STARTING, workflow=new_id())
    see(core, Fate.STARTED, workflow=first.workflow)
    wanted = new_id()
    for _ in range(2):
        found = see(core, Fate.STARTING, workflow=wanted, again=True)
        assert (found.fate, found.workflow) == (Fate.STARTING, wanted)


def test_a_dry_run_changes_nothing(core):
    """It gets the answer that it would get, and leaves no row."""
    see(core, Fate.STARTING, workflow=new_id())
    assert see(core, Fate.STARTING, place="/d/b", workflow=new_id(), dry_run=True).fate is Fate.DUPLICATE
    assert count_rows(core) == 1


def test_a_service_belongs_to_its_owner(core):
    """Nobody else may decide in its name."""
    see(core, Fate.GROWING, content="")
    with pytest.raises(NotAllowed, match="belongs to ann"):
        see(core, Fate.GROWING, content="", owner="bob")


def test_the_newest_process_of_a_name_takes_over(core):
    """Whoever arrives has the name, also after a crash; the earlier one is told at its next word."""
    one, two = (BeatBody(instance=new_id(), host="h", pid=pid, period=10) for pid in (1, 2))
    beat_service(core, "inj", one.model_copy(update={"arriving": True}), "ann")
    beat_service(core, "inj", one, "ann")
    beat_service(core, "inj", two.model_copy(update={"arriving": True}), "ann")
    beat_service(core, "inj", two, "ann")
    with pytest.raises(Conflict, match="process id 2"):
        beat_service(core, "inj", one, "ann")


def test_a_service_falls_silent(core):
    """After three of its periods without a word it is silent, after a goodbye stopped."""
    beat_service(
        core, "inj", BeatBody(instance=new_id(), host="h", pid=1, period=20, last="/d/a", arriving=True), "ann"
    )
    with core.db.read() as connection:
        (found,) = list_services(connection, 0.0, count_fates(connection)).items
        states = [list_services(connection, found.seen + later, {}).items[0].state for later in (59, 61)]
    assert (states, found.last) == (["alive", "silent"], "/d/a")


def test_why_tells_what_became_of_the_work(core):
    """The sentence names the workflow and its state, also after its end in the database."""
    ident = see(core, Fate.STARTING, workflow=new_id()).workflow
    load_text(core, TEXT, uuid=ident)
    see(core, Fate.STARTED, workflow=ident)
    with core.db.read() as connection:
        assert f"as workflow one ({ident[:8]}), which is running." in explain_place(connection, "/d/a", 0)[2]
        with pytest.raises(NotFound):
            explain_place(connection, "/d/none", 0)
    core.db.write(lambda connection: connection.execute(sa.delete(workflow)))
    with core.db.read() as connection:
        assert "which has been deleted since" in explain_place(connection, "/d/a", 0)[2]


def test_a_deadline_counts_from_the_arrival(core):
    """The time that a file waited counts, and its jobs are due earlier for it."""
    late, fresh = load_text(core, TEXT, age=400.0), load_text(core, TEXT)
    with core.db.read() as connection:
        rows = {row.uuid: row for row in connection.execute(sa.select(workflow))}
    assert rows[late.uuid].deadline - rows[late.uuid].created == pytest.approx(200)
    assert rows[fresh.uuid].deadline - rows[fresh.uuid].started == pytest.approx(600)
