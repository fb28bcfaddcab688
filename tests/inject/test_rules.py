"""Files of rules: every problem at once, each with its place."""

from __future__ import annotations

import pytest

from p3s.errors import BadInput
from p3s.inject.rules import load_rules

WORKFLOW = """\
name: one
params: {run: {required: true}}
datasets: {raw: {path: unknown}, many: {glob: 'x*'}, fixed: {paths: [a, b]}}
jobs:
  a: {inputs: [raw], run: cat "$raw"}
  b: {inputs: {many: all, fixed: all}, run: 'true'}
"""
RULE = "folder: in, pattern: '(?P<run>.)', workflow: flow.yaml, dataset: raw"


@pytest.fixture
def check(tmp_path):
    """Return the problems of a text as ``line: message``, in a folder with a workflow."""
    (tmp_path / "in").mkdir()
    (tmp_path / "flow.yaml").write_text(WORKFLOW)
    (tmp_path / "bad.yaml").write_text("name: bad\njobs: {a: {rum: x}}\n")
    (tmp_path / "job.yaml").write_text("run: echo\n")

    def look(text):
        (tmp_path / "rules.yaml").write_text(text)
        try:
            load_rules(tmp_path / "rules.yaml")
        except BadInput as error:
            return [f"{problem.line}: {problem.message}" for problem in error.problems]
        return []

    return look


def check_rule(check, rule):
    return check(f"name: x\nrules:\n  a: {{{rule}}}\n")


def test_a_sound_file_has_no_problem(check):
    """A rule with a folder, a pattern, a workflow and what takes the file is enough."""
    assert check_rule(check, RULE) == []
    assert check_rule(check, "folder: in, pattern: x, job: job.yaml, file: INPUT") == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (RULE.replace("in,", "out,"), "is not there; make it"),
        (RULE.replace("(?P<run>.)", "("), "is no regular expression: missing )"),
        (
            RULE.replace("run>", "rum>"),
            "has no parameter 'rum' for the group (?P<rum>...) of the pattern; did you mean",
        ),
        (RULE.replace("(?P<run>.)", "x"), "needs parameter 'run'"),
        (RULE.replace("raw", "row"), "has no external dataset 'row'; did you mean 'raw'?"),
        (RULE.replace("raw", "fixed"), "must be one by `path:` or `glob:`"),
        (f"{RULE}, group: {{by: [run], files: 2}}", "must be one by `glob:`"),
        (f"{RULE}, group: {{by: [plane], files: 2}}".replace("raw", "many"), "no group (?P<plane>...)"),
        (f"{RULE}, params: {{runs: 1}}", "has no parameter 'runs'; did you mean 'run'?"),
        (f"{RULE}, sample: 2", "must be at most 1.0, is '2'"),
        (f"{RULE}, quite: 5s", "unknown key 'quite'; did you mean 'quiet'?"),
        (RULE.replace("flow.yaml", "none.yaml"), "none.yaml is not there"),
        (RULE.replace("flow.yaml", "bad.yaml"), "unknown key 'rum'; did you mean 'run'?"),
        (RULE.replace(", dataset: raw", ""), "say what takes the file"),
        (f"{RULE}, job: job.yaml", "exactly one of them"),
        ("folder: in, pattern: x, job: job.yaml, dataset: raw", "a job has no datasets"),
        ("folder: in, pattern: x, job: job.yaml, file: P3S_JOB_UUID", "is reserved"),
    ],
)
def test_each_mistake_is_told_with_what_to_do(check, rule, message):
    """A mistake in a rule is found before anything is watched."""
    assert any(message in problem for problem in check_rule(check, rule))


def test_all_problems_come_at_once(check):
    """Problems of several rules are told together, in the order of the lines."""
    found = check(
        f"name: x\nevery: 1 parsec\nrules:\n  a: {{{RULE}, limit: 0}}\n  b: {{{RULE.replace('raw', 'row')}}}\n"
    )
    assert [problem.split(":")[0] for problem in found] == ["2", "4", "5"]


@pytest.mark.parametrize("text", ["", "[1]", "name: x", "name: x\nrules: {}", "name: x\nrules: {a: }", "\x00"])
def test_any_text_is_refused_in_order(check, text):
    """What is no file of rules at all gets a problem, not a surprise."""
    assert check(text)
