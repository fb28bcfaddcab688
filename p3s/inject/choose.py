"""The pure half: which of the files that wait are started, wait on, or are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p3s.engine.fates import Fate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p3s.inject.files import Found
    from p3s.inject.rules import RuleSpec

__all__ = ["Choice", "Ready", "choose_units", "is_sampled"]


@dataclass(frozen=True, slots=True)
class Ready:
    """A quiet file of known content."""

    file: Found
    identity: str

    @property
    def arrived(self) -> float:
        """When it came, or last changed."""
        return self.file.arrived


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to become of files that go together: ``starting``, ``waiting``, ``duplicate`` or ``dropped``, and why."""

    files: tuple[Ready, ...]
    fate: Fate
    message: str = ""

    @property
    def arrived(self) -> float:
        """When the last of them arrived."""
        return max(file.arrived for file in self.files)


def is_sampled(identity: str, fraction: float) -> bool:
    """Tell whether a content belongs to the sample: the same content always does, or never.

    Examples
    --------
    >>> is_sampled("sha256:00ff", 0.5), is_sampled("sha256:ff00", 0.5), is_sampled("sha256:ff00", 1.0)
    (True, False, True)
    """
    digits = identity.rpartition(":")[2][:13]
    return int(digits, 16) < fraction * float(16 ** len(digits))


def choose_units(spec: RuleSpec, files: Sequence[Ready], now: float) -> list[Choice]:
    """Decide about all files of a rule that may be started.

    Parameters
    ----------
    spec : RuleSpec
        The rule.
    files : sequence of Ready
        Quiet, large enough, sampled, and never started before.
    now : float
        The clock that wrote `Ready.arrived`.

    Returns
    -------
    list of Choice
        Each file in exactly one; those to be started in the order in which they are to be.
    """
    choices: list[Choice] = []
    fresh: dict[str, Ready] = {}
    for file in sorted(files, key=lambda one: (one.arrived, one.file.place)):
        first = fresh.setdefault(file.identity, file)
        if first is not file:
            choices.append(Choice((file,), Fate.DUPLICATE, f"the same content is {first.file.place}"))
    whole: list[tuple[Ready, ...]] = []
    for members in _group(spec, fresh.values()):
        if spec.group is None or len(members) >= spec.group.files:
            whole.append(members)
            continue
        message = f"{len(members)} of {spec.group.files} files of its group are here"
        wait = spec.group.wait
        late = wait is not None and now - min(file.arrived for file in members) > wait
        fate = Fate.DROPPED if late else Fate.WAITING
        choices.append(Choice(members, fate, f"only {message} after {wait:g} s" if late else message))
    # The freshest are kept when there are too many, whatever the order of starting.
    whole.sort(key=lambda members: (max(file.arrived for file in members), members[0].file.place), reverse=True)
    kept = len(whole) if spec.limit is None else spec.limit
    most = len(whole) if spec.backlog is None else kept + spec.backlog
    stale = whole[most:]
    choices += [
        Choice(members, Fate.DROPPED, f"{most} newer ones came, and the backlog is {spec.backlog}") for members in stale
    ]
    queue = whole[:most]
    if spec.order == "oldest":
        queue.reverse()
    choices += [Choice(members, Fate.STARTING) for members in queue[:kept]]
    choices += [
        Choice(members, Fate.WAITING, f"{kept + number} others are before it")
        for number, members in enumerate(queue[kept:])
    ]
    return choices


def _group(spec: RuleSpec, files: Iterable[Ready]) -> list[tuple[Ready, ...]]:
    """Return files that belong together, in the order of their paths."""
    if spec.group is None:
        return [(file,) for file in files]
    groups: dict[tuple[str, ...], list[Ready]] = {}
    for file in files:
        groups.setdefault(tuple(file.file.values.get(name, "") for name in spec.group.by), []).append(file)
    return [tuple(sorted(members, key=lambda one: one.file.place)) for members in groups.values()]
