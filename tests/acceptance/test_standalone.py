"""Jobs on their own: the original's list unchanged, the examples, and the options of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.support import await_job, call, create_job

if TYPE_CHECKING:
    from tests.support.servers import System

WORKFLOWS = Path(__file__).parents[2] / "workflows"

#: As the original p3s took it, character for character.
ORIGINAL = (
    '[{"name": "p3s_job", "timeout": "100", "jobtype": "type1", "payload": "/home/p3s/my_executable.py", '
    '"env": {"P3S": "TRUE", "MYVAR": "FALSE"}, "priority": "1", "state": "defined"}]'
)


def _create_from_file(system: System, path: Path) -> list[str]:
    return call(system, "job", "create", "standalone", "-q", str(path)).stdout.split()


def test_original_job_list_is_taken_unchanged(system: System) -> None:
    """String numbers, `timeout` and `state` mean what they meant; the payload may be where only pilots are."""
    (uuid,) = _create_from_file(system, system.write("jobs.json", ORIGINAL))
    found = system.client.show_job(uuid)
    assert (found.name, found.state, found.jobtype, found.priority, found.timelimit) == (
        "p3s_job",
        "defined",
        "type1",
        1,
        100.0,
    )
    assert found.spec["payload"] == "/home/p3s/my_executable.py"
    assert found.spec["env"] == {"P3S": "TRUE", "MYVAR": "FALSE"}
    assert found.workflow == uuid
    assert "no pilot" in call(system, "why", uuid).stdout


def test_original_job_list_runs(farm: System, tmp_path: Path) -> None:
    """Every job of a list runs with its own variables; the state `template` holds a job until it is started."""
    program = tmp_path / "my_executable.sh"
    program.write_text('#!/bin/sh\necho "$P3S $MYVAR"\n', encoding="utf-8")
    program.chmod(0o755)
    (job,) = json.loads(ORIGINAL.replace("/home/p3s/my_executable.py", str(program)))
    jobs = [job, job | {"name": "second", "env": {"MYVAR": "2"}}, job | {"name": "third", "state": "template"}]
    first, second, third = _create_from_file(farm, farm.write("three.json", json.dumps(jobs)))
    for uuid, text in ((first, "TRUE FALSE\n"), (second, " 2\n")):
        assert await_job(farm, uuid).state == "finished"
        assert call(farm, "job", "log", uuid).stdout == text
    assert farm.client.show_job(third).state == "held"
    call(farm, "workflow", "start", third)
    assert await_job(farm, third).state == "finished"


def test_wrong_list_creates_nothing(farm: System) -> None:
    """A list with mistakes is refused as a whole, and each mistake has its place."""
    jobs = json.loads(ORIGINAL)
    text = json.dumps([*jobs, jobs[0] | {"prioritee": "1"}, jobs[0] | {"timeout": "soon"}], indent=1)
    before = farm.client.ask_status().jobs
    done = call(farm, "job", "create", "standalone", str(farm.write("wrong.json", text)), check=64)
    assert "wrong.json:" in done.stderr
    assert "priority" in done.stderr
    assert "soon" in done.stderr
    assert farm.client.ask_status().jobs == before


def test_example_list_runs(farm: System) -> None:
    """workflows/standalone.json is the original's list with a payload that every machine has."""
    (uuid,) = _create_from_file(farm, WORKFLOWS / "standalone.json")
    assert await_job(farm, uuid).state == "finished"
    lines = call(farm, "job", "log", uuid).stdout.splitlines()
    assert {"P3S=TRUE", "MYVAR=FALSE"} <= set(lines)


def test_example_file_runs(farm: System) -> None:
    """workflows/standalone.yaml runs to its end and leaves its note below its attempt."""
    (uuid,) = _create_from_file(farm, WORKFLOWS / "standalone.yaml")
    found = await_job(farm, uuid)
    assert (found.state, found.name, found.jobtype, found.priority, found.timelimit) == (
        "finished",
        "hello",
        "example",
        2,
        60.0,
    )
    (note,) = found.outputs
    assert Path(note.place or "").read_text(encoding="utf-8").startswith("Good morning from ")
    assert call(farm, "job", "log", uuid).stdout.startswith("Good morning from ")


def test_script_with_all_options(farm: System) -> None:
    """`--run` with its options makes the job that they describe, and prints its id alone on stdout."""
    done = call(
        farm,
        "job", "create", "standalone", "--run", 'echo "$A-$B"', "--name", "mine", "--env", "A=1", "--env", "B=x=y",
        "--jobtype", "special", "--priority", "7", "--timelimit", "2m",
    )  # fmt: skip
    (uuid,) = done.stdout.split()
    found = await_job(farm, uuid)
    assert (found.state, found.name, found.jobtype, found.priority, found.timelimit) == (
        "finished",
        "mine",
        "special",
        7,
        120.0,
    )
    assert call(farm, "job", "log", "@last").stdout == "1-x=y\n"
    assert "finished" in call(farm, "job", "show", uuid[:8]).stdout


def test_relative_payload_travels(farm: System, tmp_path: Path) -> None:
    """`--payload` below the current folder travels along; its arguments are passed on in order."""
    program = tmp_path / "bin" / "tool.sh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$#:$*"\n', encoding="utf-8")
    program.chmod(0o755)
    options = ("--payload", "bin/tool.sh", "--arg", "--fast", "--arg", "a b")
    uuid = call(farm, "job", "create", "standalone", "-q", *options, cwd=tmp_path).stdout.strip()
    program.unlink()
    assert await_job(farm, uuid).state == "finished"
    assert call(farm, "job", "log", uuid).stdout == "2:--fast a b\n"


def test_held_job_waits_for_its_start(farm: System) -> None:
    """`--hold` leaves a job held, and `p3s workflow start` lets it go."""
    uuid = create_job(farm, "--run", "echo started", "--hold")
    assert farm.client.show_job(uuid).state == "held"
    assert "held" in call(farm, "why", uuid).stdout
    call(farm, "workflow", "start", uuid)
    assert await_job(farm, uuid).state == "finished"
