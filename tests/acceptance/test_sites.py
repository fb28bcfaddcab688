"""Pilots that take their settings from a site, as people start them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.support import await_workflow, call, load

#: As a file of the first p3s writes it.
LXVM = """{"name":"lxvm", "server":"localhost:%d", "pilotcycles":"2", "pilotperiod": 1, "pilotbeat": 100, "pilots": 2,
 "batch": "slurm", "data": "%s", "env":{"P3S_SITE":"lxvm", "P3S_DIRPATH":"/eos", "WHO":"site"}}
"""
JOBS = """\
name: env
results: [said]
jobs:
  say: {env: {WHO: job}, run: 'echo "$P3S_SITE $WHO $P3S_DIRPATH $OWN" > "$said"', outputs: {said: said.txt}}
"""


def test_a_pilot_takes_the_settings_of_its_site(system):
    """The original's file defines a site; its pilot has the env, server, data, cycles and period of it, options win."""
    data = system.folder / "site-data"
    call(system, "site", "define", str(system.write("lxvm.json", LXVM % (system.port, data))))
    shown = call(system, "site", "show", "lxvm").stdout
    assert "site  --cycles" in shown
    assert "batch system  slurm" in shown
    few = "It has 0 of 2 live pilot(s), which run 0 job(s); `p3s pilot start --site lxvm` starts one.\n"
    assert call(system, "why", "lxvm").stdout == few
    uuid = load(system, JOBS)
    folders = ("--work", "work", "--log", "log", "--allow-root")
    command = ("pilot", "start", "--site", "lxvm", *folders)
    pilot = system.start_process(*command, name="site", env={"OWN": "pilot", "WHO": "pilot"})
    assert pilot.wait(60) == 0
    said = system.read_log("site")
    assert f"at http://localhost:{system.port}," in said
    assert "leaving: no job came for 2 s" in said
    await_workflow(system, uuid)
    (result,) = system.client.list_results(uuid).items
    assert Path(result.place).is_relative_to(data)
    assert Path(result.place).read_text() == "lxvm job /eos pilot\n"
    own = system.start_pilot("--site", "lxvm", "--cycles", "1")
    assert own.wait(60) == 0
    assert json.loads(call(system, "why", "--json", "site:lxvm").stdout)["noun"] == "site"
    call(system, "why", "site:nowhere", check=5)
    assert "server (this pilot's option wins)" in system.read_log("pilot")
    assert "leaving: no job came for 1 s" in system.read_log("pilot")


def test_a_bad_file_lists_all_and_defines_nothing(system):
    """Every problem of every file comes with its place, also where the site is written on the command line."""
    path = system.write("bad.json", '{"name": "x y",\n "server": "ftp://a",\n "pilotcylces": 1}')
    done = call(system, "site", "define", "absent.json", str(path), '{"name": "good"}', check=64)
    assert [line.split(": ", 1)[1][:20] for line in done.stderr.splitlines()[1:]] == [
        "'x y' is no name of ",
        "'ftp://a' is no serv",
        "unknown key 'pilotcy",
    ]
    assert call(system, "site", "list", "-q").stdout == ""
