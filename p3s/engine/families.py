"""Matrix families: their members, and which members of one agree with a member of another.

A consumer gets the members that agree with it on every axis they share, collecting over the others. An
external collection has one axis of its own, which a consumer shares when one of its axes says ``each`` of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from p3s.engine.names import check_variable, quote_name, sanitise_value
from p3s.engine.problems import Fault
from p3s.engine.spec import EachSpec, MatrixSpec
from p3s.engine.units import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from p3s.engine.yamltext import Path

__all__ = ["MAX_MEMBERS", "Group", "Member", "check_matrix", "expand_matrix", "make_suffix", "name_each"]

#: Members of one family.
MAX_MEMBERS = 100_000
#: Comparisons of members with entries of ``exclude``.
MAX_EXCLUSIONS = 5_000_000

#: Axis values of one job.
Axes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Member:
    """One job of a family, or one dataset of a group: its key and its axes' values."""

    key: str
    axes: Axes


@dataclass(slots=True)
class Group:
    """What stands behind one name: the datasets of an output or an external, or the jobs of a family.

    Attributes
    ----------
    name : str
        The name in the YAML.
    axes : tuple of str
        The axes along which the members differ; empty for a single one.
    members : list of Member
        In order.
    """

    name: str
    axes: tuple[str, ...]
    members: list[Member]
    _indexes: dict[tuple[str, ...], dict[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    def find_members(self, axes: Mapping[str, str], *, everything: bool = False) -> tuple[tuple[str, ...], bool]:
        """Return the keys that agree with `axes`, and whether they are a collection.

        Parameters
        ----------
        axes : mapping of str to str
            The consumer's values.
        everything : bool
            Whether to take all members, whatever their values.

        Returns
        -------
        tuple of (tuple of str, bool)
            No keys if none agree.

        Examples
        --------
        >>> members = [Member("trk-u", {"plane": "u"}), Member("trk-v", {"plane": "v"})]
        >>> group = Group("trk", ("plane",), members)
        >>> group.find_members({"plane": "v"}), group.find_members({})
        ((('trk-v',), False), (('trk-u', 'trk-v'), True))
        """
        shared = () if everything else tuple(axis for axis in self.axes if axis in axes)
        if shared not in self._indexes:
            found: dict[tuple[str, ...], list[str]] = {}
            for member in self.members:
                found.setdefault(tuple(member.axes[axis] for axis in shared), []).append(member.key)
            self._indexes[shared] = {values: tuple(keys) for values, keys in found.items()}
        keys = self._indexes[shared].get(tuple(axes[axis] for axis in shared), ())
        return keys, everything or len(shared) < len(self.axes)


def name_each(dataset: str) -> str:
    """Return the name of an external collection's own axis, which no axis in a file can have."""
    return f"each {dataset}"


def make_suffix(axes: Mapping[str, str]) -> str:
    """Return what is added to a family's name for a member.

    Parameters
    ----------
    axes : mapping of str to str
        The member's values.

    Returns
    -------
    str
        Empty without axes.

    Examples
    --------
    >>> make_suffix({"plane": "u", "run": "5 a"})
    '-u-5_a'
    """
    return "".join(f"-{sanitise_value(value)}" for value in axes.values())


def list_axes(matrix: MatrixSpec | None) -> tuple[str, ...]:
    """Return the names of a family's axes; a matrix of ``include`` alone takes them from its first entry."""
    if matrix is None:
        return ()
    return tuple(matrix.axes) or tuple(matrix.include[0] if matrix.include else ())


def check_matrix(matrix: MatrixSpec, path: Path) -> list[Fault]:
    """Return what is wrong with a matrix whatever its collections hold.

    Parameters
    ----------
    matrix : MatrixSpec
        The matrix.
    path : tuple
        Where it stands.

    Returns
    -------
    list of Fault
        Bad axis names and entries that name other axes.

    Examples
    --------
    >>> check_matrix(MatrixSpec(plane=["u"], exclude=[{"plan": "u"}]), ("jobs", "a", "matrix"))[0].message
    "exclude names no axis 'plan'"
    """
    axes = list_axes(matrix)
    if not axes:
        return [Fault(path, "the matrix has no axes; give at least one, such as `plane: [u, v]`")]
    faults = [
        Fault((*path, axis), f"axis {quote_name(axis)} {wrong}", at_key=True)
        for axis in axes
        if (wrong := check_variable(axis))
    ]
    for word, entries in (("include", matrix.include), ("exclude", matrix.exclude)):
        for number, entry in enumerate(entries):
            for axis in entry:
                if axis not in axes:
                    message = f"{word} names no axis {quote_name(axis)}"
                    faults.append(Fault((*path, word, number, axis), message, at_key=True, word=axis, candidates=axes))
            missing = [axis for axis in axes if axis not in entry]
            if word == "include" and missing:
                faults.append(Fault((*path, word, number), f"include gives no value for {', '.join(missing)}"))
            elif not entry:
                faults.append(Fault((*path, word, number), "exclude names no axis"))
    if not matrix.axes and matrix.exclude:
        faults.append(
            Fault(
                (*path, "exclude"),
                "exclude has nothing to leave out: the matrix has `include` only",
                at_key=True,
            )
        )
    collections = [value.each for value in matrix.axes.values() if isinstance(value, EachSpec)]
    if len(set(collections)) < len(collections):
        faults.append(Fault(path, "two axes go over the same collection"))
    return faults


def count_members(matrix: MatrixSpec | None, each: Mapping[str, Iterable[str]]) -> int:
    """Return how many members a matrix has before ``exclude``."""
    if matrix is None:
        return 1
    sizes = [len(tuple(each[v.each])) if isinstance(v, EachSpec) else len(v) for v in matrix.axes.values()]
    return (prod(sizes) if sizes else 0) + len(matrix.include)


def expand_matrix(
    matrix: MatrixSpec | None, each: Mapping[str, Iterable[str]], path: Path
) -> tuple[list[Axes], list[Fault]]:
    """Return the axes' values of each member, and what is wrong with the matrix.

    Parameters
    ----------
    matrix : MatrixSpec or None
        A matrix that `check_matrix` admits; None gives the one member of a plain job.
    each : mapping of str to iterable of str
        The values that each external collection gives.
    path : tuple
        Where the matrix stands.

    Returns
    -------
    tuple of (list of dict, list of Fault)
        Members in the order of the document, the last axis varying fastest, then those of ``include``.

    Examples
    --------
    >>> expand_matrix(MatrixSpec(a=["1", "2"], b=["x", "y"], exclude=[{"a": "1", "b": "y"}]), {}, ())
    ([{'a': '1', 'b': 'x'}, {'a': '2', 'b': 'x'}, {'a': '2', 'b': 'y'}], [])
    """
    if matrix is None:
        return [{}], []
    count = count_members(matrix, each)
    if count > MAX_MEMBERS:
        return [], [Fault(path, f"the matrix has {count:,} members; the limit is {MAX_MEMBERS:,}")]
    # Entries that name the same axes are looked up together.
    rules: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    for number, entry in enumerate(matrix.exclude):
        names = tuple(sorted(entry))
        rules.setdefault(names, {})[tuple(entry[name] for name in names)] = number
    if count * len(rules) > MAX_EXCLUSIONS:
        return [], [
            Fault((*path, "exclude"), "exclude has too many different entries for so many members", at_key=True)
        ]
    values = [tuple(each[v.each]) if isinstance(v, EachSpec) else v for v in matrix.axes.values()]
    members: list[Axes] = []
    used: set[int] = set()
    for combination in product(*values) if values else ():
        axes = dict(zip(matrix.axes, combination, strict=True))
        hits = {
            entries[key] for names, entries in rules.items() if (key := tuple(axes[name] for name in names)) in entries
        }
        used |= hits
        if not hits:
            members.append(axes)
    faults = [
        Fault((*path, "exclude", number), f"exclude {_format_axes(matrix.exclude[number])} fits no member")
        for entries in rules.values()
        for number in entries.values()
        if number not in used
    ]
    seen = {tuple(axes.values()) for axes in members} if matrix.include else set()
    for number, entry in enumerate(matrix.include):
        axes = {axis: entry[axis] for axis in list_axes(matrix)}
        if tuple(axes.values()) in seen:
            faults.append(Fault((*path, "include", number), f"include {_format_axes(axes)} is there already"))
        else:
            seen.add(tuple(axes.values()))
            members.append(axes)
    if not members and not faults:
        faults.append(Fault(path, "exclude leaves no member of the matrix"))
    return members, faults


def _format_axes(axes: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {shorten(value)}" for name, value in axes.items()) + "}"
