"""Files of deleted datasets: who is told to delete them, and until when, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from p3s.errors import Conflict
from p3s.server.models import event, pilot, removal
from p3s.server.queries.datasets import show_dataset
from p3s.server.queries.find import find_row
from p3s.server.transitions.removals import assign_removals
from p3s.server.usecases import acts, datasets
from p3s.wire import Adopt, RegisterDatasetBody, RemovalReport
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import load_text

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

MAKES = """\
name: makes
jobs:
  make: {outputs: {out: out.txt}, publish: {out: /shown/out.txt}, run: 'true'}
  after: {needs: [make], run: 'true'}
"""


def make(core: Core, one: ScriptedPilot, **fields) -> str:
    work = load_text(core, MAKES, **fields).uuid
    while orders := one.claim():
        for order in orders:
            one.succeed(order)
    return work


def start_pilot(core: Core, data: str = "/data", **fields) -> ScriptedPilot:
    found = ScriptedPilot(core, slots=4, **fields)
    core.db.write(lambda c: c.execute(sa.update(pilot).where(pilot.c.uuid == found.uuid).values(data=data)))
    return found


def delete(core: Core, ident: str, **fields):
    with core.db.read() as connection:
        row = find_row(connection, "dataset", ident)
    return datasets.delete(core, row, "ann", **({"force": False, "admin": False, "files": True} | fields))


def show(core: Core, ident: str):
    with core.db.read() as connection:
        return show_dataset(connection, find_row(connection, "dataset", ident).id)


def hurry(core: Core) -> None:
    """Let all that is due later be due now, and assign it."""
    core.db.write(lambda c: c.execute(sa.update(removal).values(due=0.0)))
    core.change("sweeper", assign_removals)


def test_an_order_is_repeated_until_it_is_acknowledged(core):
    """A pilot that can reach the file gets the order with each answer; what it says is shown and in the event log."""
    start_pilot(core, data="/elsewhere")
    start_pilot(core, site="cern")
    near = start_pilot(core)
    work = make(core, near)
    place = show(core, f"{work}/out").place
    reply = delete(core, f"{work}/out")
    assert (reply.state, reply.files) == ("deleted", "its file is deleted by a pilot that can reach it")
    assert delete(core, f"{work}/out").files == "its files are being deleted already"
    (order,) = near.call().removals
    assert (order.place, order.published) == (place, "/shown/out.txt")
    assert f"/{order.fence}/" in place
    assert near.call(wait=30).removals == [order]
    assert near.call(heard=[order.uuid]).removals == [order]
    assert show(core, f"{work}/out").files == f"being deleted by pilot {near.uuid[:8]} on testhost"
    near.call(removed=[RemovalReport(uuid=order.uuid, message="no space for shadows")])
    assert near.call().removals == []
    assert show(core, f"{work}/out").files == "not deleted yet: no space for shadows"
    hurry(core)
    assert near.call().removals == [order]
    ScriptedPilot(core).call(removed=[RemovalReport(uuid=order.uuid)])
    assert near.call().removals == [order]
    for _ in range(2):
        near.call(removed=[RemovalReport(uuid=order.uuid)])
    assert near.call().removals == []
    assert show(core, f"{work}/out").files.endswith(f"+00:00 by pilot {near.uuid[:8]} on testhost")
    with core.db.read() as connection:
        signals = connection.scalars(sa.select(event.c.signal).where(event.c.signal.contains("files"))).all()
    assert signals == ["delete-files", "files-not-delete", "files-deleted"]


def test_another_pilot_takes_over(core):
    """An order of a pilot that has gone goes to another; without any it waits, and says for whom."""
    near = start_pilot(core)
    work = make(core, near)
    delete(core, f"{work}/out")
    near.call(state="leaving")
    core.change("sweeper", assign_removals)
    place = show(core, f"{work}/out").place
    said = f"not deleted yet: no live pilot of site default has a data folder that holds {place}"
    assert show(core, f"{work}/out").files == said
    other = start_pilot(core, data="/data/")
    hurry(core)
    (order,) = other.call().removals
    acts.delete_workflow(core, _find(core, work), "ann")
    assert other.call().removals == [order]


def test_what_others_have_or_brought_stays(core):
    """The file of data that was taken over goes with the last of its datasets; data from outside never goes."""
    near = start_pilot(core)
    work = make(core, near)
    taken = load_text(core, MAKES, adopt=Adopt(workflow=work)).uuid
    reply = delete(core, f"{work}/out")
    assert reply.files == f"its file stays: dataset out of workflow {taken[:8]} has the same place"
    assert near.call().removals == []
    acts.delete_workflow(core, _find(core, work), "ann")
    delete(core, f"{taken}/out")
    (order,) = near.call().removals
    assert order.published == "/shown/out.txt"
    ident = datasets.register_dataset(core, RegisterDatasetBody(place="/data/raw.csv"), "ann")
    with core.db.read() as connection:
        raw = show_dataset(connection, ident)
    with pytest.raises(Conflict, match="p3s deletes no files that came from outside"):
        delete(core, raw.uuid)
    assert show(core, raw.uuid).state == "available"


def test_a_name_that_another_published_since_stays(core):
    """A published name goes only while the workflow that made the file is the last one to have taken it."""
    near = start_pilot(core)
    work = make(core, near)
    make(core, near)
    delete(core, f"{work}/out")
    (order,) = near.call().removals
    assert order.published == ""


def _find(core: Core, work: str):
    with core.db.read() as connection:
        return find_row(connection, "workflow", work)
