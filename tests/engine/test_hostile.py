"""Arbitrary text: the loader answers with a spec or with `BadInput`, never otherwise."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p3s.engine.expand import expand_dag, find_bundle, find_externals
from p3s.engine.expressions import ExpressionError, check_template, decide_condition, render_template
from p3s.engine.load import is_standalone, load_dag, load_standalone
from p3s.engine.original import read_job_list
from p3s.engine.problems import Source, make_problems
from p3s.engine.yamltext import locate_paths, read_yaml
from p3s.errors import BadInput
from tests.engine.makers import File
from tests.engine.test_expand import DIAMOND
from tests.fuzz_files import run
from tests.support.files import TEXT_PIECES, break_text

FOLDER = Path(__file__).parents[2] / "workflows"
SEEDS = [DIAMOND, *(path.read_text() for path in sorted(FOLDER.rglob("*.yaml")))]


def load_anyhow(text: str) -> None:
    with contextlib.suppress(BadInput):
        spec = load_dag(text, "x.yaml")
        bundle = find_bundle(spec)
        requests = find_externals(spec, {"run": "1"})
        expand_dag(
            spec,
            {"run": "1"},
            {item.name: [File(f"/d/{path}") for path in item.paths] for item in requests},
            bundle=bundle,
        )
    for read in (load_standalone, read_job_list, is_standalone):
        with contextlib.suppress(BadInput):
            read(text, "x.yaml")


@settings(max_examples=120, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Arbitrary text is refused or read."""
    load_anyhow(text)
    load_anyhow(f"name: x\njobs:\n  a:\n    run: |\n      x\n    {text}")


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mutated_files(seed: int) -> None:
    """Good files with pieces added, taken out and moved are refused or read."""
    dice = random.Random(seed)
    text = break_text(dice, dice.choice(SEEDS), TEXT_PIECES, most=20_000)
    load_anyhow(text)


def test_the_long_search_works() -> None:
    """The command that reads thousands of broken files reads some, and none costs too much or ends otherwise."""
    sums, wrong = run(1.0, 1, 7)
    assert wrong == []
    assert sums[0]["files"] > 0


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(
    ["name", "jobs", "run", "inputs", "outputs", "matrix", "env", "retry", "a", "b", "files", "if"]
) | st.text(max_size=4)


@settings(max_examples=120, deadline=None)
@given(
    data=st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
    )
)
def test_any_structure(data: object) -> None:
    """Any JSON structure is refused or read, as a job too."""
    import json

    load_anyhow(json.dumps(data))
    load_anyhow(json.dumps({"name": "x", "jobs": {"a": {"run": "x"}, "b": data}}))
    load_anyhow(json.dumps({"name": "x", "jobs": data, "params": data, "datasets": {"d": data}, "defaults": data}))


@settings(max_examples=120, deadline=None)
@given(text=st.text(alphabet="${} .'()[]|~+-<>=andorfi0123paramstx\"\n", max_size=60))
def test_any_expression(text: str) -> None:
    """An expression has a value or an `ExpressionError`, whatever it is."""
    for whole in (text, "${{" + text + "}}"):
        check_template(whole, ["x"], ["n"])
        with contextlib.suppress(ExpressionError):
            render_template(whole, {"x": "1"}, {"n": "2"})
        with contextlib.suppress(ExpressionError):
            decide_condition(whole, {"x": 1}, {"n": "2"})


@pytest.mark.parametrize("text", ["a: [b, {c: d}]\ne: f", "[a, [b], {c: [d]}]", "a: {b: c}"])
def test_places_of_all_values(text: str) -> None:
    """Every value of a document is found where its text stands."""
    lines = text.splitlines()

    def walk(path: tuple[str | int, ...], value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk((*path, key), item)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                walk((*path, number), item)
        else:
            line, column = locate_paths(text, [path])[path].value
            assert lines[line - 1][column - 1 :].startswith(str(value))

    walk((), read_yaml(text, "x"))


def test_place_of_what_is_not_there() -> None:
    """A path that does not exist has the place of its longest part that does."""
    assert locate_paths("a: {b: c}", [("a", "x", 5)])["a", "x", 5].key == (1, 1)
    assert make_problems([], Source("", "x")) == []
