"""Many jobs of one description, the original's ways to start payloads, and jobs tried without a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import wait_until

pytestmark = pytest.mark.processes


def write_program(folder, text, name="program.sh"):
    """Write an executable."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def read_log(farm, ident):
    """Wait for the end of a job and return what it printed."""
    wait_until(lambda: farm.client.show_job(ident).state in {"finished", "failed"}, 30, "the job's end")
    return farm.run("job", "log", ident).stdout


def test_one_job_for_each_file(farm, tmp_path):
    """Each file becomes a job that finds it in P3S_INPUT_FILE; values are set in all of them."""
    program = write_program(tmp_path, 'echo "$P3S_INPUT_FILE $X"')
    jobs = farm.write("list.json", json.dumps([{"payload": str(program), "env": {"P3S_INPUT_FILE": "dummy"}}]))
    uuids = farm.run("job", "create", "standalone", str(jobs), "-f", "a.root,b.root", "--set", "env.X=1", "-q")
    assert [read_log(farm, ident) for ident in uuids.stdout.split()] == ["a.root 1\n", "b.root 1\n"]
    farm.run("job", "create", "standalone", str(jobs), "--set", "env.P3S_ATTEMPT=1", check=64)
    wrong = farm.run("job", "create", "standalone", str(jobs), "--set", "payload.y=1", check=64)
    assert "cannot set 'payload.y': 'payload' has no parts" in wrong.stderr


def test_replicas(farm):
    """A single job is made many times, in few requests; several descriptions are refused."""
    found = farm.run("job", "create", "standalone", "--run", "true", "-N", "1200", "--hold", "-q")
    assert len(set(found.stdout.split())) == 1200
    jobs = farm.write("two.json", json.dumps([{"payload": "/bin/true"}, {"payload": "/bin/false"}]))
    assert "replicas of a single job" in farm.run("job", "create", "standalone", str(jobs), "-N", "2", check=64).stderr


def test_payloads_start_as_they_did(farm, tmp_path):
    """A shell starts what asks for one, a copy runs in the sandbox, plain payloads have arguments."""
    program = write_program(tmp_path, 'echo "$0" "$@"')
    jobs = [
        {"payload": f"{program} 'a b' $X", "env": {"X": "1"}},
        {"payload": f"{program} $X | tr 1 2", "env": {"X": "1", "P3S_EXECMODE": "SHELL"}},
        {"payload": str(program), "env": {"P3S_MODE": "COPY"}},
        {"payload": f"{program} $X c", "env": {"X": "1", "P3S_MODE": "COPY", "P3S_EXECMODE": "SHELL"}},
        {"payload": "printenv X", "env": {"X": "1"}},
    ]
    path = farm.write("modes.json", json.dumps(jobs))
    plain, shell, copy, both, bare = farm.run("job", "create", "standalone", str(path), "-q").stdout.split()
    assert read_log(farm, plain) == f"{program} a b $X\n"
    assert read_log(farm, shell) == f"{program} 2\n".replace("1", "2")
    copied = read_log(farm, copy).strip()
    assert copied.endswith("/program.sh")
    assert copied != str(program)
    assert read_log(farm, both).strip().endswith("/program.sh 1 c")
    assert read_log(farm, bare) == "1\n"


def run_try(system, *arguments, check=0):
    """Run `p3s job try` where no server can be reached."""
    return system.run("job", "try", *map(str, arguments), check=check)


def test_a_job_is_tried_here(farm, tmp_path):
    """Output, files that travel, variables and made files are as with a pilot; overrides win."""
    (tmp_path / "data.txt").write_text("travels\n")
    text = (
        "name: one\nfiles: [data.txt]\noutputs: {out: out.txt}\nenv: {X: a}\n"
        'run: cat data.txt; echo "$X $P3S_OUTPUT_FILE"; test -n "$P3S_JOB_UUID"; echo made > "$out"\n'
    )
    (tmp_path / "job.yaml").write_text(text)
    shown = run_try(farm, tmp_path / "job.yaml", "--set", "env.X=b", "-o", "o.root")
    assert shown.stdout == "travels\nb o.root\n"
    assert "one: finished in" in shown.stderr
    place = shown.stderr.rpartition("output out: ")[2].strip()
    assert Path(place).read_text() == "made\n"
    program = write_program(tmp_path, 'echo "$P3S_INPUT_FILE"; exit 3')
    (tmp_path / "jobs.json").write_text(
        json.dumps([{"name": "a", "payload": "/bin/true"}, {"name": "b", "payload": "/bin/true"}])
    )
    failed = run_try(farm, tmp_path / "jobs.json", "--name", "b", "--payload", program, "-f", "in.root", check=1)
    assert failed.stdout == "in.root\n"
    assert "exit-code: the payload ended with exit code 3" in failed.stderr
    named = write_program(tmp_path, 'echo "$P3S_INPUT_FILE $P3S_OUTPUT_FILE"')
    command = ("job", "try", str(tmp_path / "jobs.json"), "--name", "a", "--payload", str(named))
    settings = {"P3S_INPUT_FILE": "i.root", "P3S_OUTPUT_FILE": "o.root"}
    assert farm.run(*command, env=settings).stdout == "i.root o.root\n"
    assert "--name says which: a, b" in run_try(farm, tmp_path / "jobs.json", check=64).stderr
    missing = run_try(farm, tmp_path / "jobs.json", "--name", "a", "--payload", "/nowhere/x", check=1)
    assert "not started (nonstarter)" in missing.stderr


def test_a_tried_job_ends_at_its_limit(farm, tmp_path):
    """The time limit ends the payload with all its processes, and says so."""
    (tmp_path / "long.yaml").write_text("run: echo begun; sleep 600\ntimelimit: 1\n")
    shown = run_try(farm, tmp_path / "long.yaml", "--json", check=1)
    assert shown.stdout.startswith("begun\n")
    assert json.loads(shown.stdout.partition("\n")[2])["reason"] == "timelimit"


def test_ctrl_c_ends_a_tried_job(tmp_path):
    """An interrupted try leaves no process behind."""
    mark = tmp_path / "pid"
    (tmp_path / "long.yaml").write_text(f"run: echo $$ > {mark}.part; mv {mark}.part {mark}; sleep 600\n")
    command = [sys.executable, "-m", "p3s.cli.main", "job", "try", str(tmp_path / "long.yaml")]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_until(mark.exists, 30, "the payload's start")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    pid = int(mark.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, "the payload's end")
