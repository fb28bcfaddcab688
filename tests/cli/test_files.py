"""Commands that read files, and what they hand to the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, cast

import pytest
from click.testing import CliRunner

from p3s.cli.main import build_cli, run_command
from p3s.errors import BadInput
from p3s.submit import (
    check_payloads,
    prepare_jobs,
    prepare_load,
    prepare_plan,
    read_standalone,
    submit_jobs,
)
from p3s.wire import CreateJobsReply

BROKEN = "name: x\nfiles: [gone.py]\njobs:\n  a: {run: echo, imputs: [q]}\n  b: {run: echo, needs: [c]}\n"
GOOD = """\
name: good
params: {run: {required: true}}
files: [tool.sh]
datasets: {raw: {glob: "raw-${{ params.run }}-*.csv"}, far: "s3://bucket/${{ params.run }}"}
jobs:
  a: {inputs: [raw, far], outputs: [out], run: 'cat "$raw_list" > "$out"'}
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a sound workflow and a broken one."""
    (tmp_path / "broken.yaml").write_text(BROKEN)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "tool.sh").write_text("#!/bin/sh\n")
    (tmp_path / "tool.sh").chmod(0o755)
    for name in ("raw-004610-b.csv", "raw-004610-a.csv", "raw-9.csv"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_validate_shows_all_problems_with_their_places(folder, capsys):
    """All problems of a file, missing files among them, are shown as file:line:column: message; the exit code is 64."""
    path = str(folder / "broken.yaml")
    assert run_command(["workflow", "validate", path]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    places = [line.removeprefix(path).split(":")[1] for line in err.splitlines()]
    assert places == ["2", "4", "5"]
    assert "gone.py" in err
    assert "did you mean 'inputs'" in err


def test_validate_prints_json(folder, capsys):
    """With --json the problems of each file are printed as data."""
    paths = [str(folder / name) for name in ("broken.yaml", "good.yaml")]
    assert run_command(["workflow", "validate", "--json", *paths]) == 64
    broken, good = json.loads(capsys.readouterr().out)
    assert [broken["valid"], good["valid"]] == [False, True]
    assert {problem["line"] for problem in broken["problems"]} == {2, 4, 5}


def test_validate_of_sound_files_exits_with_0(folder, capsys):
    """Files without problems give exit code 0 and nothing on stdout."""
    assert run_command(["workflow", "validate", str(folder / "good.yaml")]) == 0
    assert capsys.readouterr().out == ""


def test_validate_reads_stdin():
    """A dash reads the file from stdin."""
    result = CliRunner().invoke(build_cli(), ["workflow", "validate", "-"], input=BROKEN, standalone_mode=False)
    assert result.return_value == 64
    assert "<stdin>:4:" in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"[1, 2", b"jobs: &a [*a]", b"{" * 5000])
def test_validate_survives_what_is_no_workflow(tmp_path, content, capsys):
    """What is no workflow at all is bad input, never a crash."""
    (tmp_path / "x.yaml").write_bytes(content)
    assert run_command(["workflow", "validate", str(tmp_path / "x.yaml")]) == 64
    assert "x.yaml" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_bad_input(capsys):
    """A file that cannot be read is named."""
    assert run_command(["workflow", "validate", "/nonexistent.yaml"]) == 64
    assert "/nonexistent.yaml: cannot be read" in capsys.readouterr().err


def test_schema_is_json(capsys):
    """The schema is a JSON Schema."""
    assert run_command(["workflow", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org")


def test_a_load_carries_all_that_the_server_cannot_see(folder):
    """A load carries text, bundle with modes, and external places: absolute, sorted, with sizes; URLs as they are."""
    body = prepare_load(folder / "good.yaml", {"run": "004610"})
    assert body.text == GOOD
    assert body.base == str(folder)
    (tool,) = body.bundle
    assert (tool.path, tool.executable, tool.data) == ("tool.sh", True, b"#!/bin/sh\n")
    raw, far = body.externals["raw"], body.externals["far"]
    assert [item.place for item in raw] == [str(folder / f"raw-004610-{letter}.csv") for letter in "ab"]
    assert all(item.available and item.size == 16 for item in raw)
    assert [(item.place, item.available) for item in far] == [("s3://bucket/004610", False)]


def test_a_missing_parameter_is_told_before_anything_is_sent(folder):
    """A required parameter that is not given is bad input, with the option to give."""
    with pytest.raises(BadInput, match=r"-p run=VALUE"):
        prepare_load(folder / "good.yaml", {})


def test_a_missing_bundle_file_has_its_place(folder):
    """A file that should travel and is not there is reported where the YAML names it."""
    (folder / "tool.sh").unlink()
    with pytest.raises(BadInput, match=r"tool\.sh") as caught:
        prepare_load(folder / "good.yaml", {"run": "1"})
    assert caught.value.problems[0].line == 3


def test_a_bundle_that_is_too_large_is_refused(folder, monkeypatch):
    """Files that are too large to travel are told to be external data."""
    monkeypatch.setattr("p3s.submit.files.MAX_BUNDLE", 5)
    with pytest.raises(BadInput, match="datasets"):
        prepare_load(folder / "good.yaml", {"run": "1"})


def test_a_standalone_file_is_no_workflow_and_the_reverse(folder):
    """A file of the other kind is refused with the command that takes it."""
    (folder / "job.yaml").write_text("run: echo hello\n")
    with pytest.raises(BadInput, match="job create standalone"):
        prepare_load(folder / "job.yaml", {})
    with pytest.raises(BadInput, match="workflow load"):
        read_standalone(folder / "good.yaml")


def test_plan_shows_scripts_edges_and_generations(folder, capsys):
    """A plan shows jobs, their edges and scripts, and generations; without a server it says so and goes on."""
    args = ["workflow", "plan", str(folder / "good.yaml"), "-p", "run=004610", "--server", "http://127.0.0.1:9"]
    assert run_command(args) == 0
    out, err = capsys.readouterr()
    assert 'cat "$raw_list" > "$out"' in out
    assert "generation 1  a" in out
    assert len(err.splitlines()) == 1
    assert run_command([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["generations"] == [["a"]]
    assert found["params"] == {"run": "004610"}


def test_plan_of_a_standalone_job_is_one_node(folder):
    """A standalone job is planned as a workflow of one node."""
    (folder / "job.yaml").write_text("name: alone\nrun: echo hello\n")
    assert list(prepare_plan(folder / "job.yaml", {}).jobs) == ["alone"]


def test_the_job_list_of_the_original_is_accepted(tmp_path):
    """The original's list, string numbers and state included, becomes standalone jobs."""
    job = {"name": "p3s_job", "timeout": "100", "jobtype": "type1", "payload": "/home/p3s/my_executable.py"}
    more = {"env": {"P3S": "TRUE", "MYVAR": "FALSE"}, "priority": "1", "state": "defined"}
    (tmp_path / "jobs.json").write_text(json.dumps([job | more]))
    (spec,), _ = read_standalone(tmp_path / "jobs.json")
    assert (spec.name, spec.timelimit, spec.priority, spec.env["P3S"]) == ("p3s_job", 100, 1, "TRUE")
    assert check_payloads([spec]) in ([], ["/home/p3s/my_executable.py"])


