"""The examples as a newcomer runs them: loaded by the command, worked off by pilots, results fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.servers import System

ROOT = Path(__file__).parents[2]


def _fetch(system: System, uuid: str) -> dict[str, bytes]:
    found = {}
    for item in system.client.list_results(uuid).items:
        assert item.digest is not None
        found[item.key] = system.client.fetch_blob(item.digest)
    return found


def test_quakes_runs_on_the_real_catalogue(farm: System) -> None:
    """All 25 jobs finish, and the summary has each of the week's 1,707 events on one of its eight days."""
    done = farm.run("workflow", "load", "workflows/quakes/quakes.yaml", "--watch", cwd=ROOT)
    uuid = done.stdout.split()[0]
    found = farm.client.show_workflow(uuid)
    assert (found.state, found.counts) == ("finished", {"finished": 25})
    for name in ("week", "report"):
        assert str(farm.data / uuid / "summary") in next(
            line for line in done.stdout.splitlines() if line.startswith(name)
        )
    assert "25/25" in done.stderr
    results = _fetch(farm, uuid)
    week = json.loads(results["week"])
    assert week["totals"]["events"] == 1707
    assert sum(day["events"] for day in week["days"]) == 1707
    assert len(week["days"]) == 8
    page = results["report"].decode()
    assert ">1707<" in page
    assert page.count("<svg") >= 8


def test_quakes_goes_on_without_a_broken_day(farm: System, tmp_path: Path) -> None:
    """A day whose file is damaged is left out of the report, which names it; the workflow still finishes."""
    copy = tmp_path / "quakes"
    shutil.copytree(ROOT / "workflows" / "quakes", copy)
    day = "2018-02-03"
    (copy / "data" / f"quakes-{day}.geojson").write_text('{"features": "damaged"}', encoding="utf-8")
    done = farm.run("workflow", "load", str(copy / "quakes.yaml"), "--watch")
    uuid = done.stdout.split()[0]
    found = farm.client.show_workflow(uuid)
    assert (found.state, found.counts) == ("finished", {"failed": 3, "finished": 22})
    assert "failed" in done.stderr
    week = json.loads(_fetch(farm, uuid)["week"])
    assert 0 < week["totals"]["events"] < 1707
    assert day in json.dumps(week["missing"])


def test_quickstart_runs(farm: System) -> None:
    """The three filters run side by side and the merge puts their files together in order."""
    done = farm.run("workflow", "load", "workflows/quickstart.yaml", "--watch", cwd=ROOT)
    uuid = done.stdout.split()[0]
    digest = _fetch(farm, uuid)["digest"].decode().splitlines()
    text = (ROOT / "workflows" / "quickstart.txt").read_text(encoding="utf-8").splitlines()
    assert digest[: len(text)] == [line.upper() for line in text]
    assert sorted(digest[len(text) : 2 * len(text)]) == sorted(text)
    words = " ".join(text).replace(".", "").lower().split()
    first = digest[2 * len(text)].split()
    assert int(first[0]) == max(words.count(word) for word in words)


def test_stored_dag_runs_again(farm: System) -> None:
    """What was loaded once runs again by its name, with the same result, and is listed with its version."""
    uuid = farm.run("workflow", "load", "-q", "workflows/quickstart.yaml", cwd=ROOT).stdout.strip()
    farm.run("workflow", "watch", uuid)
    again = farm.run("dag", "run", "quickstart", "--watch", "-q").stdout.split()[0]
    assert again != uuid
    assert _fetch(farm, again) == _fetch(farm, uuid)
    assert "quickstart" in farm.run("dag", "list").stdout
