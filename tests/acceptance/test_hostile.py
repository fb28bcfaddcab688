"""Values that try to become commands: they arrive byte for byte, and nothing of them is executed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from p3s.errors import BadInput
from p3s.submit import prepare_load
from tests.acceptance.support import await_job, call, create_job, finish, load, run_text
from tests.support.folders import find_paths
from tests.support.servers import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import System

#: What shells, templates, options, paths and terminals take offence at; PWNED stands for a file to be made.
VALUES = {
    "command": "$(touch PWNED)",
    "backticks": "`touch PWNED`",
    "semicolon": "; touch PWNED #",
    "and": "x && touch PWNED",
    "pipe": "| touch PWNED",
    "redirect": "> PWNED",
    "quotes": "'; touch PWNED; '\"; touch PWNED; \"",
    "newline": "a\ntouch PWNED\nb",
    "return": "a\rb\ttab",
    "ends-in-newline": "a\n",
    "heredoc": "EOF\ntouch PWNED\nEOF",
    "variable": "$HOME ${PATH} $0 $$ ${x:-y}",
    "bash-function": "() { :; }; touch PWNED",
    "arithmetic": "a[$(touch PWNED)]",
    "expression": "${{ params.value }}",
    "jinja": "{{ 7 * 7 }}{% raw %}",
    "format": "%s %n {0} {x}",
    "backslash": "\\n \\ \\\\ \\$(touch PWNED)",
    "glob": "* ? [a-z] ~ {a,b}",
    "option": "-rf",
    "long-option": "--help",
    "equals": "a=b=c",
    "spaces": "  two  spaces  ",
    "empty": "",
    "unicode": "Zürich 東京 🙂 e\u0301 \u202e\u200b",
    "yaml": "no: {a: [1, &x *x]} # !!python/object",
    "number": "004610",
    "json": '{"a": "\\u0000"}',
    "traversal": "../../PWNED",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "sql": "'; DROP TABLE job; --",
}

DUMP = """\
#!/usr/bin/env python3
import json, os, sys
target = sys.argv[1]
manifest = json.load(open(os.environ["P3S_MANIFEST"], encoding="utf-8"))
facts = {
    "argv": [os.fsencode(word).decode() for word in sys.argv[2:]],
    "value": os.fsencode(os.environ["value"]).decode(),
    "EXTRA": os.fsencode(os.environ["EXTRA"]).decode(),
    "param": manifest["params"]["value"],
}
json.dump(facts, open(os.environ[target], "w", encoding="utf-8"))
"""

EVERYWHERE = """\
name: hostile
params: {value: {type: str, required: true}}
files: [dump.py]
defaults: {env: {EXTRA: "<${{ params.value }}>"}}
results: [by_script, by_program]
jobs:
  script:
    outputs: [by_script]
    run: python3 dump.py by_script "$value" -- "$value" > /dev/null
  program:
    outputs: [by_program]
    payload: ./dump.py
    args: [by_program, "${{ params.value }}", "<${{ params.value }}>"]
  never:
    if: ${{ params.value == 'something else' }}
    run: exit 1