def test_payloads_that_can_be_seen_are_checked(tmp_path):
    """A payload whose folder is here must exist and be executable; one that cannot be seen is only named."""
    (tmp_path / "plain").write_text("")
    (tmp_path / "job.yaml").write_text(f"payload: {tmp_path}/plain\n")
    specs, _ = read_standalone(tmp_path / "job.yaml")
    with pytest.raises(BadInput, match="chmod"):
        check_payloads(specs)
    (tmp_path / "plain").unlink()
    with pytest.raises(BadInput, match="does not exist"):
        check_payloads(specs)
    (tmp_path / "job.yaml").write_text("payload: /nonexistent/folder/tool\n")
    assert check_payloads(read_standalone(tmp_path / "job.yaml")[0]) == ["/nonexistent/folder/tool"]


def test_a_relative_payload_travels(tmp_path):
    """A relative payload is read and sent with its mode."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "job.yaml").write_text("payload: ./tool\n")
    (job,) = prepare_jobs(*read_standalone(tmp_path / "job.yaml"))
    assert [(file.path, file.executable) for file in job.bundle] == [("tool", True)]


def test_many_jobs_go_in_batches(tmp_path):
    """More jobs than one request may hold go in several, in order."""
    (tmp_path / "job.yaml").write_text("run: echo\n")
    (spec,), base = read_standalone(tmp_path / "job.yaml")
    jobs = prepare_jobs([spec] * 2001, base)

    class Taker:
        """Stands for the server: it answers with the uuids it was sent."""

        def create_jobs(self, batch):
            assert len(batch) <= 1000
            return CreateJobsReply(uuids=[job.uuid for job in batch])

    batches = list(submit_jobs(cast("Any", Taker()), jobs))
    assert [len(batch) for batch in batches] == [1000, 1000, 1]
    assert [uuid for batch in batches for uuid in batch] == [job.uuid for job in jobs]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["job", "create", "standalone"], "give one of"),
        (["job", "create", "standalone", "--run", "x", "--payload", "y"], "give one of"),
        (["job", "create", "standalone", "x.json", "--name", "n"], "FILE says it all"),
        (["job", "create", "standalone", "--run", "x", "--arg", "y"], "goes with --payload"),
        (["job", "create", "standalone", "--run", "x", "--env", "novalue"], "NAME=VALUE"),
        (["job", "create", "standalone", "--run", "x", "--timelimit", "soon"], "duration"),
        (["job", "create", "standalone", "--run", "echo ${{ params.x }}"], "command line"),
        (["workflow", "load", "x.yaml", "--hold", "--watch"], "wait for ever"),
        (["workflow", "load", "x.yaml", "-p", "a=1", "-p", "a=2"], "given twice"),
        (["workflow", "load", "x.yaml", "-p", "run=a\udcffb"], r"run=a\xffb' is not UTF-8 text"),
        (["workflow", "lod"], "did you mean load"),
        (["flow"], "no command"),
        (["up", "-p", "a=b"], "--run FILE"),
        (["job", "list", "--state", "sleeping"], "sleeping"),
        (["workflow", "show"], "ID"),
        (["job", "list", "--server", "ftp://x"], "no server address"),
    ],
)
def test_wrong_usage_exits_with_64(args, message, capsys):
    """Wrong usage exits with 64 and says on stderr what is wrong."""
    assert run_command(args) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("p3s: ")
    assert message in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell, capsys):
    """Completion prints a script that names p3s."""
    assert run_command(["completion", shell]) == 0
    assert "_P3S_COMPLETE" in capsys.readouterr().out


def test_no_answer_exits_with_3(capsys):
    """A server that does not answer gives exit code 3 and says how to start one."""
    assert run_command(["status", "--server", "http://127.0.0.1:9"]) == 3
    assert "p3s up" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error():
    """Output into a pipe that nobody reads any more ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "p3s.cli.main", "workflow", "schema"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode in {0, 1}
