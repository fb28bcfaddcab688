"""Payloads that misbehave: each ends with the reason that fits, leaves nothing behind, and harms nobody."""

from __future__ import annotations

import signal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p3s.pilot.exits import EXIT_BLACK_HOLE
from p3s.submit import prepare_jobs, prepare_load, read_standalone
from p3s.wire import TAIL_BYTES
from tests.acceptance.support import (
    await_gone,
    await_job,
    await_workflow,
    call,
    create_job,
    is_alive,
    kill_left_over,
    load,
    read_pids,
    run_text,
)
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from tests.acceptance.support import Journal
    from tests.support.servers import System


def test_failing_payload_shows_its_exit_code_and_stderr(farm: System) -> None:
    """A payload's exit code is kept, and what it wrote last is what `p3s job log` prints."""
    uuid = create_job(farm, "--run", "echo fine; echo 'no calibration for run 5' >&2; exit 42")
    found = await_job(farm, uuid)
    assert (found.state, found.reason) == ("failed", "exit-code")
    assert [(attempt.state, attempt.exit_code) for attempt in found.attempts] == [("failed", 42)]
    assert call(farm, "job", "log", uuid).stdout == "fine\n"
    assert call(farm, "job", "log", "--stderr", uuid).stdout == "no calibration for run 5\n"
    assert "42" in call(farm, "why", uuid).stdout


def test_payload_killed_by_a_signal_says_so(farm: System) -> None:
    """A payload that a signal ended is told from one that exited."""
    found = await_job(farm, create_job(farm, "--run", "kill -SEGV $$"))
    assert (found.reason, found.attempts[0].signal, found.attempts[0].exit_code) == ("signal", signal.SIGSEGV, None)


def test_script_stops_at_its_first_error(farm: System) -> None:
    """`run` is executed with -e and pipefail: a failure in the middle is not lost."""
    for script in ("false\necho on", "false | cat\necho on"):
        uuid = create_job(farm, "--run", script)
        assert await_job(farm, uuid).reason == "exit-code"
        assert call(farm, "job", "log", uuid).stdout == ""


FAMILY = """\
echo $$ >> "{pids}"
sleep 60 & echo $! >> "{pids}"
setsid sleep 60 & echo $! >> "{pids}"
# An orphan: its parent, in a session of its own, ends at once.
setsid bash -c 'sleep 60 & echo $! >> "{pids}"' &
# One that ignores what asks it to go.
bash -c 'trap "" TERM INT HUP; while :; do sleep 1; done' & echo $! >> "{pids}"
"""


def test_time_limit_ends_the_whole_family(farm: System, tmp_path: Path) -> None:
    """Past its time limit a payload is ended with all it started: new sessions, orphans and the deaf as well."""
    pids = tmp_path / "pids"
    with kill_left_over(pids):
        uuid = create_job(farm, "--run", FAMILY.format(pids=pids) + "wait", "--timelimit", "2s")
        family = read_pids(pids, 5)
        assert all(is_alive(pid) for pid in family)
        found = await_job(farm, uuid)
        assert (found.state, found.reason) == ("failed", "timelimit")
        await_gone(family)
    assert "limit" in found.why


def test_time_limit_lets_a_payload_clean_up(farm: System, tmp_path: Path) -> None:
    """The end begins with SIGTERM, which a payload may use to leave things in order."""
    note = tmp_path / "note"
    script = f"trap 'echo cleaned > {note}; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    found = await_job(farm, create_job(farm, "--run", script, "--timelimit", "1s"))
    assert (found.state, found.reason) == ("failed", "timelimit")
    assert note.read_text(encoding="utf-8") == "cleaned\n"


def test_children_do_not_outlive_their_payload(farm: System, tmp_path: Path) -> None:
    """A payload that succeeds and leaves children behind has succeeded; the children are ended."""
    pids = tmp_path / "pids"
    with kill_left_over(pids):
        # The shell does not wait; the orphan's id has to be there before the payload ends.
        script = FAMILY.format(pids=pids) + f'while [ "$(wc -l < "{pids}")" -lt 5 ]; do sleep 0.05; done'
        uuid = create_job(farm, "--run", script)
        family = read_pids(pids, 5)
        assert await_job(farm, uuid).state == "finished"
        await_gone(family)


