"""Matrix families, collections, and which members agree."""

from __future__ import annotations

import pytest

from p3s.engine.families import expand_matrix
from p3s.engine.load import load_dag
from p3s.engine.plan import InputPlan
from p3s.engine.spec import MatrixSpec
from tests.engine.makers import make_plan, refuse

MATRIX = " a: {matrix: {n: [1, 2], m: [x, y]}, outputs: [q], run: x}\n"


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("{inputs: [q]}", {"b": (("q-1-x", "q-1-y", "q-2-x", "q-2-y"), True, False)}),
        ("{inputs: {q: partial}}", {"b": (("q-1-x", "q-1-y", "q-2-x", "q-2-y"), True, True)}),
        (
            "{matrix: {n: [1, 2]}, inputs: [q]}",
            {"b-1": (("q-1-x", "q-1-y"), True, False), "b-2": (("q-2-x", "q-2-y"), True, False)},
        ),
        ("{matrix: {n: [1], m: [y]}, inputs: [q]}", {"b-1-y": (("q-1-y",), False, False)}),
        ("{matrix: {m: [y], k: [z]}, inputs: {q: }}", {"b-y-z": (("q-1-y", "q-2-y"), True, False)}),
        (
            "{matrix: {n: [1]}, inputs: {q: all}}",
            {"b-1": (("q-1-x", "q-1-y", "q-2-x", "q-2-y"), True, False)},
        ),
        (
            "{matrix: {n: [7]}, inputs: {q: all-partial}}",
            {"b-7": (("q-1-x", "q-1-y", "q-2-x", "q-2-y"), True, True)},
        ),
    ],
)
def test_matrix_agreement(job: str, expected: dict[str, tuple[tuple[str, ...], bool, bool]]) -> None:
    """A consumer gets the members that agree on every shared axis, collecting over the others."""
    plan = make_plan(f"{MATRIX} b: {job}")
    found = {
        name: (item.keys, item.collection, item.partial)
        for name, plan_job in plan.jobs.items()
        if plan_job.family == "b"
        for item in plan_job.inputs
    }
    assert found == expected


def test_plain_dataset_for_a_matrix() -> None:
    """Each member of a matrix gets the one file of a job without one; `all` makes a list of it."""
    plan = make_plan(" a: {outputs: [q], run: x}\n b: {matrix: {n: [1, 2]}, inputs: [q]}\n c: {inputs: {q: all}}")
    assert plan.jobs["b-2"].inputs == (InputPlan("q", ("q",)),)
    assert plan.jobs["c"].inputs == (InputPlan("q", ("q",), collection=True),)


def test_needs_of_a_family() -> None:
    """`needs` on a family means all agreeing members."""
    plan = make_plan(f"{MATRIX} b: {{matrix: {{n: [2]}}, needs: a}}\n c: {{needs: {{a: done}}}}")
    assert plan.jobs["b-2"].needs == (("a-2-x", False), ("a-2-y", False))
    assert len(plan.jobs["c"].needs) == 4
    assert all(done for _, done in plan.jobs["c"].needs)


def test_include_and_exclude() -> None:
    """`exclude` takes members out by some or all axes, `include` adds them."""
    plan = make_plan(
        " a: {matrix: {n: [1, 2], m: [x, y], exclude: [{n: 1, m: x}, {n: 2}], include: [{n: 3, m: z}]}, run: x}\n"
        " b: {matrix: {include: [{n: 1}, {n: 2}]}, run: x}"
    )
    assert list(plan.jobs) == ["a-1-y", "a-3-z", "b-1", "b-2"]


def test_values_become_names() -> None:
    """What a job's name cannot hold becomes an underscore there, and stays in the variable."""
    plan = make_plan(" a: {matrix: {n: [5 a, 'x/y', '']}, run: x}")
    assert {job.name: job.axes["n"] for job in plan.jobs.values()} == {"a-5_a": "5 a", "a-x_y": "x/y", "a-_": ""}


def test_name_clashes() -> None:
    """Two jobs of one name are refused, within a family and between two."""
    assert refuse(" a: {matrix: {n: [5 a, 5_a]}, run: x}") == [
        "x.yaml:4:6: two members have the same name: their values differ only in what names cannot show"
    ]
    assert refuse(" a: {matrix: {n: [b]}, run: x}\n a-b: {run: x}") == [
        "x.yaml:5:2: two jobs have the name 'a-b': from 'a' and 'a-b'; rename one"
    ]
    (message,) = refuse(f" a: {{matrix: {{n: [{'y' * 250}]}}, run: x}}")
    assert "of a member is no name" in message


def test_glob_collection() -> None:
    """A pattern's files are a collection, or one each where an axis goes over them."""
    plan = make_plan(
        " a: {matrix: {day: {each: raw}}, inputs: [raw], outputs: [q], run: x}\n b: {inputs: [raw, q]}\n"
        " c: {matrix: {day: {each: raw}}, inputs: [q, raw]}\n d: {matrix: {day: {each: raw}}, inputs: {raw: all}}",
        "datasets: {raw: {glob: 'd/*.csv'}}",
        raw=["/d/1.x.csv", "/d/2.csv"],
    )
    assert plan.jobs["a-1.x"].axes == {"day": "1.x"}
    assert plan.jobs["a-1.x"].inputs == (InputPlan("raw", ("raw-1.x",)),)
    assert plan.jobs["b"].inputs[0] == InputPlan("raw", ("raw-1.x", "raw-2"), collection=True)
    assert plan.jobs["b"].inputs[1] == InputPlan("q", ("q-1.x", "q-2"), collection=True)
    assert plan.jobs["c-2"].inputs == (InputPlan("q", ("q-2",)), InputPlan("raw", ("raw-2",)))
    assert plan.jobs["d-2"].inputs[0].keys == ("raw-1.x", "raw-2")
    assert plan.datasets["raw-2"].place == "/d/2.csv"


