"""The tree of commands keeps its conventions."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from p3s.cli import output
from p3s.cli.main import build_cli
from p3s.cli.tree import COMMANDS, GROUPS
from tests.support.doctests import check_doctests

#: Commands that work on the server's database themselves.
DATABASE = {"server start", "server migrate", "server backup", "server restore"}
#: Commands that ask no server.
LOCAL = {"up", "completion", "workflow validate", "workflow schema", "job try", *DATABASE}
LOCAL |= {"server unit", "inject check", "notify check", "notify test", "context list", "context use"}
#: Commands that print no data of their own, or JSON alone.
NO_JSON = {"completion", "server unit", "workflow schema", "pilot start", *DATABASE}
DESTRUCTIVE = {path for path in COMMANDS if path.rpartition(" ")[2] in {"cancel", "delete", "drain", "kill"}}


def find_command(path):
    module, _, attribute = COMMANDS[path][0].partition(":")
    return getattr(importlib.import_module(module), attribute)


def find_options(path):
    return {name for param in find_command(path).params for name in param.opts}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_listing_says_what_the_help_says(path):
    """A command's line in the listing is the first sentence of its help."""
    assert find_command(path).help.partition("\n")[0] == COMMANDS[path][1]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_help_has_an_example(path):
    """Every help shows at least one command line that begins like the command."""
    result = CliRunner().invoke(build_cli(), [*path.split(), "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"p3s {path}" in result.output.partition("Example")[2]
    # No indentation of the code is left in the prose.
    assert "   " not in " ".join(line[2:] for line in result.output.partition("Example")[0].splitlines()[2:])


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - LOCAL))
def test_networked_commands_take_a_server(path):
    """Every command that asks a server takes --server."""
    assert "--server" in find_options(path)


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - NO_JSON))
def test_commands_with_data_print_json(path):
    """Every command that prints data takes --json."""
    assert "--json" in find_options(path)


@pytest.mark.parametrize("path", sorted(DESTRUCTIVE))
def test_destructive_commands_can_be_tried(path):
    """Every command that ends things takes --yes and --dry-run."""
    assert {"--yes", "--dry-run"} <= find_options(path)


@pytest.mark.parametrize("path", ["", *GROUPS])
def test_groups_list_their_commands(path):
    """The help of a group lists what is below it."""
    result = CliRunner().invoke(build_cli(), [*path.split(), "--help"])
    start = f"{path} " if path else ""
    below = {name.removeprefix(start).split()[0] for name in COMMANDS if name.startswith(start)}
    listed = {line.split()[0] for line in result.output.partition("Commands:")[2].splitlines() if line.strip()}
    assert listed == below


@pytest.mark.parametrize(
    "args",
    [["--help"], ["job", "--help"], ["job", "list", "--server", "http://127.0.0.1:9", "--help"], ["job", "list"]],
)
def test_plain_calls_start_light(args, tmp_path):
    """A plain call imports none of the libraries that the server, files, plans, proxies and progress bars need."""
    script = (
        "import sys; from p3s.cli.main import run_command; run_command(sys.argv[1:]);"
        "print(*[name for name in ('networkx', 'sqlalchemy', 'flask', 'jinja2', 'rich', 'gunicorn', 'yaml', 'requests')"
        " if name in sys.modules], sep='|')"
    )
    environ = {"HOME": str(tmp_path), "P3S_HOME": str(tmp_path), "P3S_SERVER": "http://127.0.0.1:9", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script, *args], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == ""


def test_the_listing_imports_no_command():
    """The help of p3s and of its groups imports none of the modules below them."""
    script = (
        "import sys; from p3s.cli.main import run_command; run_command(['workflow', '--help']);"
        "print('p3s.cli.workflow' in sys.modules, 'requests' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False False"


def test_doctests_hold():
    """The examples in the docstrings hold."""
    check_doctests(
        output,
        importlib.import_module("p3s.cli.results"),
        importlib.import_module("p3s.submit.sites"),
    )


def test_tables_align_and_obey_no_control_characters(capsys):
    """Columns are aligned, and what a name holds cannot steer the terminal."""
    output.print_table(["NAME", "STATE"], [["a", "finished"], ["long\x1b[2Jname", "failed"]])
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(word) for line, word in zip(lines, ["STATE", "finished", "failed"], strict=True)}) == 1
    assert "\x1b" not in "".join(lines)


def test_choices_are_the_words_of_states():
    """--state takes a state's word as it is printed."""
    (state,) = [param for param in find_command("job list").params if param.name == "state"]
    assert isinstance(state.type, click.Choice)
    assert "running" in state.type.choices