def test_child_that_drops_its_environment_is_ended_too(system: System, tmp_path: Path) -> None:
    """Neither a new session nor an empty environment hides a process from the end of its payload."""
    pids = tmp_path / "pids"
    with kill_left_over(pids):
        system.start_pilot()
        inner = f"sleep 60 & echo $! >> {pids}"
        script = f"setsid env -i PATH=\"$PATH\" bash -c '{inner}'\nsleep 60"
        uuid = create_job(system, "--run", script, "--timelimit", "2s")
        family = read_pids(pids, 1)
        assert await_job(system, uuid).reason == "timelimit"
        await_gone(family)


def test_flood_on_stdout_keeps_its_end_only(system: System, journal: Journal) -> None:
    """Of 100 MB on stdout the server keeps the last 64 KiB, and the pilot's memory does not grow with them."""
    pilot = system.start_pilot()
    create_job(system, "--run", f"echo warm >> {journal.path}")
    journal.wait_for("warm")
    before = _read_peak(pilot.pid)
    # Lines of 16 bytes; the last ones are known.
    script = "{ yes 0123456789abcde || true; } | head -c 104857600; echo the end; echo loud >&2"
    uuid = create_job(system, "--run", script)
    assert await_job(system, uuid).state == "finished"
    piece = system.client.read_log(uuid, stream="stdout")
    assert len(piece.text) == TAIL_BYTES
    assert piece.text.endswith("0123456789abcde\nthe end\n")
    assert piece.next == 104857600 + len("the end\n")
    assert piece.offset == piece.next - TAIL_BYTES
    printed = call(system, "job", "log", uuid).stdout
    assert len(printed) == TAIL_BYTES
    assert call(system, "job", "log", "--stderr", uuid).stdout == "loud\n"
    assert _read_peak(pilot.pid) - before < 30 * 1024 * 1024


def _read_peak(pid: int) -> int:
    """Return the largest resident size that a process ever had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def test_binary_output_is_no_obstacle(farm: System) -> None:
    """Output that is no UTF-8 is shown as far as it can be."""
    uuid = create_job(farm, "--run", r"printf 'a\xff\x00\xe2\x82z\n'; printf '\xe2\x82\xac\n'")
    assert await_job(farm, uuid).state == "finished"
    text = call(farm, "job", "log", uuid).stdout
    assert text.startswith("a")
    assert text.endswith("z\n€\n")


def test_omitted_output_fails_the_job(farm: System) -> None:
    """A payload that exits 0 without an output that it declared has failed, and the message names the output."""
    text = """\
name: forgets
jobs:
  make: {outputs: {one: one.txt, two: two.txt}, run: echo 1 > "$one"}
  use: {inputs: [one], run: cat "$one"}
"""
    uuid = load(farm, text)
    assert await_workflow(farm, uuid).state == "failed"
    made = farm.client.show_job(f"{uuid}/make")
    assert (made.state, made.reason) == ("failed", "missing-output")
    assert "two" in made.why
    # Nothing of a failed attempt is handed on, not even what it did make.
    assert farm.client.show_job(f"{uuid}/use").state == "skipped"
    assert {dataset.state for dataset in made.outputs} == {"failed"}


@pytest.mark.parametrize("make", ["mkdir", "ln -s /etc/hostname", "mkfifo"])
def test_output_that_is_no_file_fails_the_job(farm: System, make: str) -> None:
    """A folder, a link or a pipe in an output's place is no output."""
    uuid = load(farm, f'name: odd\njobs:\n  make: {{outputs: {{one: one.txt}}, run: {make} "$one"}}\n')
    assert await_workflow(farm, uuid).state == "failed"
    assert farm.client.show_job(f"{uuid}/make").reason == "missing-output"


def test_input_that_lags_is_waited_for(farm: System, tmp_path: Path) -> None:
    """An input that has not yet its recorded size is waited for; the payload then reads all of it."""
    raw = tmp_path / "raw.txt"
    raw.write_text("the whole file\n", encoding="utf-8")
    body = prepare_load(
        farm.write(
            "lag.yaml", f'name: lag\ndatasets: {{raw: "{raw}"}}\njobs:\n  read: {{inputs: [raw], run: cat "$raw"}}\n'
        ),
        {},
    )
    raw.write_text("the", encoding="utf-8")
    uuid = farm.client.load_workflow(body).uuid
    await_job(farm, f"{uuid}/read", "dispatched")
    raw.write_text("the whole file\n", encoding="utf-8")
    assert await_job(farm, f"{uuid}/read").state == "finished"
    assert call(farm, "job", "log", f"{uuid}/read").stdout == "the whole file\n"


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Path]:
    """Payloads that cannot be started, by what is wrong with them."""
    not_executable = tmp_path / "data.txt"
    not_executable.write_text("#!/bin/sh\necho never\n", encoding="utf-8")
    no_program = tmp_path / "garbage"
    no_program.write_bytes(b"\x7fELF nothing of the kind")
    no_program.chmod(0o755)
    return {"absent": tmp_path / "nowhere" / "gone.sh", "not-executable": not_executable, "garbage": no_program}


