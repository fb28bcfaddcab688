"""What `p3s why` says: for each thing that may keep a job, a workflow, data or a pilot, what it is and what helps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from p3s.clock import read_clock
from p3s.engine.states import PilotStatus
from p3s.server.queries.find import find_anything
from p3s.server.queries.why import explain
from p3s.server.usecases import acts, holds
from p3s.server.usecases.jobs import adjust_jobs, limit_jobtype
from p3s.wire import AdjustBody
from tests.support.pilots import ScriptedPilot
from tests.support.workflows import find, load_text, make_job

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core


DIAMOND = """\
name: diamond
jobs:
  reduce: {outputs: {hits: hits.csv}, run: "true"}
  left: {inputs: [hits], outputs: {a: a.csv}, run: "true"}
  right: {inputs: [hits], outputs: {b: b.csv}, run: "true"}
  join: {inputs: [a, b], run: "true"}
"""


def ask(core: Core, thing: str) -> str:
    """Return the sentence about a thing; times in seconds are written N, ids X."""
    with core.db.read() as connection:
        noun, row = find_anything(connection, thing)
        sentence = explain(connection, noun, row, read_clock())
    return re.sub(r"\b[0-9a-f]{8}\b", "X", re.sub(r"\b\d+ s\b", "N s", sentence))


def test_a_job_that_is_held(core: Core) -> None:
    """By its workflow, which was not started, or by somebody, on its own."""
    uuid = load_text(core, DIAMOND, hold=True).uuid
    assert ask(core, f"{uuid}/left") == (
        "It is held: its workflow is loaded and not started; `p3s workflow start X` lets it go."
    )
    assert ask(core, uuid) == "It is held; `p3s workflow start X` lets it go."
    running = load_text(core, DIAMOND).uuid
    row = find(core, "job", f"{running}/left")
    adjust_jobs(core, AdjustBody(jobs=[row.uuid], hold=True), "ann", admin=True)
    assert ask(core, f"{running}/left") == "Somebody holds it; `p3s job adjust --release X` lets it go on."


def test_a_job_that_waits_for_its_next_try(core: Core) -> None:
    """How long, and what ended the last one."""
    ident = make_job(core, retry={"max": 2, "backoff": "1h"})
    pilot = ScriptedPilot(core)
    pilot.fail(pilot.claim()[0])
    assert ask(core, ident) == "It waits N s more before its next attempt: the last one ended with exit-code."


def test_a_job_that_is_ready(core: Core) -> None:
    """Without a pilot, before a pilot that cannot run it, behind others, and at its jobtype's cap."""
    first, second = make_job(core, resources={"cpus": 2}), make_job(core, resources={"cpus": 2})
    assert ask(core, first) == "It is ready, and no pilot is alive; `p3s pilot start` starts one."
    small = ScriptedPilot(core, cpus=1)
    assert ask(core, first) == (
        "It is ready, and none of 1 live pilot(s) can run it: the nearest one: needs 2 cpus, 1 there. "
        "`p3s pilot list` shows them, `p3s pilot start --help` how one says what it offers."
    )
    acts.ban_host(core, "testhost", "its disk is broken", "ann")
    assert "its host testhost is banned, and `p3s host allow testhost` lets it go on" in ask(core, first)
    acts.ban_host(core, "testhost", None, "ann")
    acts.end_pilot(core, find(core, "pilot", small.uuid), PilotStatus.DRAIN, "ann")
    small.call(ack=0, state="draining")
    assert "it ends what it has, and takes nothing more" in ask(core, first)
    large = ScriptedPilot(core, cpus=2)
    assert ask(core, second) == "It is ready: 1 job(s) of its kind are ahead of it, and 1 live pilot(s) can run it."
    limit_jobtype(core, "default", 0, "ann")
    assert ask(core, second) == (
        "It is ready, and its jobtype default is suspended; `p3s jobtype limit default N` changes that."
    )
    limit_jobtype(core, "default", 1, "ann")
    large.claim()
    assert ask(core, second) == (
        "It is ready, and its jobtype default has 1 open jobs, which is its cap; "
        "`p3s jobtype limit default N` changes that."
    )
    limit_jobtype(core, "default", None, "ann")
    holds.pause_server(core, "ann")
    assert ask(core, second) == (
        "It is ready, and the server gives out no jobs: paused by ann; `p3s server resume` lets it go on."
    )


def test_a_job_from_its_claim_to_its_end(core: Core) -> None:
    """Given out, running, finished; failed with the last words of its pilot; cancelled by somebody."""
    pilot = ScriptedPilot(core)
    ident = make_job(core)
    (order,) = pilot.claim()
    assert ask(core, ident) == (
        "Attempt 1 was given to a pilot on testhost (pilot X, heard N s ago) and has not started."
    )
    pilot.report(order, "started")
    assert ask(core, ident) == "Attempt 1 has been running for N s on testhost (pilot X, heard N s ago)."
    assert ask(core, pilot.uuid) == "It is running; last heard N s ago; 0 jobs done, 0 failed."
    pilot.report(order, "succeeded", exit_code=0)
    assert ask(core, ident) == "It finished at attempt 1."
    bad = make_job(core)
    pilot.fail(pilot.claim()[0])
    assert ask(core, bad) == "It failed (exit-code) after 1 attempt(s), and no further try is left."
    unwanted = make_job(core)
    acts.cancel_job(core, find(core, "job", unwanted), "ann")
    assert ask(core, unwanted) == "It was cancelled by ann."
    pilot.claim()
    assert ask(core, pilot.uuid) == "It is idle: there is no job for it; last heard N s ago."


def test_a_workflow_and_its_data(core: Core) -> None:
    """What is there, what will come and from whom, and what will not; a workflow counts its jobs."""
    uuid = load_text(core, DIAMOND).uuid
    pilot = ScriptedPilot(core)
    assert ask(core, uuid) == "It is running: 1 defined, 3 waiting."
    assert ask(core, f"{uuid}/hits") == "It is expected: job reduce, which makes it, is defined."
    (order,) = pilot.claim()
    pilot.succeed(order)
    place = re.sub(r"\b[0-9a-f]{8}\b", "X", pilot.place(order, "hits.csv"))
    assert ask(core, f"{uuid}/hits") == f"It is available at {place}."
    pilot.fail(pilot.claim(1)[0])
    pilot.succeed(pilot.claim(1)[0])
    assert ask(core, f"{uuid}/a") == "It will not come: job left, which makes it, is failed."
    assert ask(core, f"{uuid}/join") == "It was skipped: job left is failed."
    assert ask(core, uuid) == "It is failed: 1 failed, 2 finished, 1 skipped; failed: left."
