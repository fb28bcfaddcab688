"""Commands against a real server and a real pilot."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.support.servers import P3S, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("cli-farm")]


def load(farm, *options):
    """Load the diamond and return its id."""
    return farm.run("workflow", "load", "-q", str(farm.folder / "diamond.yaml"), *options).stdout.strip()


def read_json(farm, *args):
    return json.loads(farm.run(*args, "--json").stdout)


def test_load_watch_shows_progress_and_results(farm):
    """Watching a load prints the id and results on stdout, progress on stderr, and exits 0."""
    done = farm.run("workflow", "load", str(farm.folder / "diamond.yaml"), "--watch", "-p", "word=ciao")
    first, head, row = done.stdout.splitlines()[:3]
    assert str(uuid.UUID(first)) == first
    assert head.split() == ["RESULT", "SIZE", "PLACE"]
    assert Path(row.split()[-1]).read_text() == "ciao\nciao\n"
    assert "finished  4/4 done" in done.stderr


def test_a_failed_workflow_exits_with_1_and_says_why(farm):
    """Watching a workflow that fails exits 1 and names the failed job, its reason and how to read on."""
    path = farm.write(
        "fails.yaml",
        "name: fails\njobs: {bad: {run: echo oops >&2; exit 3}}\n".replace("echo", "'echo").replace("3}", "3'}"),
    )
    done = farm.run("workflow", "load", str(path), "--watch", check=1)
    assert "failed: bad (exit-code)" in done.stderr
    command = next(line for line in done.stderr.splitlines() if "p3s job log" in line).split()[1:]
    assert farm.run(*command).stdout == "oops\n"


def test_watch_in_json_is_one_line_for_each_change(farm):
    """Watching in JSON prints lines that each stand alone, the last one final."""
    ident = load(farm)
    lines = farm.run("workflow", "watch", ident[:8], "--json").stdout.splitlines()
    assert json.loads(lines[-1])["state"] == "finished"
    assert all(json.loads(line)["uuid"] == ident for line in lines)


def test_lists_shows_and_ids(farm):
    """Listings filter, -q prints ids only, and prefixes and @last name things."""
    ident = load(farm, "--watch").splitlines()[0]
    assert farm.run("workflow", "list", "-q", "-n", "1").stdout.split() == [ident]
    assert read_json(farm, "workflow", "show", ident[:8])["counts"] == {"finished": 4}
    assert farm.run("workflow", "show", "@last").stdout.split()[1] == ident
    names = [job["name"] for job in read_json(farm, "job", "list", "--workflow", ident, "--state", "finished")]
    assert sorted(names) == ["join", "left", "right", "top"]
    assert farm.run("job", "log", f"{ident}/join").stdout == "hello\nhello\n"
    assert read_json(farm, "job", "show", f"{ident}/join")["attempts"][0]["exit_code"] == 0
    assert "finished" in farm.run("why", f"{ident}/join").stdout
    keys = {item["key"] for item in read_json(farm, "dataset", "list", "--workflow", ident)}
    assert keys == {"seed", "one", "two", "joined"}
    (result,) = read_json(farm, "workflow", "results", ident)
    assert result["key"] == "joined"
    assert "diamond" in farm.run("dag", "list").stdout
    assert read_json(farm, "status")["workflows"]["finished"] >= 1
    assert [pilot["name"] for pilot in read_json(farm, "pilot", "list", "--live")] == ["pilot"]


def test_results_are_fetched(farm):
    """Results are written into the folder asked for, under their datasets' names."""
    ident = load(farm, "--watch").splitlines()[0]
    folder = farm.folder / "fetched"
    farm.run("workflow", "results", ident, "--output", str(folder))
    assert (folder / "joined.txt").read_text() == "hello\nhello\n"


def test_hold_start_cancel_delete(farm):
    """A held workflow waits; cancelling and deleting ask first, can be tried, and need --yes off a terminal."""
    ident = load(farm, "--hold")
    assert read_json(farm, "workflow", "show", ident)["state"] == "held"
    refused = farm.run("workflow", "cancel", ident, check=64)
    assert "--yes" in refused.stderr
    assert farm.url in refused.stderr
    farm.run("workflow", "cancel", ident, "--dry-run")
    assert read_json(farm, "workflow", "show", ident)["state"] == "held"
    farm.run("workflow", "cancel", ident, "--yes")
    assert read_json(farm, "workflow", "show", ident)["state"] == "cancelled"
    farm.run("workflow", "delete", ident, "--yes")
    farm.run("workflow", "show", ident, check=5)
    other = load(farm, "--hold")
    farm.run("workflow", "start", other)
    farm.run("workflow", "watch", other)


def test_a_key_loads_once(farm):
    """The same key starts one workflow, however often it is loaded."""
    assert load(farm, "--key", "run-1", "--hold") == load(farm, "--key", "run-1", "--hold")


def test_a_stored_dag_runs_again(farm):
    """A stored DAG is run with other parameters, and printed as it was loaded."""
    load(farm, "--hold")
    assert farm.run("dag", "show", "diamond").stdout == (farm.folder / "diamond.yaml").read_text()
    ident = farm.run("dag", "run", "diamond", "-p", "word=again", "--watch", "-q").stdout.split()[0]
    assert read_json(farm, "workflow", "show", ident)["params"] == {"word": "again"}
    assert farm.run("job", "log", f"{ident}/join").stdout == "again\nagain\n"


