"""The verdict: each fault by its name, worst first, and nothing when all is well."""

from __future__ import annotations

from typing import Any

import pytest

from p3s.engine.verdict import BAD_SHARE, FEW, Facts, judge

#: Facts that show one fault each, its name, what the sentence must name, and the page it leads to.
FAULTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"dead_servers": ["process 7 on farm"]}, "server process killed", "process 7 on farm", "/services"),
    ({"pilots": 0, "ready": 3}, "no pilots", "3 jobs are ready", "/pilots"),
    ({"pilots": 0, "silent_pilots": ["n1", "n1"]}, "no pilots", "n1", "/pilots"),
    ({"silent_pilots": ["n1"]}, "silent pilots", "1 pilot fell silent, on n1", "/pilots?state=timeout"),
    ({"banned": [("n1", "3 jobs in a row")]}, "banned host", "Host n1 gets no jobs: 3 jobs in a row", "/hosts"),
    ({"suspended": [("track", 2)]}, "cap at 0", "track is suspended: its cap is 0 and 2 jobs of it wait", "/jobtypes"),
    ({"silent_services": [("injector", "daq")]}, "silent service", "injector daq", "/services"),
    ({"full": ["n2", "n2"]}, "full disk", "2 attempts found no room on n2", "/#failures"),
    ({"short": ["the database has no room"]}, "full disk", "the database has no room", "/services"),
    (
        {"ended": [("track", 3, 4)]},
        "failing jobtype",
        "track fail: 3 of its newest 4",
        "/jobs?state=failed&jobtype=track",
    ),
    ({"overdue": ["night"]}, "overdue work", "1 workflow is past its deadline: night", "/workflows?late=yes"),
    ({"paused_by": "ann"}, "paused", "ann", "/services"),
]


@pytest.mark.parametrize(("facts", "name", "words", "link"), FAULTS)
def test_a_fault_names_itself(facts, name, words, link):
    """One fault alone is the verdict, with what it is about and the page that shows it."""
    verdict = judge(Facts(**({"pilots": 2, "running": 1} | facts)))
    assert not verdict.is_well
    assert [fault.name for fault in verdict.faults] == [name]
    assert words in verdict.sentence
    assert verdict.link == link


def test_all_faults_are_named_at_once():
    """Every fault is listed when all come together, and what stops everything comes first."""
    together: dict[str, Any] = {}
    for facts, *_ in FAULTS:
        together |= facts
    names = [fault.name for fault in judge(Facts(**(together | {"pilots": 0}))).faults]
    assert set(names) == {name for _, name, *_ in FAULTS} - {"silent pilots"}
    assert names[0] == "full disk"
    assert names[-1] == "overdue work"


@pytest.mark.parametrize("facts", [{}, {"ready": 2, "pilots": 1}, {"running": 1, "pilots": 1}])
def test_health_is_said_in_words(facts):
    """Without a fault all is well: with nothing to do, with jobs about to start, with jobs that run."""
    verdict = judge(Facts(**facts))
    assert verdict.is_well
    assert verdict.sentence.startswith("All is well")


def test_some_failures_are_no_failing_jobtype():
    """Fewer failures than `FEW`, or a smaller share than `BAD_SHARE`, are no fault of the jobtype."""
    many = round(FEW / BAD_SHARE) + 1
    assert judge(Facts(ended=[("a", FEW - 1, FEW - 1), ("b", FEW, many)])).is_well


def test_long_lists_are_cut():
    """A sentence spells out three names and counts the others."""
    assert judge(Facts(overdue=["a", "b", "c", "d", "e"])).sentence.endswith("a, b, c and 2 more.")
