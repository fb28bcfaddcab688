"""The loader's messages about documents as a whole, each with its place."""

from __future__ import annotations

import pytest

from p3s.engine.load import load_dag, load_standalone
from p3s.errors import BadInput
from tests.engine.makers import find_messages

#: Whole documents, and what is to be said of them.
DOCUMENTS = {
    "empty": ("", ["x.yaml: is empty; `p3s workflow schema` describes what may stand in it"]),
    "a list": ("[a]", ["x.yaml:1:1: must hold keys such as `name:` and `jobs:`, is a list"]),
    "no name": ("jobs: {a: {run: x}}", ["x.yaml:1:1: the key `name:` is missing"]),
    "no jobs": ("name: x", ["x.yaml:1:1: the key `jobs:` is missing"]),
    "empty workflow": ("name: x\njobs: {}", ["x.yaml:2:1: the workflow has no jobs"]),
    "bad name": (
        "name: a b\njobs: {a: {run: x}}",
        ["x.yaml:1:7: name 'a b' is no name: a letter or digit, then letters, digits and '_.:-', at most 200"],
    ),
    "standalone": (
        "run: echo",
        ["x.yaml: this is a standalone job; use `p3s job create standalone`, or put it under `jobs:`"],
    ),
    "duplicate key": ("name: x\nname: y", ["x.yaml:2:1: key 'name' appears twice; the first is on line 1"]),
    "anchor and alias": (
        "name: &n x\njobs: *n",
        [
            "x.yaml:1:7: anchor '&n' is refused; write the value out where it is needed",
            "x.yaml:2:7: alias '*n' is refused; write the value out, or quote a text with '*' in front",
        ],
    ),
    "alias as a key": (
        "*n : x",
        ["x.yaml:1:1: alias '*n' is refused; write the value out, or quote a text with '*' in front"],
    ),
    "tag": (
        "name: !!str x",
        ["x.yaml:1:7: tag 'tag:yaml.org,2002:str' is refused; the key says what type its value has"],
    ),
    "two documents": (
        "name: x\n---\nname: y",
        ["x.yaml:2:1: a second document starts here; put it into a file of its own"],
    ),
    "too deep": ("[" * 51, ["x.yaml:1:51: nested deeper than 50 levels"]),
    "mapping as a key": (
        "{a: b}: c",
        ["x.yaml:1:1: a key must be plain text; a text with '{' or '[' in front needs quotes"],
    ),
    "unquoted expression": (
        "datasets: {raw: {path: ${{ params.run }}.csv}}",
        [
            (
                "x.yaml:1:25: syntax error: did not find expected ',' or '}'; "
                'put quotes around a value with ${{ }} inside { } or [ ]: {path: "${{ params.run }}.csv"}'
            )
        ],
    ),
    "colon in run": (
        "jobs:\n  a:\n    run: echo a: b",
        [
            (
                "x.yaml:3:16: syntax error: mapping values are not allowed in this context; "
                "a value that holds ': ' needs quotes, or for a script `run: |` and the script on the next lines"
            )
        ],
    ),
    "quote in run": (
        'jobs:\n  a:\n    run: "$x" > y',
        [
            (
                "x.yaml:3:17: syntax error: did not find expected comment or line break; "
                "write `run: |` and the script on the next lines"
            )
        ],
    ),
    "tab": (
        "jobs:\n\ta: x",
        [
            (
                "x.yaml:2:1: syntax error: found character that cannot start any token; "
                "indent with spaces; YAML allows no tabs"
            )
        ],
    ),
    "odd start": (
        "name: `x`",
        [
            (
                "x.yaml:1:7: syntax error: found character that cannot start any token; "
                "a value that starts with % @ or ` needs quotes"
            )
        ],
    ),
    "missing bracket": (
        "name: [x",
        [
            (
                "x.yaml:2:1: syntax error: did not find expected ',' or ']'; "
                "look for a missing comma, quote or bracket, or a wrong indentation, here or just above"
            )
        ],
    ),
    "no hint": ("name: 'x", ["x.yaml:1:9: syntax error: found unexpected end of stream"]),
    "no text": ("name: \ud800", ["x.yaml: cannot be read as text (surrogates not allowed); save it as UTF-8"]),
    "control character": (
        "name: \x01",
        ["x.yaml: cannot be read as text (control characters are not allowed); save it as UTF-8"],
    ),
    "external and produced": (
        "name: x\ndatasets: {q: q.csv}\njobs: {a: {run: x, outputs: [q]}}",
        ["x.yaml:3:30: dataset 'q' is external (in `datasets`) and made by 'a'; drop one"],
    ),
    "dataset without a path": (
        "name: x\ndatasets: {q: {type: CSV}}\njobs: {a: {run: x}}",
        ["x.yaml:2:15: needs one of `path`, `paths`, `glob` and `from`"],
    ),
    "dataset with two paths": (
        "name: x\ndatasets: {q: {path: a, glob: b}, r: {path: '${{ params.z }}'}}\njobs: {a: {run: x}}",
        [
            "x.yaml:2:15: needs one of `path`, `paths`, `glob` and `from`, has path and glob",
            "x.yaml:2:38: params.z is not defined",
        ],
    ),
    "dataset with no paths": (
        "name: x\ndatasets: {q: {paths: []}}\njobs: {a: {run: x, inputs: [q]}}",
        ["x.yaml:2:23: must not be empty"],
    ),
    "other workflow": (
        """\
name: x
datasets:
  a: {from: b}
  c: {from: x/y, select: oldest}
  d: {from: x/y, path: z}
  e: {path: z, match: {}}
  f: {from: p/q, match: {1a: '${{ params.z }}'}, mach: 1}
jobs: {a: {run: x, inputs: [c]}}
""",
        [
            "x.yaml:3:13: 'b' names no dataset of another DAG; write DAG/DATASET or OWNER/DAG/DATASET",
            "x.yaml:4:13: 'x/y' is this DAG itself, which would wait for its own end; name another DAG",
            "x.yaml:4:26: 'oldest' is not one of latest; did you mean 'latest'?",
            "x.yaml:5:6: needs one of `path`, `paths`, `glob` and `from`, has path and from",
            "x.yaml:6:6: has `match` or `select` without `from`, to which they belong",
            "x.yaml:7:26: match names a parameter '1a' of 'p', which is no variable name",
            "x.yaml:7:30: params.z is not defined",
            "x.yaml:7:50: unknown key 'mach'; did you mean 'match'?",
        ],
    ),
    "bad dataset name and type": (
        "name: x\ndatasets: {q-r: {path: a, type: a b}}\njobs: {a: {run: x}}",
        [
            "x.yaml:2:12: dataset 'q-r' is no variable name: a letter, then letters, digits and '_'",
            "x.yaml:2:33: datatype 'a b' is no label: a letter or digit, then letters, digits and '_.:+-', at most 100",
        ],
    ),
    "each of one file": (
        "name: x\ndatasets: {q: a.csv}\njobs: {a: {run: x, matrix: {n: {each: q}}}}",
        ["x.yaml:3:32: dataset 'q' is one file; `each` needs `glob:` or `paths:` there"],
    ),
    "each twice": (
        "name: x\ndatasets: {q: {glob: '*'}}\njobs: {a: {run: x, matrix: {n: {each: q}, m: {each: q}}}}",
        ["x.yaml:3:28: two axes go over the same collection"],
    ),
    "dataset is a parameter": (
        "name: x\nparams: {q: 1}\ndatasets: {q: a.csv}\njobs: {a: {run: x, outputs: [r]}}",
        ["x.yaml:3:12: 'q' is a dataset and a parameter; both would be $q"],
    ),
    "output is a parameter": (
        "name: x\nparams: {q: 1}\njobs: {a: {run: x, outputs: [q]}}",
        ["x.yaml:3:30: 'q' is a dataset and a parameter; both would be $q"],
    ),
    "results": (
        "name: x\ndatasets: {q: a.csv}\nresults: [report, q, r, r]\njobs: {a: {run: x, outputs: [reports, r]}}",
        [
            "x.yaml:3:11: results names no dataset 'report' that a job makes; did you mean 'reports'?",
            "x.yaml:3:19: results names no dataset 'q' that a job makes (it is external: nothing makes it)",
            "x.yaml:3:25: results names 'r' twice",
        ],
    ),
    "files": (
        "name: x\nfiles: [../a, b, ./b, .p3s/run]\njobs: {a: {run: x}}",
        [
            "x.yaml:2:9: file '../a' must stay below its folder: no ..",
            "x.yaml:2:18: file './b' is named twice",
            "x.yaml:2:23: file '.p3s/run' must not begin with .p3s: there p3s keeps what is its own",
        ],
    ),
    "include that is no text": (
        "name: x\njobs: {a: {run: x, matrix: {n: [1], include: [{n: [1]}], exclude: 5}}}",
        ["x.yaml:2:51: must be text, is a list", "x.yaml:2:67: must be a list, is '5'"],
    ),
    "float": (
        "name: x\nparams: {p: {type: float, default: x}}\njobs: {a: {run: x}}",
        ["x.yaml:2:36: the default of 'p' must be a number, is 'x'"],
    ),
    "parameters": (
        (
            "name: x\nparams:\n  a-b: 1\n  p: {type: int, default: x}\n  q: {required: true, default: 1}\n"
            "  r: {required: false}\n  s: {type: float, default: nan}\n  t: {type: bool, default: maybe}\n"
            "  u: {choices: [a, b], default: c}\n  v: {type: int, choices: [a]}\njobs: {a: {run: x}}"
        ),
        [
            "x.yaml:3:3: parameter 'a-b' is no variable name: a letter, then letters, digits and '_'",
            "x.yaml:4:27: the default of 'p' must be a whole number, is 'x'",
            "x.yaml:5:6: is required and has a default; drop one of the two",
            "x.yaml:6:6: is not required and has no default; give `default:`",
            "x.yaml:7:29: the default of 's' must be a number, is 'nan'",
            "x.yaml:8:28: the default of 't' must be true or false, is 'maybe'",
            "x.yaml:9:33: the default of 'u' is 'c', not one of a, b",
            "x.yaml:10:28: must be a whole number, is 'a'",
        ],
    ),
    "defaults": (
        "name: x\ndefaults: {env: {q: '${{ params.z }}', p: 1}, timlimit: 1}\nparams: {p: 1}\njobs: {a: {run: x}}",
        [
            "x.yaml:2:21: params.z is not defined",
            "x.yaml:2:40: variable 'p' is also a parameter; rename one",
            "x.yaml:2:47: unknown key 'timlimit'; did you mean 'timelimit'?",
        ],
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_message(name: str) -> None:
    """Each mistake in a document is told once, with its place and what to write instead."""
    text, expected = DOCUMENTS[name]
    assert find_messages(text) == expected


def test_all_problems_come_in_one_pass() -> None:
    """A wrong value hides neither the problems of other parts nor makes false ones."""
    text = (
        "name: x\ndatasets:\n  raw: {path: a.csv, typ: CSV}\n  bad: {}\nparams: {n: {type: integer}}\njobs:\n"
        "  a: {inputs: [raw, bad], outputs: {hits: [1]}, run: x, timelimit: soon, retry: {max: few}}\n"
        "  b: {inputs: [hits], run: 'echo ${{ params.n }}', resources: {labels: [[a], b]}}\n"
        "  c: {inputs: [raw, nothing], run: x}\n  d: 5\n  e: {needs: [d], run: x, env: [A]}"
    )
    assert [message.split(": ", 1)[0] for message in find_messages(text)] == [
        "x.yaml:3:22",
        "x.yaml:4:8",
        "x.yaml:5:20",
        "x.yaml:7:43",
        "x.yaml:7:68",
        "x.yaml:7:87",
        "x.yaml:8:28",
        "x.yaml:8:73",
        "x.yaml:9:21",
        "x.yaml:10:6",
        "x.yaml:11:32",
    ]


def test_what_cannot_be_mended_ends_the_check() -> None:
    """Where too little fits, what does not is told and the rest is left unchecked."""
    assert find_messages("name: x\njobs: [a]\ndefaults: [b]") == [
        "x.yaml:2:7: must be a mapping (`key: value`), is a list",
        "x.yaml:3:11: must be a mapping (`key: value`), is a list",
    ]


def test_crlf_and_byte_order_mark() -> None:
    """A file from another system reads the same, and places stay right."""
    assert find_messages("\ufeffname: x\r\njobs: {a: {run: x}}\r\n") == []
    assert find_messages("\ufeffname: x\r\njobs: {a: {rum: x}}\r\n") == [
        "x.yaml:2:12: unknown key 'rum'; did you mean 'run'?"
    ]


def test_many_problems_are_cut() -> None:
    """A file with thousands of problems tells a thousand, and how many more there are."""
    keys = "".join(f"k{number}: 1\n" for number in range(1500))
    messages = find_messages(f"name: x\njobs: {{a: {{run: x}}}}\n{keys}")
    assert len(messages) == 1001
    assert messages[-1] == "x.yaml: and 500 more problems; mend these first"


def test_many_duplicates_are_cut() -> None:
    """A thousand duplicate keys are told, not more."""
    assert len(find_messages("a: 1\n" * 1500)) == 1000


def test_large_file_is_refused() -> None:
    """A file over the limit is refused before it is read."""
    message = "x.yaml: has 20,000,001 characters; the limit is 20,000,000; a matrix is shorter"
    assert find_messages("#" * 20_000_001) == [message]


def test_long_cycle_is_cut() -> None:
    """A long cycle is shown by its ends."""
    jobs = "\n".join(f" j{number}: {{run: x, needs: j{(number + 1) % 30}}}" for number in range(30))
    (message,) = find_messages(f"name: x\njobs:\n{jobs}")
    assert "-> ... ->" in message
    assert len(message) < 250


def test_many_cycles_are_told() -> None:
    """Up to ten cycles are told at once."""
    jobs = "\n".join(f" j{number}: {{run: x, needs: j{number}}}" for number in range(12))
    assert len(find_messages(f"name: x\njobs:\n{jobs}")) == 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x", "x.yaml: a standalone job needs `run` or `payload`"),
        (
            "name: a b\nrun: x",
            "x.yaml:1:7: name 'a b' is no name: a letter or digit, then letters, digits and '_.:-', at most 200",
        ),
        ("jobs: {}", "x.yaml: this is a workflow; use `p3s workflow load`"),
        (
            "run: x\noutputs: [hits]\nresults: [hist]",
            "x.yaml:3:11: results names no output 'hist'; did you mean 'hits'?",
        ),
        ("run: x\noutputs: [q]\nenv: {q: 1}", "x.yaml:3:7: variable 'q' is also an output; rename one"),
        ("run: x\ninputs: [q]", "x.yaml:2:1: unknown key 'inputs'"),
        ("run: x\nenv: {a: '${{ params.q }}'}", "x.yaml:2:10: params.q is not defined"),
        (
            "run: x\ndeadline: ${{ 1 }}",
            "x.yaml:2:11: '${{ 1 }}' is no duration; write 90s, 10m, 1h30m, 2d or plain seconds",
        ),
        ("run: x\noutputs: [q]\nenv: {q_list: '${{ 1 }}', P: '\\'}\nnone: [x", "x.yaml:5:1"),
        ("run: [x]", "x.yaml:1:6: must be text, is a list"),
    ],
)
def test_standalone_message(text: str, expected: str) -> None:
    """A standalone job's mistakes are told as a workflow's are."""
    with pytest.raises(BadInput) as caught:
        load_standalone(text, "x.yaml")
    assert str(caught.value).replace("x.yaml:1:1", "x.yaml").startswith(expected)


def test_good_documents_load() -> None:
    """What the rules allow is loaded: names of jobs that are also keys, JSON, quoted numbers."""
    dag = load_dag(
        '{"name": "x",\t"params": {"run": {"default": "004610"}}, '
        '"jobs": {"env": {"run": "echo \\ud83d\\ude00 \\\\ud83d"}}}',
        "x.json",
    )
    assert dag.jobs["env"].run == "echo \U0001f600 \\ud83d"
    assert dag.params["run"].default == "004610"