def test_payloads_that_cannot_start_are_nonstarters(system: System, broken: dict[str, Path], journal: Journal) -> None:
    """What cannot be started says why; a pilot that starts none of three jobs leaves, and says why, too."""
    pilot = system.start_pilot(name="first")
    jobs = {kind: create_job(system, "--payload", str(path), "--no-check") for kind, path in broken.items()}
    wait_until(lambda: pilot.poll() is not None, 30, "the end of the pilot")
    assert pilot.returncode == EXIT_BLACK_HOLE
    assert "could not be started" in system.read_log("first")
    (gone,) = system.client.list_pilots().items
    assert (gone.state, gone.failed) == ("stopped", 3)
    assert "could not be started" in gone.reason
    for kind, uuid in jobs.items():
        found = system.client.show_job(uuid)
        # The machinery is to blame, so the payload's own budget is untouched and it is tried again.
        assert found.state == "waiting"
        assert {attempt.reason for attempt in found.attempts} == {"nonstarter"}
        assert all(str(broken[kind]) in attempt.message for attempt in found.attempts)
        assert "nonstarter" in call(system, "why", uuid).stdout
    for uuid in jobs.values():
        system.client.cancel_job(uuid)
    system.start_pilot(name="second")
    create_job(system, "--run", f"echo after >> {journal.path}")
    journal.wait_for("after")


def test_one_broken_job_does_not_end_its_pilot(system: System, broken: dict[str, Path], journal: Journal) -> None:
    """One job that can never start, however often it is tried, is not held against the pilot."""
    pilot = system.start_pilot()
    uuid = create_job(system, "--payload", str(broken["absent"]), "--no-check")
    wait_until(lambda: len(system.client.show_job(uuid).attempts) >= 3, 40, "three attempts")
    create_job(system, "--run", f"echo after >> {journal.path}")
    journal.wait_for("after", 10)
    assert pilot.poll() is None
    system.client.cancel_job(uuid)


def test_payload_that_cannot_start_is_told_before_it_is_sent(farm: System, broken: dict[str, Path]) -> None:
    """A payload that the submitter can see to be wrong is refused at once, and nothing is created."""
    before = farm.client.ask_status().jobs
    done = call(farm, "job", "create", "standalone", "--payload", str(broken["not-executable"]), check=64)
    assert "chmod +x" in done.stderr
    done = call(farm, "job", "create", "standalone", "--payload", str(broken["garbage"].parent / "none"), check=64)
    assert "does not exist" in done.stderr
    assert farm.client.ask_status().jobs == before


def test_retry_with_backoff_then_succeeds(farm: System, journal: Journal) -> None:
    """A payload that fails twice is tried again after growing pauses, and its third try counts."""
    text = f"""\
name: stubborn
defaults: {{env: {journal.env}}}
jobs:
  flaky:
    retry: {{max: 3, backoff: 0.3s, factor: 3}}
    outputs: {{made: made.txt}}
    run: |
      echo try >> "$JOURNAL"
      [ "$(wc -l < "$JOURNAL")" -ge 3 ] || exit 75
      echo done > "$made"
  use: {{inputs: [made], run: cat "$made" >> "$JOURNAL"}}
"""
    uuid = run_text(farm, text)
    assert journal.read() == ["try", "try", "try", "done"]
    attempts = farm.client.show_job(f"{uuid}/flaky").attempts
    attempts.sort(key=lambda attempt: attempt.number)
    assert [(attempt.state, attempt.exit_code) for attempt in attempts] == [
        ("failed", 75),
        ("failed", 75),
        ("succeeded", 0),
    ]
    # A pause is at least as long as asked for; how much longer is not asserted.
    for pause, (first, then) in zip((0.3, 0.9), pairwise(attempts), strict=True):
        assert first.ended is not None
        assert then.created - first.ended >= pause
    assert len({attempt.uuid for attempt in attempts}) == 3


