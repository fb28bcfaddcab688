"""An audit that could not look is no good news."""

from __future__ import annotations

import json

import pytest
from audit import judge_npm, judge_python


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ([], "could not be looked up"),
        ([{"name": "flask", "skip_reason": "not found"}], "1 of 1 Python packages could not be looked up: flask"),
        ([{"name": "flask", "version": "1", "vulns": [{"id": "X-1"}]}], "flask: X-1"),
    ],
    ids=["nothing", "skipped", "hole"],
)
def test_python_packages(packages, said):
    """No packages, packages that were passed over, and holes are each a failure."""
    assert said in "\n".join(judge_python(json.dumps({"dependencies": packages})))


def test_what_is_no_report_is_a_failure():
    """Neither tool is believed without its report."""
    for text in ("", "Traceback", "{}", '{"error": {"code": "ENOAUDIT"}}', "[]"):
        assert judge_python(text)
        assert judge_npm(text)


def test_good_news():
    """All looked up and nothing found is nothing to say; p3s itself is on no index."""
    packages = [{"name": "p3s", "skip_reason": "not found"}, {"name": "flask", "version": "1", "vulns": []}]
    assert judge_python(json.dumps({"dependencies": packages})) == []
    assert judge_npm(json.dumps({"metadata": {"vulnerabilities": {"high": 0, "total": 0}}})) == []
    assert judge_npm(json.dumps({"metadata": {"vulnerabilities": {"high": 2, "total": 2}}}))
