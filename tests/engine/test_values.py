"""Single values: durations, sizes, text, expressions, names, matching, outcomes."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from p3s.engine.expressions import ExpressionError, check_template, decide_condition, render_template
from p3s.engine.matching import Offer, Requirement, find_mismatches
from p3s.engine.outcome import decide_outcome
from p3s.engine.paths import check_place
from p3s.engine.plan import JobPlan, Resources, Retry
from p3s.engine.problems import Fault, make_problems, raise_faults
from p3s.engine.spec import DagSpec, StandaloneSpec, make_schema
from p3s.engine.states import Reason
from p3s.engine.units import parse_axis, parse_duration, parse_env_value, parse_size, shorten, to_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0.5s", 0.5),
        ("7", 7),
        (7, 7),
        (0.5, 0.5),
        ("1d2h3m4s", 93784),
    ],
)
def test_durations(text: Any, seconds: float) -> None:
    """Durations are plain seconds or numbers with units, largest first."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "m10", "10 m", "-5", "1m1h", "1e3", "inf", "nan", None, True, [], math.nan, math.inf, -1, 10**400, "٣s"],
)
def test_bad_durations(text: Any) -> None:
    """Anything else is no duration."""
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1.5GB", 1_500_000_000),
        ("2 TiB", 2 * 1024**4),
        ("5B", 5),
        (7, 7),
        ("512M", 512_000_000),
    ],
)
def test_sizes(text: Any, size: int) -> None:
    """Sizes are bytes or numbers with units of 1000 or 1024."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1 PB", "1iB", "-1", 1.5, True, None, 2**63, "9" * 15 + "TB"])
def test_bad_sizes(text: Any) -> None:
    """Anything else is no size."""
    with pytest.raises(PydanticCustomError):
        parse_size(text)


def test_text_of_json_values() -> None:
    """Numbers and truth values of a JSON body become the text that YAML has."""
    assert [to_text(value) for value in (1, 1.5, False, "x")] == ["1", "1.5", "false", "x"]
    assert parse_axis((1, "a")) == ("1", "a")
    assert parse_env_value(3) == "3"
    values: list[Any] = [None, [], {}, 10**2000]
    for value in values:
        with pytest.raises(PydanticCustomError):
            to_text(value)


def test_values_are_shortened() -> None:
    """A value in a message is short and on one line, whatever it is."""
    assert shorten("a\n\r\0") == "a\\n\\r\\0"
    assert shorten("x" * 100) == "x" * 57 + "..."
    assert (shorten([1]), shorten({}), shorten(10**5000), shorten(5)) == (
        "a list",
        "a mapping",
        "a number with many digits",
        "5",
    )


def test_huge_numbers_of_a_body() -> None:
    """A number that Python would not print is refused with a message."""
    with pytest.raises(ValueError, match="many digits"):
        StandaloneSpec.model_validate({"run": "x", "timelimit": 10**5000})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${{ params.p }}", "ab/c.d.csv"),
        ("${{ params['p'] | basename }}", "c.d.csv"),
        ("${{ params.p | stem | upper }}", "C.D"),
        ("${{ params.n | pad(4) }}${{ 'X' | lower }}", "0007x"),
        ("${{ 1 + 2 - 4 }}${{ -1 }}", "-1-1"),
        ("${{ 'a' + 'b' ~ 1 ~ none ~ true }}", "ab1true"),
        ("${{ 'y' if params.n == '07' else 'z' }}${{ 'y' if 0 else 'z' }}${{ 'q' if 0 }}${{ 't' if 1 }}", "zzt"),
        ("${{ params.n in ['7', '8'] }} ${{ params.n not in ('7',) }}", "true false"),
        ("${{ 1 < 2 <= 2 }} ${{ 3 > 2 >= 3 }} ${{ 1 != 1 }}", "true false false"),
        (
            "${{ params.n and 'x' }} ${{ '' or 'y' }} ${{ not 'no' }} ${{ 'no' and 'x' }} ${{ 'a' or 'b' }}",
            "7 y? true no a",
        ),
        ("${{ '${{' }}", "${{"),
        ("{% if %}{# #}${{ 1 }}\n", "{% if %}{# #}1\n"),
    ],
)
def test_expressions(text: str, expected: str) -> None:
    """Expressions have the values that Jinja gives them."""
    expected = expected.replace("7 y?", "x y")
    assert render_template(text, {"p": "ab/c.d.csv", "n": "7"}, {}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ 2 * 3 }}", "'mul' is not part of expressions"),
        ("${{ f() }}", "'call' is not part of expressions"),
        ("${{ params }}", "'params' needs a name after it"),
        ("${{ run }}", "'run' is not defined; write params.run or matrix.run"),
        ("${{ steps.x }}", "'steps.x' is not defined; there are params.NAME and matrix.NAME"),
        ("${{ params.p.__class__ }}", "only params.NAME and matrix.NAME have something after a dot"),
        ("${{ params[1] }}", "'params' takes a name: params.NAME"),
        ("${{ params[params.p] }}", "'params' takes a name: params.NAME"),
        (
            "${{ params.p | uper }}",
            "unknown filter 'uper'; there are basename, stem, pad, lower, upper; did you mean 'upper'?",
        ),
        ("${{ params.p | pad }}", "filter 'pad' takes one value, as in pad(6)"),
        ("${{ params.p | lower(1) }}", "filter 'lower' takes no value"),
        ("${{ " + "(" * 2000 + " }}", "too deep or too large"),
        ("${{ " + "+".join("1" * 100) + " }}", "nested deeper than 50 levels"),
        ("${{ 1 }}" + "x" * 10_000, "text with expressions has 10,008 characters"),
        ("\ue0f0${{ 1 }}", "holds a character for private use"),
    ],
)
def test_expressions_are_refused_without_values(text: str, message: str) -> None:
    """What an expression may not hold is told at load."""
    (found,) = check_template(text, ["p"], [])
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ params.q }}", "params.q is not defined; did you mean 'qq'?"),
        ("${{ params.qq | pad(1001) }}", "pad takes a whole number from 0 to 1000"),
        ("${{ [1] }}", "a list is good for `in` only"),
        ("${{ 1 + 'a' }}", "a number and text cannot be added"),
        ("${{ 1 - none }}", "a number and nothing cannot be added"),
        ("${{ [1] < 2 }}", "a list and a number cannot be compared"),
        ("${{ params.qq ~ params.qq }}", "the result of an expression is longer than 100,000 characters"),
        ("${{ params.qq + params.qq }}", "the result of an expression is longer than 100,000 characters"),
    ],
)
def test_expressions_fail_with_values(text: str, message: str) -> None:
    """What turns out with values only is told then."""
    with pytest.raises(ExpressionError, match=message.replace("(", r"\(").replace("?", r"\?")):
        render_template(text, {"qq": "x" * 60_000}, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.n > 9", True),
        ("${{ params.n > 9 }}", True),
        ("${{ params.b }}${{ params.b }}", True),
        ("params.b", False),
        ("'No'", False),
        ("' '", False),
        ("'0'", False),
        ("none", False),
        ("0", False),
        ("matrix.m == 'u'", True),
        ("${{ 'fal' }}se", False),
    ],
)
def test_conditions(text: str, expected: bool) -> None:  # noqa: FBT001
    """Nothing, zero and the words for no are no; all else is yes."""
    assert decide_condition(text, {"n": 10, "b": False}, {"m": "u"}) is expected


def test_mismatches() -> None:
    """Every reason why a pilot cannot run a job is told."""
    wish = Requirement("ann", "gpu", cpus=4, memory=5_000_000_000, labels=("a", "b"), timelimit=100)
    offer = Offer(cpus=2, memory=4_000, users=("bob",), jobtypes=("cpu",), lifetime=-5)
    assert find_mismatches(wish, offer) == [
        "needs 4 cpus, 2 there",
        "needs 5 GB of memory, 4 kB there",
        "needs the labels a, b",
        "is owned by ann, whose jobs it does not take",
        "is of jobtype gpu, which it does not take",
        "may take 100 s, the pilot ends in 0 s",
    ]
    assert find_mismatches(wish, Offer(4, None, ("a", "b", "c"), ("ann",), ("gpu",), 100)) == []
    assert find_mismatches(Requirement("ann", memory=5), Offer(memory=4)) == ["needs 5 B of memory, 4 B there"]
    assert find_mismatches(Requirement("ann", memory=5), Offer(memory=0)) == []


def test_wishes_and_offers_of_plans_and_pilots() -> None:
    """A planned job and a declared pilot are compared as the server would."""
    job = JobPlan("a", "a", jobtype="t", resources=Resources(2, 3, ("l",)), timelimit=5)
    wish = Requirement.from_job(job)
    assert wish == Requirement("", "t", 2, 3, ("l",), 5)
    accepts = SimpleNamespace(users=["ann"], jobtypes=[])
    pilot: Any = SimpleNamespace(cpus=2, memory=0, labels=["l"], accepts=accepts, lifetime=None, site="s")
    assert Offer.from_pilot(pilot) == Offer(2, 0, ("l",), ("ann",), site="s")
    assert find_mismatches(wish, Offer.from_pilot(pilot)) == []


def test_outcomes() -> None:
    """Budgets are apart: payload errors count by the job's rule, losses by the server's; handing back is free."""
    rule = Retry(max=2, backoff=1, when=("timelimit", "75"))

    def decide(reason: Reason, code: int | None = None, failures: int = 0, losses: int = 0) -> bool:
        return decide_outcome(reason, code, rule, failures=failures, losses=losses, budget=5).again

    assert decide(Reason.TIMELIMIT)
    assert decide(Reason.EXIT_CODE, 75, failures=1)
    assert not decide(Reason.EXIT_CODE, 75, failures=2)
    assert not decide(Reason.EXIT_CODE, 1)
    assert decide(Reason.PILOT_LOST, losses=4)
    assert not decide(Reason.PILOT_LOST, losses=5)
    assert decide(Reason.HANDED_BACK, failures=9, losses=9)


def test_schema_describes_the_example_keys() -> None:
    """The JSON Schema knows every key of the specs by the name it has in a file."""
    schema = make_schema()
    json.dumps(schema)
    assert {"name", "params", "on-deadline", "jobs"} <= set(schema["$defs"]["DagSpec"]["properties"])
    assert "if" in schema["$defs"]["JobSpec"]["properties"]
    for model in (DagSpec, StandaloneSpec):
        for name, field in model.model_fields.items():
            assert (field.alias or name) in schema["$defs"][model.__name__]["properties"]


def test_places_that_are_none() -> None:
    """An external place must be one line."""
    assert check_place(" ") == "is empty"
    assert check_place("https://x/y") == ""


def test_faults_without_a_source() -> None:
    """A fault of a body has a path instead of a line; no faults raise nothing."""
    (problem,) = make_problems([Fault(("jobs", "a", 0), "is odd")], None)
    assert str(problem) == "jobs.a[0]: is odd"
    raise_faults([], None)