def test_retry_ends_with_its_budget(farm: System, journal: Journal) -> None:
    """`retry: N` means N further tries and no more."""
    text = f"""\
name: hopeless
defaults: {{env: {journal.env}}}
jobs:
  bad: {{retry: 2, run: echo try >> "$JOURNAL"; exit 1}}
"""
    assert await_workflow(farm, load(farm, text)).state == "failed"
    assert journal.read() == ["try"] * 3


def test_retry_is_for_named_reasons_only(farm: System, journal: Journal) -> None:
    """With `when`, another exit code than those named ends the job at once."""
    text = f"""\
name: picky
defaults: {{env: {journal.env}}}
jobs:
  bad:
    retry: {{max: 5, when: [timelimit, 75]}}
    run: |
      echo try >> "$JOURNAL"
      [ "$(wc -l < "$JOURNAL")" -ge 2 ] && exit 1
      exit 75
"""
    assert await_workflow(farm, load(farm, text)).state == "failed"
    assert journal.read() == ["try", "try"]


def test_each_attempt_has_a_folder_of_its_own(farm: System, journal: Journal) -> None:
    """What a failed attempt wrote is not what its successor finds or hands on."""
    text = f"""\
name: fresh
defaults: {{env: {journal.env}}}
results: [made]
jobs:
  flaky:
    retry: 1
    outputs: {{made: made.txt}}
    run: |
      [ ! -e "$made" ] && [ ! -e here.txt ] || exit 9
      touch here.txt
      echo "$P3S_ATTEMPT" > "$made"
      echo "$P3S_ATTEMPT" >> "$JOURNAL"
      [ "$(wc -l < "$JOURNAL")" -eq 2 ]
"""
    uuid = run_text(farm, text)
    first, last = journal.read()
    assert first != last
    (result,) = farm.client.list_results(uuid).items
    assert result.digest is not None
    assert farm.client.fetch_blob(result.digest).decode().strip() == last
    assert Path(result.place) == farm.data / uuid / "flaky" / last / "made.txt"
    states = {attempt.uuid: attempt.state for attempt in farm.client.show_job(f"{uuid}/flaky").attempts}
    assert states == {first: "failed", last: "succeeded"}


def test_stdin_is_empty(farm: System) -> None:
    """A payload that reads its stdin meets the end of it instead of waiting for ever."""
    uuid = create_job(farm, "--run", "cat; echo nothing came", "--timelimit", "20s")
    assert await_job(farm, uuid).state == "finished"
    assert call(farm, "job", "log", uuid).stdout == "nothing came\n"


def test_sandbox_is_gone_afterwards(farm: System, tmp_path: Path) -> None:
    """The folder in which a payload ran, with its temporary files, is deleted when all is reported."""
    note = tmp_path / "where"
    uuid = create_job(farm, "--run", f"mktemp > {note}; touch rubbish; chmod 500 .; pwd >> {note}")
    assert await_job(farm, uuid).state == "finished"
    temporary, folder = note.read_text(encoding="utf-8").splitlines()
    assert temporary.startswith(f"{folder}/")
    wait_until(lambda: not Path(folder).exists(), 20, f"the end of {folder}")


def test_payload_travels_with_its_job(farm: System, tmp_path: Path) -> None:
    """A relative payload and its files are unpacked into the sandbox; the program is executable there."""
    (tmp_path / "tool.sh").write_text('#!/bin/sh\ncat "$(dirname "$0")/word.txt"; echo "$@"\n', encoding="utf-8")
    (tmp_path / "word.txt").write_text("from the bundle\n", encoding="utf-8")
    spec = tmp_path / "job.yaml"
    spec.write_text("payload: ./tool.sh\nfiles: [word.txt]\nargs: [-x, 'a b']\n", encoding="utf-8")
    specs, base = read_standalone(spec)
    (job,) = prepare_jobs(specs, base)
    farm.client.create_jobs([job])
    # Where it was submitted from does not matter any more.
    (tmp_path / "tool.sh").unlink()
    assert await_job(farm, job.uuid).state == "finished"
    assert call(farm, "job", "log", job.uuid).stdout == "from the bundle\n-x a b\n"


def test_short_jobs_do_not_wait_for_long_ones(farm: System, journal: Journal) -> None:
    """While one payload runs, others start and end on the free slots of the same pilot."""
    long = create_job(farm, "--run", f"while ! grep -q short {journal.path}; do sleep 0.1; done", "--timelimit", "30s")
    await_job(farm, long, "running")
    create_job(farm, "--run", f"echo short >> {journal.path}")
    assert await_job(farm, long).state == "finished"
