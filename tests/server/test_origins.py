"""Data that another DAG makes: who is bound to whom, who waits for whom, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput, Conflict
from p3s.server.models import dataset, origin
from p3s.server.queries.datasets import show_dataset
from p3s.server.queries.find import find_row
from p3s.server.queries.origins import list_sources
from p3s.server.queries.why import explain
from p3s.server.transitions import spread
from p3s.server.transitions.pauses import resume_some
from p3s.server.usecases import acts, datasets, holds
from p3s.server.usecases.load import start_workflow
from p3s.wire import Adopt
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import find, load_text, read_states, read_workflow_state

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

PEDESTAL = """\
name: pedestal
params: {run: {type: str, required: true}}
jobs:
  make: {outputs: {ped: ped.txt, trk: trk.txt}, run: 'true'}
"""
USER = """\
name: user
params: {run: {type: str, required: true}}
datasets:
  pd: {from: pedestal/ped, match: {run: "${{ params.run }}"}, select: latest}
jobs:
  use: {inputs: [pd], outputs: {out: out.txt}, run: cat "$pd" > "$out"}
  after: {inputs: [out], run: 'true'}
"""
TOLERANT = """\
name: tolerant
datasets: {pd: {from: pedestal/ped}}
jobs:
  any: {inputs: {pd: partial}, run: 'true'}
"""


def start(core: Core, text: str, run: str = "7", **fields) -> str:
    params = {"run": run} if "params" in text else {}
    return load_text(core, text, params=params, **fields).uuid


def why(core: Core, ident: str) -> str:
    noun = "dataset" if ident.endswith(("/pd", "/ped")) else "job"
    with core.db.read() as connection:
        return explain(connection, noun, find_row(connection, noun, ident), 0.0)


def show(core: Core, ident: str):
    with core.db.read() as connection:
        return show_dataset(connection, find_row(connection, "dataset", ident).id)


def run_all(pilot: ScriptedPilot, failing: frozenset[str] = frozenset()) -> list[str]:
    ran = []
    while orders := pilot.claim():
        for order in orders:
            ran.append(order.job_name)
            (pilot.fail if order.job_name in failing else pilot.succeed)(order)
    return ran


def retry(core: Core, work: str) -> None:
    holds.retry_workflow(core, find(core, "workflow", work), "ann")


def sweep(core: Core, work: str) -> None:
    while core.change("sweep", lambda ledger: resume_some(ledger, [find(core, "workflow", work).id])):
        pass


def test_waits_for_the_first_that_matches(core):
    """A reader waits until a workflow of the DAG that matches starts, then for its job; each step is told."""
    work = start(core, USER)
    assert "waits for dataset pd, for which no workflow pedestal of ann with run=7 was started yet" in why(
        core, f"{work}/use"
    )
    start(core, PEDESTAL, run="07")
    held = start(core, PEDESTAL, hold=True)
    assert show(core, f"{work}/pd").source == ""
    start_workflow(core, find(core, "workflow", held).id, "ann")
    start(core, PEDESTAL, owner="bob")
    assert why(core, f"{work}/use") == (
        f"It waits for dataset pd from job make (defined) of workflow pedestal {held[:8]} (running)."
    )
    assert "is expected from job make" in why(core, f"{work}/pd")
    pilot = ScriptedPilot(core, slots=9, site="cern")
    orders = {order.workflow: order for order in pilot.claim()}
    for order in orders.values():
        pilot.succeed(order)
    (use,) = pilot.claim()
    place = pilot.place(orders[held], "ped.txt")
    assert [(one.name, one.place, one.size) for one in use.inputs] == [("pd", place, 3)]
    pilot.succeed(use)
    shown = show(core, f"{work}/pd")
    assert (shown.origin, shown.source, shown.site) == ("ann/pedestal/ped, run=7", f"{held}/ped", "cern")
    assert show(core, f"{held}/ped").consumers == [f"{work[:8]}/use"]
    with core.db.read() as connection:
        ident = find_row(connection, "workflow", work).id
        assert list_sources(connection, ident) == {"pd": f"ann/pedestal/ped, run=7: workflow {held[:8]}"}


FIRST = """\
name: first
datasets: {y: {from: second/y}}
jobs:
  early: {outputs: {z: z}, run: 'true'}
  reads: {inputs: [y], outputs: {a: a}, run: 'true'}
  later: {needs: [reads], outputs: {x: x}, run: 'true'}
"""
SECOND = """\
name: second
datasets: {x: {from: first/%s}}
jobs:
  waits: {inputs: [x], outputs: {b: b}, run: 'true'}
  makes: {inputs: [b], outputs: {y: y}, run: 'true'}
