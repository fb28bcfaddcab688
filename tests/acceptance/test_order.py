"""No job starts before all its predecessors are done, as the payloads themselves saw it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.support import await_workflow, call, create_job, finish, load, run_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.support import Journal
    from tests.support.servers import System

DIAMOND = """\
name: diamond
params: {{slow: {{default: left}}}}
defaults: {{env: {env}}}
jobs:
  top:
    outputs: {{hits: hits.csv}}
    run: |
      echo "begin top" >> "$JOURNAL"
      sleep 0.3
      echo hits > "$hits"
      echo "end top" >> "$JOURNAL"
  left:
    inputs: [hits]
    outputs: {{a: a.csv}}
    run: |
      echo "begin left" >> "$JOURNAL"
      [ "$slow" != left ] || sleep 1
      sed s/hits/left/ "$hits" > "$a"
      echo "end left" >> "$JOURNAL"
  right:
    inputs: [hits]
    outputs: {{b: b.csv}}
    run: |
      echo "begin right" >> "$JOURNAL"
      [ "$slow" != right ] || sleep 1
      sed s/hits/right/ "$hits" > "$b"
      echo "end right" >> "$JOURNAL"
  join:
    inputs: [a, b]
    outputs: {{whole: whole.csv}}
    run: |
      echo "begin join" >> "$JOURNAL"
      cat "$a" "$b" > "$whole"
      echo "end join" >> "$JOURNAL"
results: [whole]
"""


@pytest.mark.parametrize("slow", ["left", "right"])
def test_join_waits_for_both_parents(farm: System, journal: Journal, slow: str) -> None:
    """A diamond's join never starts before both parents finished, whichever of them is the slow one."""
    uuid = run_text(farm, DIAMOND.format(env=journal.env), slow=slow)
    for first, then in [("top", "left"), ("top", "right"), ("left", "join"), ("right", "join")]:
        assert journal.find(f"end {first}") < journal.find(f"begin {then}")
    fast = "right" if slow == "left" else "left"
    assert journal.find(f"end {fast}") < journal.find(f"end {slow}")
    (result,) = farm.client.list_results(uuid).items
    assert result.digest is not None
    assert farm.client.fetch_blob(result.digest) == b"left\nright\n"


def test_join_by_needs_waits_for_all(farm: System, journal: Journal) -> None:
    """Control edges hold a job back as files do; a sync point in between finishes by itself."""
    text = f"""\
name: control
defaults: {{env: {journal.env}}}
jobs:
  quick: {{run: echo "end quick" >> "$JOURNAL"}}
  slow:
    matrix: {{n: [1, 2]}}
    run: |
      sleep 0.$n
      echo "end slow-$n" >> "$JOURNAL"
  sync: {{needs: [quick, slow]}}
  last: {{needs: [sync], run: echo "begin last" >> "$JOURNAL"}}
"""
    uuid = run_text(farm, text)
    assert len(journal.read()) == 4
    assert journal.read()[-1] == "begin last"
    assert farm.client.show_job(f"{uuid}/sync").attempts == []


def test_chain_runs_in_order(farm: System, journal: Journal) -> None:
    """Twelve jobs in a row run one after the other although the pilot has four slots."""
    jobs = "".join(
        f"  job-{n:02}: {{needs: {[f'job-{n - 1:02}'] if n else []}, run: 'echo {n} >> \"$JOURNAL\"'}}\n"
        for n in range(12)
    )
    run_text(farm, f"name: chain\ndefaults: {{env: {journal.env}}}\njobs:\n{jobs}")
    assert journal.read() == [str(n) for n in range(12)]