def test_one_file_of_a_pattern_is_a_collection() -> None:
    """A collection of one is a collection: what a job sees does not depend on how many files there are."""
    plan = make_plan(" a: {inputs: [raw]}", "datasets: {raw: {paths: ['a.csv']}}", raw=["/d/a.csv"])
    assert plan.jobs["a"].inputs == (InputPlan("raw", ("raw-a",), collection=True),)


def test_same_base_names() -> None:
    """Files of one base name are numbered in a collection, and refused where an axis goes over them."""
    head = "datasets: {raw: {paths: [1/a.csv, 2/a.csv]}}"
    plan = make_plan(" a: {inputs: [raw]}", head, raw=["/1/a.csv", "/2/a.csv"])
    assert plan.jobs["a"].inputs[0].keys == ("raw-1", "raw-2")
    assert refuse(" a: {matrix: {n: {each: raw}}}", head, raw=["/1/a.csv", "/2/a.csv"])[0] == (
        "x.yaml:2:17: two files of 'raw' are called 'a'; `each` needs different names"
    )


@pytest.mark.parametrize(
    ("head", "externals", "message"),
    [
        ("{glob: 'd/*'}", {"raw": []}, "x.yaml:2:24: no file fits 'd/*'; is the pattern right?"),
        ("{path: d}", {}, "x.yaml:2:17: dataset 'raw' has 1 files, 0 were given"),
        ("{path: d}", {"raw": ["d"]}, "x.yaml:2:17: file 'd' of dataset 'raw' is neither an absolute path nor a URL"),
        ("{path: d}", {"raw": ["/a\nb"]}, "x.yaml:2:17: file '/a\\nb' of dataset 'raw' holds a control character"),
        (
            "{path: d}",
            {"raw": ["/d"], "row": []},
            "x.yaml:2:11: no external dataset 'row' with a place; it was given files",
        ),
    ],
)
def test_externals_are_checked(head: str, externals: dict[str, list[str]], message: str) -> None:
    """What the client found must fit what was asked for."""
    assert refuse(" a: {inputs: [raw], matrix: {n: [1]}}", f"datasets: {{raw: {head}}}", None, **externals) == [message]


def test_missing_collection_is_told_once() -> None:
    """A family over a collection that is not there adds no problem of its own."""
    assert len(refuse(" a: {matrix: {n: {each: raw}}}", "datasets: {raw: {glob: x}}", None, raw=[])) == 1


def test_no_match_among_files() -> None:
    """Families over files are matched when the files are known."""
    assert refuse(
        " a: {matrix: {n: {each: raw}}, outputs: [q], run: x}\n b: {matrix: {n: [1, 9]}, inputs: [q], needs: [a]}",
        "datasets: {raw: {glob: x}}",
        None,
        raw=["/d/1.csv"],
    ) == [
        (
            "x.yaml:5:36: no member of 'q' has n=9, which a member of 'b' has; "
            "match the axes' values, or take the whole collection with `all`"
        ),
        (
            "x.yaml:5:48: no member of 'a' has n=9, which a member of 'b' has; "
            "match the axes' values, or take the whole collection with `all`"
        ),
    ]


def test_matrix_over_files_is_limited() -> None:
    """Limits hold for collections, too, and thousands of like problems are cut."""
    head = "datasets: {raw: {glob: x}}"
    files = [f"/d/{number}.csv" for number in range(1200)]
    assert (
        "the limit is 100,000"
        in refuse(f" a: {{matrix: {{n: {{each: raw}}, m: {list(range(100))}}}}}", head, None, raw=files)[0]
    )
    messages = refuse(" a: {matrix: {n: {each: raw}}, outputs: {q: '/${{ matrix.n }}'}, run: x}", head, None, raw=files)
    assert len(messages) == 1000


def test_too_many_different_exclusions() -> None:
    """Entries of `exclude` that would take too long to compare are refused."""
    axes = {f"a{number}": ["0", "1"] for number in range(16)}
    entries = [{f"a{low}": "0", f"a{high}": "1"} for low in range(16) for high in range(low)]
    _, faults = expand_matrix(MatrixSpec(**axes, exclude=entries), {}, ())
    assert faults[0].message == "exclude has too many different entries for so many members"


def test_large_families_are_tried_out_when_expanded() -> None:
    """A file's check stays cheap: families beyond its budget are matched on expansion only."""
    values = list(range(300))
    jobs = (
        f" a: {{matrix: {{n: {values}, m: {values}}}, outputs: [q], run: x}}\n b: {{matrix: {{n: [900]}}, inputs: [q]}}"
    )
    assert load_dag(f"name: x\njobs:\n{jobs}", "x.yaml").name == "x"
