"""Expansion: params, defaults, matrix, collections, bundle, limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p3s.engine import expansion
from p3s.engine.expand import expand_dag, expand_standalone, find_bundle, find_externals
from p3s.engine.load import load_dag, load_standalone
from p3s.engine.plan import InputPlan, Resources, Retry, WorkflowPlan
from p3s.engine.spec import StandaloneSpec
from p3s.errors import BadInput
from tests.engine.makers import File, make_plan, refuse

DIAMOND = """\
name: diamond
params: {run: {type: str, required: true}}
deadline: 15m
defaults: {retry: 1, timelimit: 10m}
files: [reduce.py, track.py]
datasets:
  raw: {path: "data/run${{ params.run }}.csv", type: CSV}
results: [report]
jobs:
  reduce:
    inputs: [raw]
    outputs: {hits: hits.csv}
    run: python3 reduce.py "$raw" > "$hits"
  track:
    matrix: {plane: [u, v, w]}
    inputs: [hits]
    outputs: {trk: "trk-${{ matrix.plane }}.csv"}
    retry: {max: 2, backoff: 10s, factor: 2, cap: 2m, when: [timelimit, 75]}
    resources: {cpus: 1, memory: 1GB, labels: [fast]}
    priority: 4
    run: python3 track.py --plane "$plane" "$hits" "$trk"
  report:
    inputs: {trk: partial}
    outputs: {report: report.html}
    jobtype: summary
    publish: {report: "/data/dqm/${{ params.run }}.html"}
    payload: ./report.sh
    args: [--fast]
"""


def expand_diamond(**params: str) -> WorkflowPlan:
    spec = load_dag(DIAMOND, "diamond.yaml")
    return expand_dag(spec, params, {"raw": [File("/d/run.csv", size=5)]}, bundle=find_bundle(spec))


def test_diamond_has_all_that_the_file_says() -> None:
    """The design's example expands to its jobs, datasets, edges and settings."""
    plan = expand_diamond(run="004610")
    assert list(plan.jobs) == ["reduce", "track-u", "track-v", "track-w", "report"]
    assert list(plan.datasets) == ["raw", "hits", "trk-u", "trk-v", "trk-w", "report"]
    assert (plan.params, plan.deadline, plan.on_deadline) == ({"run": "004610"}, 900.0, "last")
    assert plan.files == ("reduce.py", "track.py", "report.sh")
    track = plan.jobs["track-v"]
    assert track.axes == {"plane": "v"}
    assert track.retry == Retry(2, 10.0, 2.0, 120.0, ("timelimit", "75"))
    assert track.resources == Resources(1, 1_000_000_000, ("fast",))
    assert (track.priority, track.timelimit, track.jobtype) == (4, 600.0, "default")
    assert track.inputs == (InputPlan("hits", ("hits",)),)
    assert [(item.name, item.key, item.path) for item in track.outputs] == [("trk", "trk-v", "trk-v.csv")]
    report = plan.jobs["report"]
    assert report.inputs == (InputPlan("trk", ("trk-u", "trk-v", "trk-w"), collection=True, partial=True),)
    assert (report.payload, report.args, report.retry.max) == ("report.sh", ("--fast",), 1)
    assert report.publish == {"report": "/data/dqm/004610.html"}
    assert plan.datasets["report"].result
    assert (plan.datasets["raw"].place, plan.datasets["raw"].datatype, plan.datasets["raw"].size) == (
        "/d/run.csv",
        "CSV",
        5,
    )
    assert plan.datasets["trk-u"].producer == "track-u"


def test_params_keep_their_text() -> None:
    """A number's leading zeros reach the path; what a user gives wins over the default."""
    spec = load_dag(
        "name: x\nparams: {n: 007}\ndatasets: {q: 'r${{ params.n }}'}\njobs: {a: {inputs: [q], run: x}}", "x.yaml"
    )
    assert find_externals(spec, {})[0].paths == ("r007",)
    assert find_externals(spec, {"n": "08"})[0].paths == ("r08",)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "x.yaml:2:15: parameter 'count' (how many) is required; give -p count=VALUE"),
        ({"count": "x"}, "x.yaml:2:15: parameter 'count' must be a whole number, is 'x'"),
        ({"count": "1", "cuont": "2"}, "x.yaml:2:14: no parameter 'cuont'; did you mean 'count'?"),
        (
            {"count": "9" * 40_000},
            "x.yaml:2:15: parameter 'count' has more than 32,000 characters, or a NUL among them",
        ),
    ],
)
def test_params_are_checked(params: dict[str, str], message: str) -> None:
    """Missing, misspelt and ill-typed values are refused with the place of the declaration."""
    head = "params:      {count: {type: int, help: how many}}"
    assert refuse(" a: {run: x}", head, params) == [message]


