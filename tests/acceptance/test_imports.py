"""Plain commands start without the libraries of the server."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.servers import System

HEAVY = ("networkx", "sqlalchemy", "flask", "apiflask", "alembic", "gunicorn", "rich")
#: Parts of p3s that only those need who load workflows, or are a server.
PARTS = ("p3s.engine.spec", "p3s.wire.loading", "p3s.settings.server")
#: Runs a command line in this process and tells on stderr which heavy modules it brought.
PROBE = """\
import sys
from p3s.cli.main import run_command
code = run_command(sys.argv[1:])
print("HEAVY", *sorted(set(HEAVY) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_package_imports_nothing_heavy() -> None:
    """`import p3s` brings none of them, nor pydantic or requests."""
    code = "import p3s, sys; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"
    command = [sys.executable, "-c", code, *HEAVY, "pydantic", "requests", "yaml", "click"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "command",
    [
        ("job", "list"),
        ("job", "list", "--json"),
        ("status",),
        ("workflow", "list"),
        ("pilot", "list"),
        ("dataset", "list"),
        ("dag", "list"),
        ("--help",),
        ("--version",),
    ],
    ids=" ".join,
)
def test_plain_commands_import_nothing_heavy(farm: System, command: tuple[str, ...]) -> None:
    """A command that only asks the server and prints does so without graph, database or web libraries."""
    # These two are in one module with commands that read files.
    heavy = HEAVY if command[0] in {"dataset", "dag"} else HEAVY + PARTS
    probe = PROBE.replace("set(HEAVY)", f"set({heavy!r})")
    done = subprocess.run(
        [sys.executable, "-c", probe, *command],
        env=farm.env,
        cwd=farm.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "HEAVY"


def test_probe_sees_heavy_modules() -> None:
    """The probe itself works: planning a workflow does bring networkx."""
    code = "import p3s.engine.graph, sys; print('networkx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "True"


def test_pilot_starts_without_the_servers_libraries(farm: System) -> None:
    """What a farm's worker imports contains neither graph nor database nor web server."""
    code = f"import p3s.cli.pilot_start, sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=farm.env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
