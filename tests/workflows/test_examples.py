"""The example files themselves: they keep the rules of the YAML, and their scripts do what they say."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

WORKFLOWS = Path(__file__).parents[2] / "workflows"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def load_example(name):
    """Return a decoded example."""
    return yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))


def run_shell(script, folder, **env):
    """Run a script as a pilot does."""
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        timeout=30,
        check=True,
    )


@pytest.mark.parametrize("name", ["quakes/quakes.yaml", "quickstart.yaml"])
def test_workflow_keeps_the_rules(name):
    """Names are distinct variables, outputs have one producer, and no script holds an expression."""
    content = load_example(name)
    jobs = content["jobs"]
    produced = [output for job in jobs.values() for output in job["outputs"]]
    axes = {axis for job in jobs.values() for axis in job.get("matrix", {})}
    names = [*content["datasets"], *produced, *axes]
    assert len(names) == len(set(names))
    assert all(NAME.match(name) for name in names)
    assert not set(names) & set(jobs)
    assert set(content["results"]) <= set(produced)
    for job in jobs.values():
        assert "${{" not in job["run"]
        assert set(job["inputs"]) <= {*content["datasets"], *produced}


def test_every_file_of_the_workflow_travels(quakes):
    """The bundle names each script and template that the payloads use, and each exists."""
    files = set(load_example("quakes/quakes.yaml")["files"])
    present = {path.name for path in quakes.iterdir() if path.suffix in {".py", ".html"}}
    assert files == present - {"cut_catalogue.py"}


def test_quickstart_fans_out_and_in(tmp_path):
    """The three filters and the merge, run by hand, give one file with all three results."""
    content = load_example("quickstart.yaml")
    variables = {"text": str(WORKFLOWS / content["datasets"]["text"]["path"])}
    for job in content["jobs"].values():
        variables |= {name: str(tmp_path / file) for name, file in job["outputs"].items()}
        assert set(job["inputs"]) <= set(variables)
        run_shell(job["run"], tmp_path, **variables)
    lines = (tmp_path / "digest.txt").read_text().splitlines()
    source = Path(variables["text"]).read_text().splitlines()
    assert lines[: len(source)] == [line.upper() for line in source]
    assert sorted(lines[len(source) : 2 * len(source)]) == sorted(source)
    assert lines[2 * len(source)].split() == ["7", "the"]


def test_quickstart_is_short():
    """The first example is below 25 lines."""
    assert len((WORKFLOWS / "quickstart.yaml").read_text().splitlines()) < 25


def test_standalone_job_makes_its_output(tmp_path):
    """The standalone job's script writes the output that it declares."""
    job = load_example("standalone.yaml")
    assert {"name", "jobtype", "priority", "timelimit", "env", "outputs", "run"} == set(job)
    run_shell(job["run"], tmp_path, **job["env"], note=str(tmp_path / job["outputs"]["note"]))
    assert (tmp_path / "note.txt").read_text().startswith(job["env"]["GREETING"])


def test_job_list_has_the_original_shape():
    """The JSON job list keeps the original's keys and its strings, and names a program that exists."""
    (job,) = json.loads((WORKFLOWS / "standalone.json").read_text())
    assert list(job) == ["name", "timeout", "jobtype", "payload", "env", "priority", "state"]
    assert (job["timeout"], job["priority"], job["state"]) == ("100", "1", "defined")
    assert os.access(job["payload"], os.X_OK)
