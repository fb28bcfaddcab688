"""The loader's messages about jobs, each with its place."""

from __future__ import annotations

import pytest

from tests.engine.makers import find_messages

HEAD = "name: x\n"

#: Text of ``jobs`` from line 3 on, and what is to be said of it.
JOBS = {
    "unknown key": (
        " a: {run: x, timelimitt: 1}",
        ["x.yaml:3:14: unknown key 'timelimitt'; did you mean 'timelimit'?"],
    ),
    "unknown key of retry": (
        " a: {run: x, retry: {maxx: 1}}",
        ["x.yaml:3:22: unknown key 'maxx'; did you mean 'max'?"],
    ),
    "unknown key of resources": (
        " a: {run: x, resources: {cpu: 1}}",
        ["x.yaml:3:26: unknown key 'cpu'; did you mean 'cpus'?"],
    ),
    "unknown job in needs": (
        " reduce: {run: x}\n b: {run: x, needs: reduse}",
        ["x.yaml:4:21: needs names no job 'reduse'; did you mean 'reduce'?"],
    ),
    "two producers": (
        " a: {run: x, outputs: [hits]}\n b: {run: x, outputs: [hits]}",
        ["x.yaml:4:24: dataset 'hits' has two producers: 'a' and 'b'"],
    ),
    "no producer": (
        " a: {run: x, outputs: [hits]}\n b: {run: x, inputs: [hist]}",
        ["x.yaml:4:23: no job makes 'hist', and `datasets` does not declare it; did you mean 'hits'?"],
    ),
    "cycle": (
        " a: {run: x, inputs: [q], outputs: [p]}\n b: {run: x, inputs: [p], outputs: [q]}",
        ["x.yaml:3:23: these wait for each other in a cycle: a -> dataset p -> b -> dataset q -> a"],
    ),
    "cycle by needs": (
        " a: {run: x, needs: b}\n b: {run: x, needs: a}",
        ["x.yaml:3:21: these wait for each other in a cycle: a -> b -> a"],
    ),
    "cycle of one": (
        " a: {run: x, inputs: [p], outputs: [p]}",
        ["x.yaml:3:23: these wait for each other in a cycle: a -> dataset p -> a"],
    ),
    "wrong type": (" a: {run: x, priority: high}", ["x.yaml:3:24: must be a whole number, is 'high'"]),
    "job that is no mapping": (" a: [run]", ["x.yaml:3:5: must be a mapping (`key: value`), is a list"]),
    "list wanted": (" a: {payload: /x, args: 5}", ["x.yaml:3:25: must be a list, is '5'"]),
    "truth wanted": (" a: {run: x, exclusive: maybe}", ["x.yaml:3:25: must be true or false, is 'maybe'"]),
    "number wanted": (" a: {run: x, retry: {factor: [2]}}", ["x.yaml:3:30: must be a number, is a list"]),
    "too small": (" a: {run: x, resources: {cpus: 0}}", ["x.yaml:3:32: must be at least 1, is '0'"]),
    "too large": (" a: {run: x, retry: 1001}", ["x.yaml:3:21: must be at most 1,000, is '1001'"]),
    "no time at all": (" a: {run: x, timelimit: 0}", ["x.yaml:3:25: must be more than 0, is '0'"]),
    "bad word": (
        " a: {run: x, outputs: [q]}\n b: {run: x, inputs: {q: partail}}",
        ["x.yaml:4:26: 'partail' is not one of plain, all, partial, all-partial; did you mean 'partial'?"],
    ),
    "list for a word": (
        " a: {run: x}\n b: {run: x, needs: {a: [1]}}",
        ["x.yaml:4:25: must be one of finished, done, is a list"],
    ),
    "name twice": (" a: {run: x, outputs: [q, q]}", ["x.yaml:3:23: names 'q' twice"]),
    "names that are none": (" a: {run: x, outputs: [[q]]}", ["x.yaml:3:23: its items must be names, one is a list"]),
    "bad duration": (
        " a: {run: x, timelimit: 10 m}",
        ["x.yaml:3:25: '10 m' is no duration; write 90s, 10m, 1h30m, 2d or plain seconds"],
    ),
    "endless duration": (" a: {run: x, timelimit: 9999d}", ["x.yaml:3:25: '9999d' is longer than ten years"]),
    "bad size": (
        " a: {run: x, resources: {memory: lots}}",
        ["x.yaml:3:34: 'lots' is no size; write 512MB, 1GB, 2GiB or plain bytes"],
    ),
    "bad retry rule": (
        " a: {run: x, retry: {when: [0]}}",
        [
            (
                "x.yaml:3:28: '0' is neither an exit code (1 to 255) "
                "nor one of exit-code, signal, timelimit, memory, missing-output"
            )
        ],
    ),
    "expression in run": (
        " a: {matrix: {n: [1]}, run: 'x ${{ matrix.n }}'}",
        ['x.yaml:3:29: `run` is no template: write "$n" instead of ${{ matrix.n }}'],
    ),
    "other expression in run": (
        " a: {run: 'x ${{ 1 }}'}",
        ["x.yaml:3:11: `run` is no template: parameters and axes are variables there"],
    ),
    "bad expression": (
        " a: {payload: /x, args: ['${{ 1 + }}']}",
        ["x.yaml:3:26: bad expression in '${{ 1 + }}': unexpected 'end of print statement'"],
    ),
    "undefined name": (
        " a: {matrix: {plane: [u]}, run: x, outputs: {q: '${{ matrix.plan }}'}}",
        ["x.yaml:3:49: matrix.plan is not defined; did you mean 'plane'?"],
    ),
    "wrong namespace": (
        " a: {matrix: {plane: [u]}, run: x, outputs: {q: '${{ params.plane }}'}}",
        ["x.yaml:3:49: params.plane is not defined; did you mean 'matrix.plane'?"],
    ),
    "bad condition": (
        " a: {run: x, if: params.full}",
        ["x.yaml:3:18: params.full is not defined"],
    ),
    "expression elsewhere": (
        " a: {run: x, jobtype: '${{ params.x }}'}",
        [
            "x.yaml:3:23: ${{ }} is not evaluated here; it is in paths, match, env, args, publish and if",
            (
                "x.yaml:3:23: jobtype '${{ params.x }}' is no label: "
                "a letter or digit, then letters, digits and '_.:+-', at most 100"
            ),
        ],
    ),
    "bad job name": (
        " -a: {run: x}",
        ["x.yaml:3:2: job '-a' is no name: a letter or digit, then letters, digits and '_.:-', at most 200"],
    ),
    "no variable": (
        " a: {run: x, outputs: [my-hits]}",
        ["x.yaml:3:24: output 'my-hits' is no variable name: a letter, then letters, digits and '_'"],
    ),
    "reserved": (
        " a: {run: x, outputs: [LD_PRELOAD]}",
        ["x.yaml:3:24: output 'LD_PRELOAD' is reserved: it would change how programs start"],
    ),
    "set by the shell": (
        " a: {run: x, outputs: [UID]}",
        ["x.yaml:3:24: output 'UID' is reserved: the shell sets it itself"],
    ),
    "a collection's list": (
        " a: {run: x, outputs: [hits_list]}",
        ["x.yaml:3:24: output 'hits_list' is reserved: names that end in '_list' are those of collections"],
    ),
    "bad env name": (
        " a: {run: x, env: {A-B: 1}}",
        ["x.yaml:3:20: variable 'A-B' is no variable name: a letter or '_', then letters, digits and '_'"],
    ),
    "reserved env name": (
        " a: {run: x, env: {P3S_ATTEMPT: 1}}",
        ["x.yaml:3:20: variable 'P3S_ATTEMPT' is reserved: p3s sets it itself"],
    ),
    "env is an output": (
        " a: {run: x, outputs: [q], env: {q: 1}}",
        ["x.yaml:3:34: variable 'q' is also a dataset; rename one"],
    ),
    "env is a list": (
        " a: {run: x, outputs: [q], env: {q_list: 1}}",
        ["x.yaml:3:34: variable 'q_list' is also a collection's list; rename one"],
    ),
    "env is an axis": (
        " a: {run: x, matrix: {n: [1]}, env: {n: 1}}",
        ["x.yaml:3:38: variable 'n' is also an axis; rename one"],
    ),
    "axis is a dataset": (
        " a: {run: x, matrix: {n: [1]}, outputs: [n]}",
        ["x.yaml:3:23: 'n' is an axis and a dataset; both would be $n"],
    ),
    "bad env value": (
        " a: {run: x, env: {A: [1]}}",
        ["x.yaml:3:23: must be text, is a list"],
    ),
    "bad secret": (
        " a: {run: x, env: {A: {secret: '../x'}}}",
        ["x.yaml:3:23: must be text or `{secret: NAME}` with a name of letters, digits, '_', '.' and '-'"],
    ),
    "run and payload": (
        " a: {run: x, payload: /y}",
        ["x.yaml:3:14: a job has `run` or `payload`, not both"],
    ),
    "empty run": (" a: {run: ' '}", ["x.yaml:3:11: is empty; leave it out for a job that only waits"]),
    "args of run": (
        " a: {run: x, args: [1]}",
        ["x.yaml:3:14: args go with `payload`; in `run`, write them into the script"],
    ),
    "shell of payload": (
        " a: {payload: /x, shell: sh}",
        ["x.yaml:3:19: `shell` goes with `run`; a payload is started as it is"],
    ),
    "empty shell": (" a: {run: x, shell: ''}", ["x.yaml:3:21: is empty; leave it out for `bash -eo pipefail`"]),
    "payload outside": (
        " a: {payload: ../x}\n b: {payload: ./.p3s/x}\n c: {payload: /.p3s/x}",
        [
            "x.yaml:3:15: payload '../x' must stay below its folder: no ..",
            "x.yaml:4:15: payload './.p3s/x' must not begin with .p3s: there p3s keeps what is its own",
        ],
    ),
    "payload with arguments": (
        " a: {payload: '/x/ --y'}\n b: {payload: '../x --y'}",
        [
            (
                "x.yaml:4:15: payload '../x --y' must stay below its folder: no ..; "
                "arguments go into `args:`, a command line into `run:`"
            )
        ],
    ),
    "noop with outputs": (
        " a: {outputs: [q]}",
        ["x.yaml:3:6: `outputs` has no effect: the job has neither `run` nor `payload`, it only waits"],
    ),
    "verify of a sync point": (
        " a: {verify: true}\n b: {verify: false}",
        ["x.yaml:3:6: `verify` has no effect: the job has neither `run` nor `payload`, it only waits"],
    ),
    "bad label": (
        " a: {run: x, resources: {labels: [a b]}}",
        ["x.yaml:3:35: label 'a b' is no label: a letter or digit, then letters, digits and '_.:+-', at most 100"],
    ),
    "bad datatype": (
        " a: {run: x, outputs: {q: {type: a b}}}",
        ["x.yaml:3:34: datatype 'a b' is no label: a letter or digit, then letters, digits and '_.:+-', at most 100"],
    ),
    "output outside": (
        ' a: {run: x, outputs: {q: ../q, r: /r, s: s/, t: ., u: "a\\tb", v: .p3s}}',
        [
            "x.yaml:3:27: path '../q' of output 'q' must stay below its folder: no ..",
            "x.yaml:3:36: path '/r' of output 'r' must be relative: no / in front",
            "x.yaml:3:43: path 's/' of output 's' must name a file: no / at the end",
            "x.yaml:3:50: path '.' of output 't' names no file",
            "x.yaml:3:56: path 'a\tb' of output 'u' holds a control character",
            "x.yaml:3:67: path '.p3s' of output 'v' must not begin with .p3s: there p3s keeps what is its own",
        ],
    ),
    "output too long": (
        f" a: {{run: x, outputs: {{q: {'q' * 300}}}}}",
        [f"x.yaml:3:27: path '{'q' * 57}...' of output 'q' is too long: at most 255 bytes in a name and 1,000 in all"],
    ),
    "one file twice": (
        " a: {run: x, outputs: {p: f, q: ./f}}",
        ["x.yaml:3:33: outputs 'p' and 'q' are the same file 'f'"],
    ),
    "file and folder": (
        " a: {run: x, outputs: {p: f, q: f/g}}",
        ["x.yaml:3:33: output 'q' needs as a folder what is the file of output 'p'"],
    ),
    "publish what": (
        " a: {run: x, outputs: [hits], publish: {hist: /x}}",
        ["x.yaml:3:41: publish names no output 'hist'; did you mean 'hits'?"],
    ),
    "publish where": (
        " a: {run: x, outputs: [p, q, r, s], publish: {p: x, q: /a/../b, r: /a//b, s: ''}}",
        [
            "x.yaml:3:50: published name 'x' must be an absolute path: pilots on other machines know no other",
            "x.yaml:3:56: published name '/a/../b' must have no empty part, . or .. in it",
            "x.yaml:3:68: published name '/a//b' must have no empty part, . or .. in it",
            "x.yaml:3:78: published name '' is empty",
        ],
    ),
    "matrix without axes": (
        " a: {run: x, matrix: {}}",
        ["x.yaml:3:22: the matrix has no axes; give at least one, such as `plane: [u, v]`"],
    ),
    "axis without values": (" a: {run: x, matrix: {n: []}}", ["x.yaml:3:26: has no values"]),
    "axis value twice": (" a: {run: x, matrix: {n: [1, 1]}}", ["x.yaml:3:26: has the value '1' twice"]),
    "axis that is none": (
        " a: {run: x, matrix: {n: 5}}",
        ["x.yaml:3:26: must be a list of values or `{each: DATASET}`, is '5'"],
    ),
    "axis with other keys": (
        " a: {run: x, matrix: {n: {eech: q}}}",
        ["x.yaml:3:26: must be a list of values or `{each: DATASET}`"],
    ),
    "bad axis name": (
        " a: {run: x, matrix: {a-b: [1]}}",
        ["x.yaml:3:23: axis 'a-b' is no variable name: a letter, then letters, digits and '_'"],
    ),
    "each of nothing": (
        " a: {run: x, matrix: {n: {each: q}}}",
        ["x.yaml:3:26: `each` names no dataset 'q' declared in `datasets`"],
    ),
    "exclude an unknown axis": (
        " a: {run: x, matrix: {plane: [u], exclude: [{plan: u}]}}",
        ["x.yaml:3:46: exclude names no axis 'plan'; did you mean 'plane'?"],
    ),
    "exclude nothing": (
        " a: {run: x, matrix: {n: [1], exclude: [{}]}}",
        ["x.yaml:3:41: exclude names no axis"],
    ),
    "exclude without axes": (
        " a: {run: x, matrix: {include: [{n: 1}], exclude: [{n: 1}]}}",
        ["x.yaml:3:42: exclude has nothing to leave out: the matrix has `include` only"],
    ),
    "exclude nobody": (
        " a: {run: x, matrix: {n: [1], exclude: [{n: 2}]}}",
        ["x.yaml:3:41: exclude {n: 2} fits no member"],
    ),
    "exclude all": (
        " a: {run: x, matrix: {n: [1], exclude: [{n: 1}]}}",
        ["x.yaml:3:22: exclude leaves no member of the matrix"],
    ),
    "include in part": (
        " a: {run: x, matrix: {n: [1], m: [1], include: [{n: 2}]}}",
        ["x.yaml:3:49: include gives no value for m"],
    ),
    "include again": (
        " a: {run: x, matrix: {n: [1], include: [{n: 1}]}}",
        ["x.yaml:3:41: include {n: 1} is there already"],
    ),
    "matrix too large": (
        f" a: {{run: x, matrix: {{n: {list(range(400))}, m: {list(range(400))}}}}}",
        ["x.yaml:3:22: the matrix has 160,000 members; the limit is 100,000"],
    ),
    "no matching member": (
        " a: {run: x, matrix: {n: [1]}, outputs: [q]}\n b: {run: x, matrix: {n: [1, 2]}, inputs: [q]}",
        [
            (
                "x.yaml:4:44: no member of 'q' has n=2, which a member of 'b' has; "
                "match the axes' values, or take the whole collection with `all`"
            )
        ],
    ),
    "no matching parent": (
        " a: {run: x, matrix: {n: [1]}}\n b: {run: x, matrix: {n: [1, 2]}, needs: [a]}",
        [
            (
                "x.yaml:4:43: no member of 'a' has n=2, which a member of 'b' has; "
                "match the axes' values, or take the whole collection with `all`"
            )
        ],
    ),
    "NUL": (' a: {run: "x\\0"}', ["x.yaml:3:11: holds a NUL character"]),
}


@pytest.mark.parametrize("name", JOBS)
def test_job_message(name: str) -> None:
    """Each mistake in a job is told once, with its place and what to write instead."""
    text, expected = JOBS[name]
    assert find_messages(f"{HEAD}jobs:\n{text}") == expected
