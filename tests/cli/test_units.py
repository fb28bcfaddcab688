"""The units for systemd are sound, and start the p3s that printed them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from p3s.cli.main import build_cli
from p3s.systemd import UNITS
from tests.support.programs import need_program

#: Of each unit, the name of its file; the at sign makes it one of many.
FILES = {"server": "p3s-server.service", "pilot": "p3s-pilot@.service", "injector": "p3s-injector@.service"}


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_sound(name, tmp_path):
    """systemd-analyze finds nothing to say about it, its program is there, and the command in it parses."""
    analyze = need_program("systemd-analyze", "systemd")
    done = CliRunner().invoke(build_cli(), ["server", "unit", name])
    assert done.exit_code == 0
    assert FILES[name] in done.output.splitlines()[0]
    (command,) = [line.partition("=")[2].split() for line in done.output.splitlines() if line.startswith("ExecStart=")]
    assert command[0] == str(Path(sys.executable).parent / "p3s")
    shown = subprocess.run([*command[:3], "--help"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert all(word in shown for word in command if word.startswith("--"))
    path = tmp_path / FILES[name].replace("@.", "@1.")
    path.write_text(done.output)
    environ = {"PATH": os.environ["PATH"], "SYSTEMD_LOG_LEVEL": "warning", "LANG": "C"}
    said = subprocess.run(
        [analyze, "verify", "--man=no", str(path)],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Units of the system itself are not this unit's doing.
    own = [line for line in (said.stdout + said.stderr).splitlines() if "p3s" in line]
    assert (own, said.returncode) == ([], 0)