"""


def _prepare(kind: str, folder: Path) -> tuple[str, Path]:
    marker = folder / "pwned"
    return VALUES[kind].replace("PWNED", str(marker)), marker


def _assert_nothing_ran(system: System, marker: Path) -> None:
    assert not marker.exists()
    assert not find_paths(system.folder, "pwned*")


def _load_all(system: System, text: str, values: dict[str, str]) -> dict[str, str]:
    """Load a workflow for each value, wait until all have finished, and return their uuids by kind."""
    uuids = {kind: load(system, text, value=value) for kind, value in values.items()}
    for uuid in uuids.values():
        finish(system, uuid)
    return uuids


def test_values_arrive_byte_for_byte(farm: System, tmp_path: Path) -> None:
    """As variable, argument, environment and manifest entry a value is what was given, of script and program alike."""
    farm.write("dump.py", DUMP)
    marker = tmp_path / "pwned"
    values = {kind: _prepare(kind, tmp_path)[0] for kind in VALUES}
    uuids = _load_all(farm, EVERYWHERE, values)
    for kind, value in values.items():
        facts = {}
        for item in farm.client.list_results(uuids[kind]).items:
            assert item.digest is not None
            facts[item.key] = json.loads(farm.client.fetch_blob(item.digest))
        common = {"value": value, "EXTRA": f"<{value}>", "param": value}
        assert facts["by_script"] == common | {"argv": [value, "--", value]}, kind
        assert facts["by_program"] == common | {"argv": [value, f"<{value}>"]}, kind
        assert farm.client.show_job(f"{uuids[kind]}/never").state == "skipped", kind
        assert farm.client.show_workflow(uuids[kind]).params == {"value": value}, kind
    _assert_nothing_ran(farm, marker)


def test_values_survive_the_command_line(farm: System, tmp_path: Path) -> None:
    """Given to `p3s workflow load -p`, values arrive as they were typed, and listings stay one line each."""
    farm.write("dump.py", DUMP)
    path = farm.write("hostile.yaml", EVERYWHERE)
    for kind in ("newline", "escape", "option"):
        value, marker = _prepare(kind, tmp_path)
        uuid = farm.run("workflow", "load", "-q", str(path), "-p", f"value={value}", "--watch").stdout.strip()
        assert farm.client.show_workflow(uuid).params == {"value": value}
        shown = farm.run("workflow", "show", uuid).stdout
        assert "\x1b" not in shown
        assert shown.count("\nparams") == 1
        _assert_nothing_ran(farm, marker)


def test_value_that_is_no_text_is_refused(farm: System) -> None:
    """Bytes that are no UTF-8 are refused as bad input, without a traceback."""
    farm.write("dump.py", DUMP)
    path = farm.write("hostile.yaml", EVERYWHERE)
    done = farm.run("workflow", "load", str(path), "-p", b"value=a\xffb", check=64)  # type: ignore[arg-type]
    assert "Traceback" not in done.stderr
    assert "value" in done.stderr


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000], ids=["nul", "200 kB"])
def test_value_that_no_variable_can_hold_is_refused(farm: System, value: str) -> None:
    """What no environment can carry is refused when it is loaded, not by a pilot later."""
    farm.write("dump.py", DUMP)
    with pytest.raises(BadInput, match="value"):
        load(farm, EVERYWHERE, value=value)


def test_matrix_values_arrive_byte_for_byte(farm: System, tmp_path: Path) -> None:
    """Axis values reach the payload as written; job names have what no name may hold replaced."""
    values = [_prepare(kind, tmp_path)[0] for kind in ("command", "quotes", "unicode", "option", "number")]
    text = f"""\
name: axes
results: [got]
jobs:
  one:
    matrix: {{axis: {json.dumps(values, ensure_ascii=False)}}}
    outputs: [got]
    run: printf %s "$axis" > "$got"
"""
    uuid = run_text(farm, text)
    got = [farm.client.fetch_blob(item.digest or "").decode() for item in farm.client.list_results(uuid).items]
    assert sorted(got) == sorted(values)
    names = [job.name for job in farm.client.list_jobs(workflow=uuid).items]
    assert not [name for name in names if set(name) & set(" /$`'\"();\n")]
    _assert_nothing_ran(farm, tmp_path / "pwned")


OUTPUT = """\
name: paths
params: {value: {type: str, required: true}}
jobs:
  make: {outputs: {made: "${{ params.value }}/made.txt"}, run: echo made > "$made"}
  use: {inputs: [made], run: cat "$made"}
"""


def test_value_in_an_output_path_is_a_name(farm: System) -> None:
    """In an output's path a value is part of the file's name, below the attempt's folder."""
    kinds = ("command", "backticks", "quotes", "glob", "option", "unicode", "sql", "expression")
    values = {kind: VALUES[kind].replace("PWNED", "pwned-file") for kind in kinds}
    for kind, uuid in _load_all(farm, OUTPUT, values).items():
        job = farm.client.show_job(f"{uuid}/make")
        folder = farm.data / uuid / "make" / job.attempts[0].uuid
        assert [made.place for made in job.outputs] == [str(folder / values[kind] / "made.txt")]
        assert farm.client.read_log(f"{uuid}/use").text == "made\n"
    _assert_nothing_ran(farm, farm.folder / "pwned-file")


@pytest.mark.parametrize(
    "value", ["..", "../..", "a/../../b", "/etc", "", "a\nb", "x" * 300, ".p3s"], ids=lambda value: repr(value[:12])
)
def test_output_path_that_leads_elsewhere_is_refused(farm: System, tmp_path: Path, value: str) -> None:
    """A value that would lead an output out of its folder is bad input, and nothing is stored."""
    before = farm.client.ask_status().workflows
    path = farm.write("paths.yaml", OUTPUT)
    done = call(farm, "workflow", "load", str(path), "-p", f"value={value}", check=64)
    assert "made" in done.stderr
    assert "Traceback" not in done.stderr
    assert farm.client.ask_status().workflows == before


PUBLISH = """\
name: shown
params: {{value: {{type: str, required: true}}}}
jobs:
  make:
    outputs: {{made: made.txt}}
    publish: {{made: "{folder}/${{{{ params.value }}}}.txt"}}
    run: echo made > "$made"
"""