def test_params_unknown_where_there_are_none() -> None:
    """A value for a DAG without parameters is refused."""
    assert refuse(" a: {run: x}", "", {"p": "1"}) == ["x.yaml:1:1: no parameter 'p'; this DAG has none"]


def test_find_externals_tells_problems() -> None:
    """What cannot be looked for is told before the client looks."""
    spec = load_dag("name: x\nparams: {n: }\ndatasets: {q: '${{ params.n }}'}\njobs: {a: {run: x}}", "x.yaml")
    with pytest.raises(BadInput, match="parameter 'n' is required"):
        find_externals(spec, {})
    with pytest.raises(BadInput, match="path '' of dataset 'q' is empty"):
        find_externals(spec, {"n": ""})
    with pytest.raises(BadInput, match="longer than 4,096"):
        find_externals(spec, {"n": "x" * 5000})
    spec = load_dag("name: x\nparams: {n: }\ndatasets: {q: '${{ params.n - 1 }}'}\njobs: {a: {run: x}}", "x.yaml")
    with pytest.raises(BadInput, match="cannot be added or subtracted"):
        find_externals(spec, {"n": "x"})


def test_defaults_and_own_settings() -> None:
    """A job has its own settings, else the defaults', else p3s's; env and resources are merged."""
    plan = make_plan(
        " a: {run: x, env: {B: 2, C: '${{ params.n }}', S: {secret: db}}, resources: {cpus: 2}, shell: sh}\n"
        " b: {run: x}",
        "params: {n: 5}\n"
        "defaults: {env: {A: 1, B: 1}, priority: 3, jobtype: t, shell: zsh, resources: {memory: 1kB, labels: [l, l]}}",
    )
    assert plan.jobs["a"].env == {"A": "1", "B": "2", "C": "5", "S": {"secret": "db"}}
    assert plan.jobs["a"].resources == Resources(2, 1000, ("l",))
    assert (plan.jobs["a"].shell, plan.jobs["b"].shell) == ("sh", "zsh")
    assert (plan.jobs["b"].env, plan.jobs["b"].timelimit) == ({"A": "1", "B": "1"}, 3600.0)
    assert (plan.jobs["b"].priority, plan.jobs["b"].jobtype, plan.jobs["b"].retry) == (3, "t", Retry())


def test_condition_skips_members() -> None:
    """`if` is decided for each member, with typed parameters."""
    plan = make_plan(
        " a: {matrix: {n: [1, 2]}, if: matrix.n == '2' and params.k > 5, run: x}\n b: {if: '${{ params.k }}0', run: x}",
        "params: {k: {type: int, default: 10}}",
    )
    assert [job.skipped for job in plan.jobs.values()] == [True, False, False]


def test_condition_that_cannot_be_decided() -> None:
    """A comparison of text with a number is refused when values are known."""
    assert refuse(" a: {if: params.k > 5, run: x}", "params: {k: y}") == [
        "x.yaml:4:10: text and a number cannot be compared; give the parameter a `type:`"
    ]


def test_noop_job() -> None:
    """A job with neither run nor payload is a sync point."""
    plan = make_plan(" a: {run: x}\n sync: {needs: [a]}\n b: {run: x, needs: {sync: done}}\n c:")
    assert plan.jobs["sync"].noop
    assert plan.jobs["sync"].needs == (("a", False),)
    assert plan.jobs["b"].needs == (("sync", True),)
    assert not plan.jobs["a"].noop


def test_missing_bundle_files() -> None:
    """Files and payloads that did not travel are named."""
    assert refuse(" a: {payload: c.sh}\n b: {payload: b.sh}", "files: [a.py, c.py]") == [
        "x.yaml:2:15: file 'c.py' is missing; it must lie beside the YAML",
        "x.yaml:4:15: payload 'c.sh' is missing; it must lie beside the YAML",
    ]


@pytest.mark.parametrize("value", ["../../etc/passwd", "/etc/passwd", "a\nb", "", ".", "x" * 300])
def test_hostile_values_leave_no_folder(value: str) -> None:
    """Whatever a parameter holds, an output stays in the attempt's folder and a published name is a whole path."""
    output = " a: {outputs: {q: '${{ params.p }}'}, run: x}"
    publish = " a: {outputs: [q], publish: {q: '/d/${{ params.p }}/'}, run: x}"
    assert "of output 'q'" in refuse(output, "params: {p: }", {"p": value})[0]
    assert "of output 'q'" in refuse(publish, "params: {p: }", {"p": value})[0]


def test_hostile_values_are_data() -> None:
    """A value is never evaluated again, and is no command."""
    value = "'; rm -rf $(HOME) ${{ 1 }}"
    plan = make_plan(" a: {payload: /x, args: ['${{ params.p }}']}", "params: {p: }", {"p": value})
    assert plan.jobs["a"].args == (value,)