"""


def test_workflows_that_would_wait_for_each_other_are_refused(core):
    """The second of two is not started, and leaves nothing; what reads the other's early data goes on."""
    first = start(core, FIRST)
    for _ in range(2):
        with pytest.raises(Conflict, match=f"dataset x comes from workflow first {first[:8]}, which waits for what"):
            start(core, SECOND % "x")
    held = start(core, SECOND % "x", hold=True)
    with pytest.raises(Conflict, match="both would wait for ever"):
        start_workflow(core, find(core, "workflow", held).id, "ann")
    assert read_workflow_state(core, held) == "held"
    assert "for which no workflow second of ann was started yet" in why(core, f"{first}/reads")
    second = start(core, SECOND % "z")
    assert run_all(ScriptedPilot(core)) == ["early", "waits", "makes", "reads", "later"]
    assert read_workflow_state(core, second) == read_workflow_state(core, first) == "finished"
    # What has ended waits for nobody.
    assert start(core, SECOND % "x")


def test_why_tells_of_workflows_that_wait_for_each_other(core, monkeypatch):
    """Where two came to wait for each other all the same, each says so."""
    monkeypatch.setattr("p3s.server.transitions.bindings.find_circle", lambda *_: None)
    first, second = start(core, FIRST), start(core, SECOND % "x")
    for ident in (f"{first}/reads", f"{second}/waits"):
        assert "which waits for what this one makes: cancel one of the two" in why(core, ident)


def test_takes_the_one_started_last(core):
    """The newest by start is taken, finished or live; what exists at one site only pins the reader to it."""
    held = start(core, PEDESTAL, hold=True)
    old = start(core, PEDESTAL)
    away = ScriptedPilot(core, slots=4, site="fnal")
    run_all(away)
    work = start(core, USER)
    assert show(core, f"{work}/pd").source == f"{old}/ped"
    near = ScriptedPilot(core, slots=4, site="cern")
    assert near.claim() == []
    start_workflow(core, find(core, "workflow", held).id, "ann")
    later = start(core, USER)
    assert show(core, f"{later}/pd").source == f"{held}/ped"
    assert read_states(core, later)["use"] == "waiting"
    assert sorted(run_all(away)) == ["after", "after", "make", "use", "use"]
    assert read_workflow_state(core, later) == "finished"


def test_a_reader_that_is_held_is_bound_at_its_start(core):
    """Which one is newest is decided when the reader starts."""
    start(core, PEDESTAL)
    work = start(core, USER, hold=True)
    assert show(core, f"{work}/pd").source == ""
    newer = start(core, PEDESTAL)
    start_workflow(core, find(core, "workflow", work).id, "ann")
    assert show(core, f"{work}/pd").source == f"{newer}/ped"


@pytest.mark.parametrize("bound", [True, False])
def test_a_failure_is_passed_on_and_mended_by_retries(core, bound):
    """A reader fails as `upstream` naming the job; the maker's retry revives the data, the reader's own goes on."""
    pilot = ScriptedPilot(core, slots=4)
    maker = start(core, PEDESTAL)
    if not bound:
        run_all(pilot, failing=frozenset({"make"}))
    work = start(core, USER)
    tolerant = start(core, TOLERANT)
    if bound:
        run_all(pilot, failing=frozenset({"make"}))
    message = f"dataset pd will not come: job make of pedestal {maker[:8]} is failed (exit-code)"
    job = find(core, "job", f"{work}/use")
    assert (job.state, job.reason, job.message) == ("skipped", "upstream", message)
    assert why(core, f"{work}/use") == f"It was skipped: {message}."
    assert find(core, "workflow", work).message == message
    assert read_workflow_state(core, work) == "failed"
    retry(core, work)
    assert (read_workflow_state(core, work), find(core, "workflow", work).failures) == ("failed", 1)
    retry(core, maker)
    assert show(core, f"{work}/pd").state == "expected"
    retry(core, work)
    assert read_states(core, work) == {"use": "waiting", "after": "waiting"}
    sweep(core, tolerant)
    run_all(pilot)
    assert {read_workflow_state(core, one) for one in (maker, work, tolerant)} == {"finished"}
    assert find(core, "workflow", work).failures == 0


def test_a_retry_takes_a_newer_one(core):
    """A reader whose data failed takes at its retry what was started since."""
    pilot = ScriptedPilot(core, slots=4)
    start(core, PEDESTAL)
    work = start(core, USER)
    run_all(pilot, failing=frozenset({"make"}))
    newer = start(core, PEDESTAL)
    retry(core, work)
    assert show(core, f"{work}/pd").source == f"{newer}/ped"
    run_all(pilot)
    assert read_workflow_state(core, work) == "finished"