def test_standalone_jobs_from_options_and_files(farm):
    """Jobs are made from options and from the original's list; each prints its id."""
    options = ("--env", "WHO=world", "--name", "greet", "--priority", "3", "--timelimit", "1m", "--jobtype", "small")
    ident = farm.run("job", "create", "standalone", "-q", "--run", 'echo "hello $WHO"', *options).stdout.strip()
    farm.run("workflow", "watch", ident)
    job = read_json(farm, "job", "show", ident)
    assert (job["name"], job["priority"], job["timelimit"], job["jobtype"]) == ("greet", 3, 60, "small")
    assert farm.run("job", "log", ident).stdout == "hello world\n"
    listed = [{"name": "p3s_job", "timeout": "100", "jobtype": "type1", "payload": "/bin/true", "priority": "1"}]
    path = farm.write("jobs.json", json.dumps(listed * 3))
    assert len(farm.run("job", "create", "standalone", "-q", str(path)).stdout.split()) == 3


def test_a_log_is_followed_to_its_end(farm):
    """Following prints what a job writes as it writes it, and ends with the job."""
    ident = farm.run("job", "create", "standalone", "-q", "--run", "echo one; sleep 2; echo two").stdout.strip()
    assert farm.run("job", "log", "-f", ident).stdout == "one\ntwo\n"


def test_a_running_job_is_cancelled(farm):
    """Cancelling a job stops its payload."""
    ident = farm.run("job", "create", "standalone", "-q", "--run", "sleep 300").stdout.strip()
    wait_until(lambda: read_json(farm, "job", "show", ident)["state"] == "running")
    farm.run("job", "cancel", "--yes", ident)
    assert read_json(farm, "job", "show", ident)["state"] == "cancelled"
    wait_until(lambda: read_json(farm, "job", "show", ident)["attempts"][0]["state"] == "stopped")


def test_registered_data_releases_its_consumer(farm):
    """A job waits for a file that is not there, says so, and runs when somebody registers it."""
    path = farm.folder / "late.txt"
    farm.write(
        "waits.yaml", f"name: waits\ndatasets: {{late: {path}}}\njobs: {{a: {{inputs: [late], run: 'cat $late'}}}}\n"
    )
    ident = farm.run("workflow", "load", "-q", str(farm.folder / "waits.yaml")).stdout.strip()
    assert "late" in farm.run("why", f"{ident}/a").stdout
    farm.run("dataset", "register", str(path), check=64)
    path.write_text("now\n")
    farm.run("dataset", "register", str(path))
    farm.run("workflow", "watch", ident)
    assert farm.run("job", "log", f"{ident}/a").stdout == "now\n"


def test_bad_input_changes_nothing(farm):
    """A file with problems is refused with exit code 64, and nothing is stored."""
    before = read_json(farm, "status")["workflows"]
    path = farm.write("bad.yaml", "name: bad\njobs: {a: {run: echo, needs: [b]}}\n")
    farm.run("workflow", "load", str(path), check=64)
    assert read_json(farm, "status")["workflows"] == before


def test_login_keeps_a_checked_token(farm, tmp_path):
    """A good token is kept in a private file and used from then on; a bad one is refused and not kept."""
    environ = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "P3S_HOME": str(tmp_path / "none"),
        "P3S_SERVER": "",
        "PATH": farm.env["PATH"],
    }

    def call(*args, given=""):
        return subprocess.run(
            [*P3S, *args], env=environ, input=given, capture_output=True, text=True, check=False, timeout=60
        )

    assert call("login", "--server", farm.url, given="wrong\n").returncode == 4
    assert call("login", "--server", farm.url).returncode == 64
    token = (farm.home / "admin.token").read_text()
    done = call("login", "--server", farm.url, given=token)
    assert done.returncode == 0
    assert token.strip() not in done.stdout + done.stderr
    kept = tmp_path / "config" / "p3s" / "logins.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert call("status", "--json").returncode == 0


def test_plan_names_the_pilots_that_could_run_a_job(farm):
    """A plan says which live pilots could run each job, and why others could not."""
    path = farm.write("gpu.yaml", "name: gpu\njobs: {a: {run: echo}, b: {run: echo, resources: {labels: [gpu]}}}\n")
    pilots = read_json(farm, "workflow", "plan", str(path))["pilots"]
    assert pilots["a"]["fit"] == ["pilot"]
    assert pilots["b"] == {"fit": [], "misfit": {"pilot": ["needs the label gpu"]}}


def test_a_pilot_is_drained(farm):
    """A drained pilot leaves with exit code 0; its log is printed from the folder it was given."""
    process = farm.start_pilot(name="other")
    (pilot,) = wait_until(
        lambda: [item for item in read_json(farm, "pilot", "list", "--live") if item["name"] == "other"]
    )
    farm.run("pilot", "drain", "--yes", pilot["uuid"])
    assert process.wait(30) == 0
    log = farm.run("pilot", "log", pilot["uuid"], "--log", str(farm.folder / "other-log")).stdout
    assert pilot["uuid"] in log
    farm.run("pilot", "log", pilot["uuid"], check=64)


def test_watching_is_interrupted(farm):
    """Ctrl-C ends watching with exit code 130 and without a traceback; the workflow goes on."""
    ident = farm.run("job", "create", "standalone", "-q", "--run", "sleep 60").stdout.strip()
    process = subprocess.Popen(
        [*P3S, "workflow", "watch", ident],
        env=farm.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "running" in farm.run("workflow", "show", ident).stdout
    farm.run("job", "cancel", ident, "--yes")
