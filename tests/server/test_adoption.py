"""A corrected workflow takes over what is unchanged, and says why the rest runs again."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput, NotFound
from p3s.server.models import dataset, workflow
from p3s.wire import Adopt, BundleFile, ExternalMember
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import DIAMOND, load_text, read_states, read_workflow_state

THERE = {"raw": [ExternalMember(place="/data/raw.csv", available=True, size=3)]}


def run_all(pilot, failing=()):
    """Run all that can be claimed; the named jobs fail. Return the names that ran."""
    ran = []
    while orders := pilot.claim():
        for order in orders:
            ran.append(order.job_name)
            (pilot.fail if order.job_name in failing else pilot.succeed)(order)
    return ran


def test_corrected_workflow_runs_only_what_changed(core):
    """Unchanged finished jobs are taken over with their files; the corrected one and what depends on it run."""
    pilot = ScriptedPilot(core, slots=4)
    old = load_text(core, DIAMOND, externals=THERE)
    run_all(pilot, failing={"right"})
    corrected = DIAMOND.replace('cp "$hits" "$b"', 'cat "$hits" > "$b"')
    new = load_text(core, corrected, externals=THERE, adopt=Adopt(workflow=old.uuid))
    assert new.adopted == ["reduce", "left"]
    assert set(new.again) == {"right", "join"}
    assert new.again["right"] == "it did not finish there"
    assert run_all(pilot) == ["right", "join"]
    assert read_workflow_state(core, new.uuid) == "finished"
    with core.db.read() as connection:
        places = connection.execute(
            sa.select(workflow.c.uuid, dataset.c.place).join(workflow).where(dataset.c.key == "hits")
        ).all()
    assert len({row.place for row in places}) == 1
    assert old.uuid in places[0].place


def test_changed_job_runs_again_with_all_below(core):
    """A finished job that is described otherwise now runs again, and so does what depends on it."""
    pilot = ScriptedPilot(core, slots=4)
    old = load_text(core, DIAMOND, externals=THERE)
    run_all(pilot)
    new = load_text(
        core, DIAMOND.replace('cp "$hits" "$a"', 'cat "$hits"'), externals=THERE, adopt=Adopt(workflow=old.uuid)
    )
    assert new.adopted == ["reduce", "right"]
    assert new.again == {"left": "it is described otherwise now", "join": "left, on which it depends, runs again"}
    assert run_all(pilot) == ["left", "join"]


@pytest.mark.parametrize(
    "change",
    [
        {"externals": {"raw": [ExternalMember(place="/data/other.csv", available=True)]}},
        {"bundle": [BundleFile(path="x.py", data=b"2")]},
    ],
)
def test_other_data_or_files_run_everything(core, change):
    """With other external data or other files in the bundle nothing that saw them is taken over."""
    text = "files: [x.py]\n" + DIAMOND
    given: dict[str, Any] = {"externals": THERE, "bundle": [BundleFile(path="x.py", data=b"1")]}
    old = load_text(core, text, **given)
    pilot = ScriptedPilot(core, slots=4)
    run_all(pilot)
    assert load_text(core, text, **given, adopt=Adopt(workflow=old.uuid)).adopted == ["reduce", "left", "right", "join"]
    assert load_text(core, text, **(given | change), adopt=Adopt(workflow=old.uuid)).adopted == []


def test_nothing_left_to_run_is_finished(core):
    """A workflow all of which is taken over is finished at once."""
    old = load_text(core, DIAMOND, externals=THERE)
    run_all(ScriptedPilot(core, slots=4))
    new = load_text(core, DIAMOND, externals=THERE, adopt=Adopt(workflow=old.uuid))
    assert read_workflow_state(core, new.uuid) == "finished"


def test_from_a_job_on(core):
    """`below` takes over all that does not depend on a job, and runs that job and what depends on it."""
    pilot = ScriptedPilot(core, slots=4)
    old = load_text(core, DIAMOND, externals=THERE)
    run_all(pilot)
    new = load_text(core, DIAMOND, externals=THERE, adopt=Adopt(workflow=old.uuid, below="right"))
    assert new.adopted == ["reduce", "left"]
    assert new.again == {"right": "it was named", "join": "it depends on right"}
    assert read_states(core, new.uuid)["right"] == "defined"
    assert run_all(pilot) == ["right", "join"]


def test_what_to_take_over_must_exist(core):
    """An unknown workflow or job is refused, and nothing is stored."""
    with pytest.raises(NotFound):
        load_text(core, DIAMOND, externals=THERE, adopt=Adopt(workflow="abcd1234"))
    old = load_text(core, DIAMOND, externals=THERE)
    with pytest.raises(BadInput, match="no job 'nobody'"):
        load_text(core, DIAMOND, externals=THERE, adopt=Adopt(workflow=old.uuid, below="nobody"))
