"""Which of the files that wait are started: the pure half of the injector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p3s.engine.fates import Fate
from p3s.inject.choose import Ready, choose_units, is_sampled
from p3s.inject.files import Found
from p3s.inject.rules import RuleSpec


def make_spec(**keys):
    return RuleSpec.model_validate({"folder": "x", "pattern": "x", **keys})


def make_file(number, arrived=None, identity=None, **values):
    when = float(number if arrived is None else arrived)
    return Ready(Found(f"/d/{number}", 10, when, f"s{number}", values), identity or f"sha256:{number:064x}")


def read_choices(choices):
    """Return the fate of each file by its number."""
    return {int(one.file.place.rpartition("/")[2]): choice.fate for choice in choices for one in choice.files}


def list_starts(choices):
    return [int(choice.files[0].file.place.rpartition("/")[2]) for choice in choices if choice.fate is Fate.STARTING]


@pytest.mark.parametrize(("order", "started"), [("oldest", [1, 2]), ("newest", [4, 3])])
def test_at_most_so_many_are_started_in_order(order, started):
    """A pass starts at most `limit` files, oldest or newest first, and the others wait."""
    choices = choose_units(make_spec(order=order, limit="2"), [make_file(n) for n in (3, 1, 4, 2)], 10)
    assert list_starts(choices) == started
    assert sorted(read_choices(choices)) == [1, 2, 3, 4]
    assert list(read_choices(choices).values()).count(Fate.WAITING) == 2


def test_stale_files_are_dropped_beyond_the_backlog():
    """Beyond limit and backlog the files that arrived first are dropped, whatever the order of starting."""
    choices = choose_units(make_spec(limit="1", backlog="2"), [make_file(n) for n in range(1, 7)], 10)
    fates = read_choices(choices)
    assert {number for number, fate in fates.items() if fate is Fate.DROPPED} == {1, 2, 3}
    assert list_starts(choices) == [4]


def test_the_same_content_is_taken_once():
    """Of two files with one content the one that arrived first is started."""
    choices = choose_units(make_spec(), [make_file(2, identity="sha256:aa"), make_file(1, identity="sha256:aa")], 10)
    assert read_choices(choices) == {1: Fate.STARTING, 2: Fate.DUPLICATE}


def test_a_group_starts_when_it_is_whole():
    """Files that agree on the named groups start together; a group that stays incomplete is dropped in the end."""
    spec = make_spec(group={"by": ["run"], "files": "2", "wait": "1m"})
    files = [make_file(1, run="7"), make_file(2, run="8"), make_file(3, run="7")]
    assert read_choices(choose_units(spec, files, 50)) == {1: Fate.STARTING, 3: Fate.STARTING, 2: Fate.WAITING}
    assert read_choices(choose_units(spec, files, 63))[2] is Fate.DROPPED
    (whole,) = [choice for choice in choose_units(spec, files, 50) if choice.fate is Fate.STARTING]
    assert len(whole.files) == 2


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_sample_contains_the_smaller_one(digits, one, other):
    """Sampling looks at the content alone: what a small fraction takes, a larger one takes, too."""
    small, large = sorted((one, other))
    assert is_sampled(f"sha256:{digits}", large) or not is_sampled(f"sha256:{digits}", small)
    assert is_sampled(f"sha256:{digits}", 1.0)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30),
    st.one_of(st.none(), st.integers(1, 5)),
    st.one_of(st.none(), st.integers(0, 5)),
)
def test_each_file_has_one_fate(pairs, limit, backlog):
    """Whatever the files, each is in exactly one choice, and no content is started twice."""
    files = [make_file(n, arrived=when, identity=f"sha256:{same:x}") for n, (when, same) in enumerate(pairs)]
    spec = make_spec(limit=limit, backlog=backlog)
    choices = choose_units(spec, files, 10)
    assert sorted(one.file.place for choice in choices for one in choice.files) == sorted(
        one.file.place for one in files
    )
    started = [one.identity for choice in choices if choice.fate is Fate.STARTING for one in choice.files]
    assert len(started) == len(set(started)) <= (limit or len(files))