def test_random_graph_keeps_its_order(farm: System, journal: Journal) -> None:
    """In a wide graph of fixed odd shape every payload starts after all its parents ended."""
    parents = {n: sorted({(n * 7 + 3) % n, (n * 5 + 1) % n, n // 2} - {n}) if n else [] for n in range(40)}
    jobs = "".join(
        f"  j{n}:\n    needs: {[f'j{p}' for p in parents[n]]}\n"
        f'    run: |\n      echo begin {n} >> "$JOURNAL"\n      echo end {n} >> "$JOURNAL"\n'
        for n in parents
    )
    run_text(farm, f"name: odd\ndefaults: {{env: {journal.env}}}\njobs:\n{jobs}")
    assert len(journal.read()) == 80
    for n, befores in parents.items():
        for parent in befores:
            assert journal.find(f"end {parent}") < journal.find(f"begin {n}")


PARTIAL = """\
name: partial
params: {broken: {default: v}}
jobs:
  track:
    matrix: {plane: [u, v, w]}
    outputs: {trk: "trk-${{ matrix.plane }}.csv"}
    run: |
      [ "$plane" != "$broken" ] || { echo "no plane $plane" >&2; exit 3; }
      echo "track $plane" > "$trk"
  merge:
    inputs: {trk: partial}
    outputs: {merged: merged.txt, seen: seen.json, list: list.txt}
    run: |
      [ -z "${trk+set}" ] || exit 9
      while read -r path; do cat "$path"; done < "$trk_list" > "$merged"
      cp "$P3S_MANIFEST" "$seen"
      cp "$trk_list" "$list"
results: [merged, seen, list]
"""


def _fetch_results(system: System, uuid: str) -> dict[str, str]:
    found = {}
    for item in system.client.list_results(uuid).items:
        assert item.digest is not None
        found[item.key] = system.client.fetch_blob(item.digest).decode()
    return found


def test_partial_fan_in_goes_on_without_the_failed_member(farm: System) -> None:
    """The merge runs after all members are final, its list and manifest name those that came and what is missing."""
    uuid = load(farm, PARTIAL)
    # The failure is tolerated: every path down from it meets a partial input.
    finish(farm, uuid)
    assert farm.client.show_job(f"{uuid}/track-v").state == "failed"
    seen = _fetch_results(farm, uuid)
    assert seen["merged"] == "track u\ntrack w\n"
    paths = seen["list"].splitlines()
    assert [path.rpartition("/")[2] for path in paths] == ["trk-u.csv", "trk-w.csv"]
    manifest = json.loads(seen["seen"])
    assert manifest["inputs"] == {"trk": paths}
    assert manifest["missing"] == ["trk-v"]
    assert manifest["params"] == {"broken": "v"}
    assert manifest["axes"] == {}
    folder = farm.data / uuid / "merge"
    assert manifest["outputs"]["merged"].startswith(f"{folder}/")


def test_partial_fan_in_without_failures_misses_nothing(farm: System) -> None:
    """Where all members came, the manifest says that nothing is missing."""
    seen = _fetch_results(farm, run_text(farm, PARTIAL, broken="none"))
    assert json.loads(seen["seen"])["missing"] == []
    assert seen["merged"] == "track u\ntrack v\ntrack w\n"


def test_plain_fan_in_is_skipped_with_a_failed_member(farm: System) -> None:
    """Without `partial` the merge is skipped with its reason, and the workflow has failed."""
    uuid = load(farm, PARTIAL.replace("{trk: partial}", "[trk]"))
    assert await_workflow(farm, uuid).state == "failed"
    merge = farm.client.show_job(f"{uuid}/merge")
    assert (merge.state, merge.reason, merge.attempts) == ("skipped", "upstream", [])
    assert farm.client.explain(f"{uuid}/merge").sentence == "It was skipped: job track-v is failed."


def test_rest_of_a_failed_workflow_goes_on(farm: System, journal: Journal) -> None:
    """A failed branch ends its own successors and nothing else."""
    text = f"""\
name: branches
defaults: {{env: {journal.env}}}
jobs:
  bad: {{run: exit 1}}
  after-bad: {{needs: [bad], run: echo after-bad >> "$JOURNAL"}}
  last: {{needs: [after-bad], run: echo last >> "$JOURNAL"}}
  good: {{run: sleep 0.5}}
  after-good: {{needs: [good], run: echo after-good >> "$JOURNAL"}}
  cleanup: {{needs: {{after-bad: done}}, run: echo cleanup >> "$JOURNAL"}}
"""
    uuid = load(farm, text)
    assert await_workflow(farm, uuid).state == "failed"
    assert sorted(journal.read()) == ["after-good", "cleanup"]


def test_external_data_holds_its_consumer_back(farm: System, tmp_path: Path, journal: Journal) -> None:
    """A consumer of data that is not there yet waits until somebody registers it, then reads it."""
    raw = tmp_path / "raw.csv"
    text = f"""\
name: arrives
defaults: {{env: {journal.env}}}
datasets: {{raw: {{path: "{raw}"}}}}
jobs:
  read: {{inputs: [raw], run: cat "$raw" >> "$JOURNAL"}}
"""
    uuid = load(farm, text)
    # Jobs created later overtake the one that must wait.
    passing = create_job(farm, "--run", f"echo passed >> {journal.path}")
    journal.wait_for("passed")
    assert farm.client.show_job(passing).uuid == passing
    assert farm.client.show_job(f"{uuid}/read").state == "waiting"
    assert str(raw) in call(farm, "why", f"{uuid}/read").stdout
    raw.write_text("arrived\n", encoding="utf-8")
    call(farm, "dataset", "register", str(raw))
    finish(farm, uuid)
    assert journal.read() == ["passed", "arrived"]


def test_a_workflow_past_its_deadline_is_dropped(farm: System, journal: Journal) -> None:
    """With `on-deadline: drop` what runs is stopped and the rest cancelled once the deadline passed; `why` says so."""
    text = f"""\
name: drop
deadline: 1s
on-deadline: drop
defaults: {{env: {journal.env}}}
jobs:
  long: {{run: echo begun >> "$JOURNAL"; sleep 60}}
  then: {{needs: [long], run: echo then >> "$JOURNAL"}}
"""
    uuid = load(farm, text)
    assert await_workflow(farm, uuid).state == "cancelled"
    for name in ("long", "then"):
        assert call(farm, "why", f"{uuid}/{name}").stdout == "It was cancelled by its deadline.\n"
    assert "then" not in journal.read()


def test_higher_priority_runs_first(system: System, journal: Journal) -> None:
    """Of what is ready at the same time, the higher priority starts first, whatever came first."""
    for priority in (1, 5, 3):
        create_job(system, "--run", f"echo {priority} >> {journal.path}", "--priority", str(priority))
    system.start_pilot("--slots", "1")
    for priority in (1, 5, 3):
        journal.wait_for(str(priority))
    assert all(first > then for first, then in pairwise(map(int, journal.read())))