def test_value_in_a_published_name_is_a_name(farm: System, tmp_path: Path) -> None:
    """Published files have exactly the names that the values give; nothing else appears beside them."""
    folder = tmp_path / "shown"
    kinds = ("command", "backticks", "quotes", "glob", "option", "unicode", "variable")
    values = {kind: VALUES[kind].replace("PWNED", "pwned-file") for kind in kinds}
    _load_all(farm, PUBLISH.format(folder=folder), values)
    targets = {folder / f"{value}.txt" for value in values.values()}
    for target in targets:
        wait_until(target.exists, 20, f"{target}")
        assert target.read_text(encoding="utf-8") == "made\n"
    wait_until(lambda: {path for path in find_paths(folder) if path.is_file()} == targets, 20, "nothing else")
    _assert_nothing_ran(farm, tmp_path / "pwned-file")


@pytest.mark.parametrize("value", ["../up", "a/../../up", "a\nb"], ids=repr)
def test_published_name_that_leads_elsewhere_is_refused(farm: System, tmp_path: Path, value: str) -> None:
    """A value that would lead a published name elsewhere is bad input."""
    with pytest.raises(BadInput, match="publish"):
        load(farm, PUBLISH.format(folder=tmp_path / "shown"), value=value)
    assert not (tmp_path / "up.txt").exists()


def test_value_in_the_path_of_external_data_is_a_path(farm: System, tmp_path: Path) -> None:
    """An external file with a hostile name is found, handed over by its exact path, and read."""
    kinds = ("command", "quotes", "glob", "option", "unicode", "spaces", "variable")
    values = {kind: VALUES[kind].replace("PWNED", "pwned-file") for kind in kinds}
    (tmp_path / "in").mkdir()
    for kind, value in values.items():
        (tmp_path / "in" / f"{value}.csv").write_text(kind, encoding="utf-8")
    text = f"""\
name: reads
params: {{value: {{type: str, required: true}}}}
datasets: {{raw: {{path: "{tmp_path}/in/${{{{ params.value }}}}.csv"}}}}
jobs:
  read: {{inputs: [raw], run: 'cat "$raw"; printf "%s" "$raw"'}}
"""
    for kind, uuid in _load_all(farm, text, values).items():
        assert farm.client.read_log(f"{uuid}/read").text == f"{kind}{tmp_path}/in/{values[kind]}.csv"
    _assert_nothing_ran(farm, tmp_path / "pwned-file")


def test_hostile_file_names_reach_a_list(farm: System, tmp_path: Path) -> None:
    """Names that a pattern finds are data, too: the list has each path as it is, one a line."""
    names = ["$(touch pwned-file).csv", "a b.csv", "'quoted'.csv", "-rf.csv", "`x`.csv", "東京.csv"]
    for name in names:
        (tmp_path / name).write_text(name, encoding="utf-8")
    text = f"""\
name: lists
datasets: {{raw: {{glob: "{tmp_path}/*.csv"}}}}
jobs:
  read: {{inputs: {{raw: all}}, run: cat "$raw_list"}}
"""
    uuid = run_text(farm, text)
    lines = call(farm, "job", "log", f"{uuid}/read").stdout.splitlines()
    assert sorted(lines) == sorted(str(tmp_path / name) for name in names)


def test_hostile_options_of_a_standalone_job(farm: System, tmp_path: Path) -> None:
    """`--env` and `--arg` pass values on as they are; a hostile name or jobtype is refused."""
    value, marker = _prepare("quotes", tmp_path)
    program = tmp_path / "show.sh"
    program.write_text('#!/bin/sh\nprintf "%s|%s" "$EXTRA" "$1"\n', encoding="utf-8")
    program.chmod(0o755)
    uuid = create_job(farm, "--payload", str(program), "--arg", value, "--env", f"EXTRA={value}")
    assert await_job(farm, uuid).state == "finished"
    assert call(farm, "job", "log", uuid).stdout == f"{value}|{value}"
    for option in ("--name", "--jobtype"):
        call(farm, "job", "create", "standalone", "--run", "true", option, f"$(touch {marker})", check=64)
    for name in ("A B=x", "P3S_MANIFEST=x", "=x"):
        call(farm, "job", "create", "standalone", "--run", "true", "--env", name, check=64)
    _assert_nothing_ran(farm, marker)


def test_parameter_inside_a_script_is_refused(farm: System) -> None:
    """An expression inside `run` is a load error that names the variable to use instead."""
    text = EVERYWHERE.replace('"$value" --', "${{ params.value }}")
    farm.write("dump.py", DUMP)
    with pytest.raises(BadInput, match=r"\$value"):
        prepare_load(farm.write("inside.yaml", text), {"value": "x"})
