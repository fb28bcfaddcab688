"""The README's commands run, and answer what the README shows.

Its ``console`` blocks are run in order, in a folder of their own with a server and two pilots, as `make up`
starts them. Only two things are not run here: lines with `make`, which `.ci/run` and the acceptance tests run;
and the address ``0.0.0.0``, for which the loopback address stands, because tests are no servers for a network.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.servers import System, end_process, wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@dataclass
class Step:
    """A command of the README, and the lines that it shows as the answer."""

    command: str
    shown: list[str] = field(default_factory=list)


def read_steps(text: str) -> list[Step]:
    """Return the commands of all console blocks in order."""
    steps: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line.removeprefix("$ ")))
            else:
                steps[-1].shown.append(line)
    return steps


def simplify(line: str) -> str:
    """Return a line without what differs from run to run: ids, ages, sizes, users, folders, times."""
    line = re.sub(r"^\d{4}-\d\d-\d\d [\d:,]+ ", "", line)
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{8}\b", "ID", line)
    line = re.sub(r"(?:~|/)[\w.~/-]*/", "FOLDER/", line)
    line = re.sub(r"\b\d+(\.\d+)? ?(ms|s|m|h|B|kB|MB)\b", "AMOUNT", line)
    line = re.sub(r"(AMOUNT\s+\w+\s+)\w+$", r"\1OWNER", line)
    return " ".join(line.split())


@pytest.fixture
def tour(tmp_path: Path, system: System) -> System:
    """A system as `make up` starts it, in a folder that looks like a clone and a home."""
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    share = tmp_path / ".local/share"
    share.mkdir(parents=True)
    (share / "p3s").symlink_to(system.home)
    yaml = re.search(r"^```yaml\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert yaml is not None
    (tmp_path / "count.yaml").write_text(yaml.group(1))
    for number in (1, 2):
        system.start_pilot(name=f"local-{number}")
    wait_until(lambda: len(system.client.list_pilots(state="idle").items) == 2, what="two idle pilots")
    return system


def run_shell(tour: System, lines: list[str]) -> subprocess.CompletedProcess[str]:
    """Run lines of the README as a shell would, one after the other."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        env=tour.env | {"PATH": path},
        cwd=tour.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def restart_server(tour: System, command: str) -> None:
    """End what `make up` runs, and start the server as the README says, on the loopback address."""
    for process in reversed(tour.processes):
        end_process(process, signal.SIGTERM)
    assert command == "p3s server start --host 0.0.0.0"
    tour.start_server()
    # On the other machine: the token file was copied there.
    shutil.copy(tour.home / "pilot.token", tour.folder / "pilot.token")


def test_commands_answer_what_is_shown(tour: System):
    """Every command of the README runs, and prints the lines that the README shows, in their order."""
    exports: list[str] = []
    for step in read_steps(README):
        command = step.command
        if command.startswith("make "):
            continue
        if command.startswith("export "):
            exports.append(command)
            continue
        if command.startswith("p3s server start"):
            restart_server(tour, command)
            continue
        if command.startswith("p3s pilot start"):
            root = " --allow-root" if os.geteuid() == 0 else ""
            command = command.replace("http://farm:8440", tour.url) + root
        done = run_shell(tour, [*exports, command])
        assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}"
        real = iter([simplify(line) for line in done.stdout.splitlines()])
        for line in step.shown:
            assert simplify(line) in real, f"{command}\nshows  {simplify(line)}\nprints\n{done.stdout}"


def test_pilot_elsewhere_needs_only_the_pilot_token(tour: System):
    """With the copied pilot token and no home of its own a pilot registers."""
    done = tour.run(
        *("pilot", "start", "--server", tour.url, "--cycles", "1", "--period", "0.2s", "--allow-root"),
        env={"P3S_HOME": str(tour.folder / "other"), "P3S_TOKEN_FILE": str(tour.home / "pilot.token")},
    )
    assert "exit code 0" in done.stderr


def test_python_of_the_guide_runs(tour: System):
    """The example of the Python client loads a workflow and prints its state and why."""
    page = (ROOT / "docs/guide/python.md").read_text()
    code = re.search(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert code is not None
    (tour.folder / "example.py").write_text(code.group(1))
    done = run_shell(tour, ["python example.py"])
    assert re.match(r"(running|finished) It is (running|finished): ", done.stdout), done.stdout


def test_monitor_opens_with_the_token_shown(tour: System):
    """The page that the README names asks for the token of the file that it prints, and opens with it."""
    import requests

    token = (tour.folder / ".local/share/p3s/admin.token").read_text().strip()
    with requests.Session() as session:
        form = session.get(f"{tour.url}/", timeout=10).text
        mark = re.search(r'name="mark" value="([^"]+)"', form)
        assert mark is not None
        answer = session.post(f"{tour.url}/login", data={"token": token, "mark": mark.group(1)}, timeout=10)
        assert answer.status_code == 200
        assert 'id="live"' in session.get(f"{tour.url}/", timeout=10).text


def test_first_thirty_lines_hold_what_a_reader_needs():
    """The first screen has the two commands, nine lines of YAML, an answer of `why`, the choice and the needs."""
    head = "\n".join(README.splitlines()[:30])
    assert "$ make run" in head
    assert "$ make test" in head
    block = re.search(r"^```yaml\n(.*?)^```$", head, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    assert len(block.group(1).splitlines()) == 9
    assert all(word in head for word in ("p3s why", "Snakemake", "Nextflow", "Airflow", "It needs"))


def test_requirements_are_those_of_the_package():
    """The Python version that README and guide ask for is the package's."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert f"Python {needed} or newer" in README
    assert f"Python {needed} or newer" in (ROOT / "docs/guide/install.md").read_text()
