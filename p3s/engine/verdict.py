"""Whether all is well, in one sentence: facts in, faults with their sentences and links out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BAD_SHARE", "FEW", "Facts", "Fault", "Verdict", "judge"]

#: A jobtype fails when at least this many of its newest attempts failed, and this share of them.
FEW, BAD_SHARE = 3, 0.5
#: Names that a sentence spells out.
NAMED = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the system now. Everything is recent: it was seen within the last minutes.

    Attributes
    ----------
    ready, running : int
        Jobs that may be claimed, and those that pilots have.
    pilots : int
        Those that are alive.
    silent_pilots : sequence of str
        Hosts of pilots that fell silent, one for each pilot.
    dead_servers : sequence of str
        Server processes that ended without saying so.
    banned : sequence of (str, str)
        Hosts that get no jobs, with the reason.
    suspended : sequence of (str, int)
        Jobtypes with a cap of 0, and how many of their jobs are ready.
    silent_services : sequence of (str, str)
        Kinds and names of services that are silent.
    full : sequence of str
        Hosts on which a payload found no room on the disk, once for each attempt.
    short : sequence of str
        What the server itself says of its disks and its database.
    ended : sequence of (str, int, int)
        Jobtypes with how many of their newest attempts failed and how many ended.
    overdue : sequence of str
        Names of workflows that run past their deadline.
    paused_by : str or None
        Who paused the whole server.
    """

    ready: int = 0
    running: int = 0
    pilots: int = 0
    silent_pilots: Sequence[str] = ()
    dead_servers: Sequence[str] = ()
    banned: Sequence[tuple[str, str]] = ()
    suspended: Sequence[tuple[str, int]] = ()
    silent_services: Sequence[tuple[str, str]] = ()
    full: Sequence[str] = ()
    short: Sequence[str] = ()
    ended: Sequence[tuple[str, int, int]] = ()
    overdue: Sequence[str] = ()
    paused_by: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: what it is called, a sentence, and the page that shows it."""

    name: str
    sentence: str
    link: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: a sentence, the page that shows why, and all faults, worst first."""

    sentence: str
    link: str
    faults: tuple[Fault, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def judge(facts: Facts) -> Verdict:
    """Return whether all is well.

    Parameters
    ----------
    facts : Facts
        What is known.

    Returns
    -------
    Verdict
        Its sentence is that of the worst fault.

    Examples
    --------
    >>> judge(Facts(pilots=2, running=7)).sentence
    'All is well: 7 jobs are with 2 pilots.'
    >>> judge(Facts(ready=3, banned=[("n1", "nothing starts there")])).sentence
    'No pilot is alive, and 3 jobs are ready.'
    >>> [fault.link for fault in judge(Facts(ready=3, banned=[("n1", "nothing starts there")])).faults]
    ['/pilots', '/hosts']
    """
    faults = tuple(_list_faults(facts))
    if faults:
        return Verdict(faults[0].sentence, faults[0].link, faults)
    if facts.running:
        with_ = f"{_count(facts.running, 'job')} {_be(facts.running)} with {_count(facts.pilots, 'pilot')}"
        return Verdict(f"All is well: {with_}.", "/jobs?state=running")
    if facts.ready:
        return Verdict(f"All is well: {_count(facts.ready, 'job')} {_be(facts.ready)} about to start.", "/jobs")
    return Verdict("All is well: there is nothing to do.", "/workflows")


def _list_faults(facts: Facts) -> Iterator[Fault]:
    """Yield what is wrong, worst first: what stops everything, then what stops some, then what is late."""
    for sentence in facts.short:
        yield Fault("full disk", sentence, "/services")
    if facts.dead_servers:
        who = _join(facts.dead_servers)
        yield Fault("server process killed", f"A server process was killed: {who}.", "/services")
    if facts.paused_by is not None:
        yield Fault("paused", f"The server gives out no jobs: {facts.paused_by} paused it.", "/services")
    if not facts.pilots and (facts.ready or facts.silent_pilots):
        yield Fault("no pilots", _say_no_pilots(facts), "/pilots")
    elif facts.silent_pilots:
        number, hosts = len(facts.silent_pilots), _join(sorted(set(facts.silent_pilots)))
        yield Fault("silent pilots", f"{_count(number, 'pilot')} fell silent, on {hosts}.", "/pilots?state=timeout")
    if facts.full:
        hosts = _join(sorted(set(facts.full)))
        yield Fault(
            "full disk", f"A disk is full: {_count(len(facts.full), 'attempt')} found no room on {hosts}.", "/#failures"
        )
    if facts.banned:
        first, reason = facts.banned[0]
        more = f", and {len(facts.banned) - 1} more" if len(facts.banned) > 1 else ""
        yield Fault("banned host", f"Host {first}{more} gets no jobs: {reason}.", "/hosts")
    for name, failed, ended in facts.ended:
        if failed >= FEW and failed >= BAD_SHARE * ended:
            sentence = f"Jobs of type {name} fail: {failed} of its newest {ended} attempts did."
            yield Fault("failing jobtype", sentence, f"/jobs?state=failed&jobtype={name}")
    if facts.silent_services:
        names = _join([f"{kind} {name}" for kind, name in facts.silent_services])
        yield Fault("silent service", f"Nothing is heard of {names}.", "/services")
    for name, ready in facts.suspended:
        waits = f" and {_count(ready, 'job')} of it {_wait(ready)}" if ready else ""
        yield Fault("cap at 0", f"Jobtype {name} is suspended: its cap is 0{waits}.", "/jobtypes")
    if facts.overdue:
        number = len(facts.overdue)
        names = _join(facts.overdue)
        sentence = f"{_count(number, 'workflow')} {_be(number)} past {_their(number)} deadline: {names}."
        yield Fault("overdue work", sentence, "/workflows?late=yes")


def _say_no_pilots(facts: Facts) -> str:
    ready = f", and {_count(facts.ready, 'job')} {_be(facts.ready)} ready" if facts.ready else ""
    silent = f": the last fell silent on {_join(sorted(set(facts.silent_pilots)))}" if facts.silent_pilots else ""
    return f"No pilot is alive{ready}{silent}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"


def _their(number: int) -> str:
    return "its" if number == 1 else "their"


def _join(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
