"""Data between workflows, with real servers on both databases and real pilots."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.servers import wait_until

if TYPE_CHECKING:
    from tests.support.servers import System

PEDESTAL = """\
name: pedestal
params: {run: {type: str, required: true}}
jobs:
  make: {outputs: {ped: ped.txt}, run: 'test "$run" != bad && echo "ped of $run" > "$ped"'}
"""
USER = """\
name: user
params: {run: {type: str, required: true}}
datasets:
  pd: {from: pedestal/ped, match: {run: "${{ params.run }}"}}
results: [out]
jobs:
  use: {inputs: [pd], outputs: {out: out.txt}, run: 'cp "$pd" "$out"'}
"""


def test_one_workflows_output_is_anothers_input(both_systems: System) -> None:
    """A reader loaded first waits, runs on what the maker made, and says where it came from; a failure is passed on."""
    system = both_systems
    who = system.client.ask_who().name
    pedestal, user = str(system.write("pedestal.yaml", PEDESTAL)), str(system.write("user.yaml", USER))
    planned = system.run("workflow", "plan", user, "-p", "run=007").stdout
    assert "external pd  from pedestal/ped, run=007 (the workflow started last)" in planned
    first = system.run("workflow", "load", user, "-p", "run=007", "-q").stdout.strip()
    said = system.run("why", f"{first}/use").stdout
    assert f"dataset pd, for which no workflow pedestal of {who} with run=007 was started yet" in said
    assert "not bound yet" in system.run("workflow", "show", first).stdout
    maker = system.run("workflow", "load", pedestal, "-p", "run=007", "-q").stdout.strip()
    assert f"of workflow pedestal {maker[:8]} (running)" in system.run("why", f"{first}/use").stdout
    system.start_pilot()
    assert system.run("workflow", "watch", first, check=0)
    (found,) = system.client.list_results(first).items
    assert system.client.fetch_blob(found.digest or "") == b"ped of 007\n"
    shown = json.loads(system.run("dataset", "show", f"{first}/pd", "--json").stdout)
    assert (shown["origin"], shown["source"]) == (f"{who}/pedestal/ped, run=007", f"{maker}/ped")
    assert f"workflow {maker[:8]}" in system.run("workflow", "show", first).stdout
    for export in ("yaml", "json", "graphml", "dot"):
        assert "pedestal" in system.run("workflow", "export", first, "--format", export).stdout

    bad = system.run("workflow", "load", pedestal, "-p", "run=bad", "-q").stdout.strip()
    lost = system.run("workflow", "load", user, "-p", "run=bad", "-q").stdout.strip()
    wait_until(lambda: system.client.show_workflow(lost).state == "failed", what="the failure to be passed on")
    said = system.run("why", f"{lost}/use").stdout
    assert f"dataset pd will not come: job make of pedestal {bad[:8]} is failed (exit-code)" in said
    problems = system.run(
        "workflow", "load", str(system.write("x.yaml", USER.replace("{run:", "{rum:"))), "-p", "rum=1", check=64
    ).stderr
    assert "x.yaml:4:" in problems


MAKES = """\
name: makes
params: {where: {required: true}}
jobs:
  make: {outputs: {out: deep/out.txt}, publish: {out: "${{ params.where }}/out.txt"}, run: 'echo x > "$out"'}
"""


def test_files_of_deleted_data_are_deleted_by_pilots(hasty_systems: System) -> None:
    """The pilot that has the order is killed; the next one carries it out, whatever the first one had done."""
    system = hasty_systems
    path = str(system.write("makes.yaml", MAKES))
    pilot = system.start_pilot(name="first")
    work = system.run("workflow", "load", path, "-p", f"where={system.folder}/shown", "--watch", "-q").stdout.split()[0]
    made = Path(system.client.show_dataset(f"{work}/out").place or "")
    shown = system.folder / "shown" / "out.txt"
    wait_until(shown.exists, what="the published name")
    pilot.send_signal(signal.SIGSTOP)
    said = system.run("dataset", "delete", f"{work}/out", "--files", "--yes").stderr
    assert "its file is deleted by a pilot that can reach it" in said
    # A pilot that is stopped for longer than its lease loses the order.
    shown_in = system.run("dataset", "show", f"{work}/out").stdout
    assert "being deleted by pilot" in shown_in or "not deleted yet: no live pilot" in shown_in
    assert made.exists()
    # Killed between the two names.
    shown.unlink()
    pilot.kill()
    system.start_pilot(name="second")
    wait_until(lambda: not (system.data / work).exists(), 60, "the file and its folders to go")
    wait_until(lambda: "deleted at" in system.client.show_dataset(f"{work}/out").files, what="the acknowledgement")
    events = system.run("event", "list", "-n", "100").stdout
    assert "delete-files" in events
    assert "files-deleted" in events
    raw = str(system.write("raw.csv", "x"))
    system.run("dataset", "register", raw, "-q")
    assert "no files that came from outside" in system.run("dataset", "delete", raw, "--files", "--yes", check=4).stderr