def test_outputs_must_differ_for_each_member() -> None:
    """Two outputs of one member must not become one file, nor two jobs publish one name."""
    assert refuse(" a: {outputs: {p: '${{ params.n }}', q: f}, run: x}", "params: {n: f}") == [
        "x.yaml:4:41: outputs 'p' and 'q' are the same file 'f'"
    ]
    assert refuse(" a: {matrix: {n: [1, 2]}, outputs: [q], publish: {q: /q}, run: x}") == [
        "x.yaml:4:54: jobs 'a-1' and 'a-2' both publish '/q'"
    ]


def test_large_environment_is_refused() -> None:
    """Variables that no process could be started with are refused."""
    jobs = " a: {run: x, env: {" + ", ".join(f"V{n}: '${{{{ params.p }}}}'" for n in range(40)) + "}}"
    assert refuse(jobs, "params: {p: }", {"p": "x" * 30_000}) == [
        "x.yaml:4:2: arguments and variables have 1,200,000 characters; the limit is 1,000,000"
    ]


def test_rendering_errors_have_a_place() -> None:
    """An expression that fails with these values is told where it stands."""
    assert refuse(" a: {payload: /x, args: ['${{ params.p - 1 }}']}", "params: {p: x}") == [
        "x.yaml:4:26: text and a number cannot be added or subtracted; `~` joins text"
    ]


def test_too_many_jobs() -> None:
    """A workflow over the limit is refused at the job that goes over it."""
    spec = load_dag("name: x\njobs:\n a: {matrix: {n: [1, 2]}, run: x}\n b: {run: x}", "x.yaml")
    with pytest.raises(BadInput, match=r"x.yaml:4:2: the workflow has more than 2 jobs with this one; split it"):
        expand_dag(spec, {}, {}, bundle=(), max_jobs=2)


def test_too_many_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow with more edges than the limit is refused."""
    monkeypatch.setattr(expansion, "MAX_EDGES", 3)
    assert refuse(" a: {matrix: {n: [1, 2]}, outputs: [q], run: x}\n b: {inputs: [q]}") == [
        "x.yaml:5:2: the workflow has more than 3 edges with this job; collect in steps"
    ]


def test_standalone_job() -> None:
    """A standalone job is a workflow of one node."""
    spec = load_standalone(
        "name: hello\nrun: echo\nenv: {A: '${{ 1 ~ 2 }}'}\noutputs: {q: {path: ./q.txt, type: TXT}}\nresults: [q]\n"
        "publish: {q: /q}\ndeadline: 5m\non-deadline: drop\nfiles: [a.py]\nretry: 2",
        "x.yaml",
    )
    plan = expand_standalone(spec, ["./a.py"])
    job = plan.jobs["hello"]
    assert (job.family, job.env, job.outputs[0].path, job.retry.max) == ("hello", {"A": "12"}, "q.txt", 2)
    assert (plan.deadline, plan.on_deadline, plan.files) == (300.0, "drop", ("a.py",))
    assert plan.datasets["q"].result
    assert plan.datasets["q"].datatype == "TXT"


def test_standalone_job_from_the_wire_is_checked() -> None:
    """A body from anywhere is checked as a file is."""
    spec = StandaloneSpec.model_validate(
        {"name": "a b", "run": "x ${{ 1 }}", "outputs": {"q": "../q"}, "jobtype": "\0", "files": ["a"], "args": ["\0"]}
    )
    with pytest.raises(BadInput) as caught:
        expand_standalone(spec, ())
    assert [problem.where for problem in caught.value.problems] == [
        "name", "jobtype", "run", "args", "outputs.q", "args[0]", "jobtype", "files[0]",
    ]  # fmt: skip
    spec = StandaloneSpec(run="x", env={"A": "${{ 'a' - 1 }}"})
    with pytest.raises(BadInput, match=r"env.A: text and a number"):
        expand_standalone(spec, ())


def test_spec_survives_the_wire() -> None:
    """A standalone job's body reads back equal, and expands to the same plan."""
    spec = load_standalone("payload: ./a.sh\nargs: [1]\non-deadline: drop\nretry: {max: 1}", "x.yaml")
    again = StandaloneSpec.model_validate(spec.model_dump(mode="json"))
    assert again.model_dump() == spec.model_dump()
    assert expand_standalone(again, ["a.sh"]) == expand_standalone(spec, ["a.sh"])


def test_expansion_is_repeatable() -> None:
    """The same text and values give the same plan."""
    assert expand_diamond(run="1") == expand_diamond(run="1")
    assert replace(expand_diamond(run="1"), name="y") != expand_diamond(run="1")