def test_a_cancelled_maker_fails_its_readers(core):
    """Readers elsewhere are told also where the maker's own successors are all cancelled with it."""
    maker = start(core, PEDESTAL)
    work = start(core, USER)
    acts.cancel_workflow(core, find(core, "workflow", maker), "bob")
    assert find(core, "job", f"{work}/use").message.endswith("is cancelled (cancelled-by)")
    acts.delete_workflow(core, find(core, "workflow", maker), "ann")
    retry(core, work)
    assert "no workflow pedestal" in why(core, f"{work}/use")


def test_deletion_is_refused_while_readers_wait(core):
    """Neither the maker nor its dataset goes while somebody waits for it; afterwards the binding is remembered."""
    pilot = ScriptedPilot(core, slots=1)
    maker = start(core, PEDESTAL)
    work = start(core, USER)
    pilot.succeed(pilot.claim()[0])
    with pytest.raises(Conflict, match=f"job use of workflow {work[:8]} reads what"):
        acts.delete_workflow(core, find(core, "workflow", maker), "ann")
    ped = find(core, "dataset", f"{maker}/ped")
    with pytest.raises(Conflict, match=f"job use of workflow {work[:8]} needs it"):
        datasets.delete(core, ped, "ann", force=False, admin=False)
    run_all(pilot)
    datasets.delete(core, ped, "ann", force=False, admin=False)
    assert why(core, f"{work}/pd").startswith("It is failed: it was deleted by ann; retry that workflow")
    acts.delete_workflow(core, find(core, "workflow", maker), "ann")
    assert show(core, f"{work}/pd").source == f"{maker}/ped"


def test_deletion_by_force_skips_readers_elsewhere(core):
    """By force the jobs of other workflows that wait for it are skipped, too."""
    pilot = ScriptedPilot(core, slots=1)
    maker = start(core, PEDESTAL)
    work = start(core, USER)
    pilot.succeed(pilot.claim()[0])
    reply = datasets.delete(core, find(core, "dataset", f"{maker}/ped"), "ann", force=True, admin=False)
    assert (reply.skipped, reply.state, show(core, f"{work}/pd").state) == (1, "failed", "failed")
    assert read_workflow_state(core, work) == "failed"


def test_what_cannot_be_meant_is_told_with_its_place(core):
    """Names are checked against the newest workflow of the DAG, if there is one; a DAG cannot wait for itself."""
    start(core, PEDESTAL)
    text = USER.replace("match: {run:", "match: {rum:").replace("pedestal/ped", "pedestal/pad")
    with pytest.raises(BadInput) as caught:
        start(core, text, file="user.yaml")
    said = [str(problem) for problem in caught.value.problems]
    assert [line.split(" DAG pedestal (its newest workflow ")[0] for line in said] == [
        "user.yaml:4:14:",
        "user.yaml:4:36:",
    ]
    assert "makes no dataset 'pad'; it makes ped, trk; did you mean 'ped'?" in said[0]
    assert "has no parameter 'rum'; it has run; did you mean 'run'?" in said[1]
    with pytest.raises(BadInput, match="is this DAG itself"):
        start(core, USER.replace("pedestal/ped", "ann/user/out"))
    with core.db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(origin)) == 0


def test_many_readers_are_told_in_batches(core, monkeypatch):
    """Readers beyond what one transaction has room for are bound and told in further ones."""
    monkeypatch.setattr(spread, "ROOM", 2)
    readers = [start(core, USER) for _ in range(5)]
    start(core, PEDESTAL)
    assert all(show(core, f"{work}/pd").source for work in readers)
    run_all(ScriptedPilot(core, slots=1))
    assert {read_workflow_state(core, work) for work in readers} == {"finished"}


def test_reader_and_maker_at_the_same_moment_meet(core):
    """Whoever starts first, the reader is bound."""
    with ThreadPoolExecutor(8) as pool:
        texts = [USER, PEDESTAL] * 8
        made = list(pool.map(lambda text: start(core, text), texts))
    assert all(show(core, f"{work}/pd").source for work in made[::2])


def test_a_corrected_reader_keeps_what_was_read(core):
    """A workflow that takes over finished jobs is bound to what they have read, not to what is newest now."""
    pilot = ScriptedPilot(core, slots=4)
    maker = start(core, PEDESTAL)
    work = start(core, USER)
    run_all(pilot, failing=frozenset({"after"}))
    start(core, PEDESTAL)
    fixed = load_text(
        core,
        USER.replace("inputs: [out], run: 'true'", "inputs: [out], run: 'date'"),
        params={"run": "7"},
        adopt=Adopt(workflow=work),
    )
    assert fixed.adopted == ["use"]
    assert show(core, f"{fixed.uuid}/pd").source == f"{maker}/ped"
    assert "after" in run_all(pilot)
    with core.db.read() as connection:
        rows = connection.execute(sa.select(dataset.c.state).where(dataset.c.key == "pd")).scalars().all()
    assert set(rows) == {"available"}
