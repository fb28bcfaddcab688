"""The original's job list."""

from __future__ import annotations

import pytest

from p3s.engine.original import read_job_list
from p3s.errors import BadInput

ORIGINAL = """[{"name": "p3s_job", "timeout": "100", "jobtype": "type1", "payload": "/home/p3s/my_executable.py",
"env": {"P3S": "TRUE", "MYVAR": "FALSE"}, "priority": "1", "state": "defined"}]"""


def test_original_list_is_read_as_it_is() -> None:
    """Numbers as text, `timeout` and `state` mean what they meant."""
    (spec,) = read_job_list(ORIGINAL, "jobs.json")
    assert (spec.name, spec.timelimit, spec.jobtype, spec.priority) == ("p3s_job", 100.0, "type1", 1)
    assert spec.payload == "/home/p3s/my_executable.py"
    assert spec.env == {"P3S": "TRUE", "MYVAR": "FALSE"}
    assert not spec.hold


def test_a_single_job_and_a_template() -> None:
    """A job without a list around it is read, too; a template is held."""
    (spec,) = read_job_list('{"payload": "/x", "state": "template"}', "jobs.json")
    assert spec.hold


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", ["j.json:1:1: the list has no jobs"]),
        ("[5]", ["j.json:1:2: a job must be a mapping, is '5'"]),
        (
            '[{"payload": "/x", "timeout": "soon"}]',
            ["j.json:1:31: 'soon' is no duration; write 90s, 10m, 1h30m, 2d or plain seconds"],
        ),
        (
            '[{"payload": "/x", "timeout": "1", "timelimit": "1"}]',
            ["j.json:1:20: a job has `timeout` or `timelimit`, not both"],
        ),
        (
            '[{"payload": "/x", "state": "template"}, {"payload": "/x", "state": "templat"}]',
            ["j.json:1:69: a new job's state is one of defined, template, not 'templat'; did you mean 'template'?"],
        ),
        (
            '[{"payload": "/x", "state": []}]',
            ["j.json:1:29: a new job's state is one of defined, template, not a list"],
        ),
        ('[{"payload": "/x", "priorty": "1"}]', ["j.json:1:20: unknown key 'priorty'; did you mean 'priority'?"]),
        ('[{"name": "x"}]', ["j.json:1:2: a standalone job needs `run` or `payload`"]),
        (
            '[{"payload": "/x", "name": [], "args": "x"}]',
            ["j.json:1:28: must be text, is a list", "j.json:1:40: must be a list, is 'x'"],
        ),
        ('[{"run": "x", "on-deadline": "x", "env": 5, "publish": []}]', 3),
    ],
)
def test_mistakes_have_places(text: str, expected: list[str] | int) -> None:
    """Every job's mistakes are told, with their places, and none is made."""
    with pytest.raises(BadInput) as caught:
        read_job_list(text, "j.json")
    messages = [str(problem) for problem in caught.value.problems]
    assert (len(messages) if isinstance(expected, int) else messages) == expected


def test_endless_mistakes_are_cut() -> None:
    """A list of thousands of empty jobs ends with a count."""
    with pytest.raises(BadInput) as caught:
        read_job_list("[" + "{}," * 5000 + "]", "j.json")
    assert len(caught.value.problems) == 1001
