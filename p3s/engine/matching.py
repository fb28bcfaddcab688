"""Which pilot may run which job, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.engine.plan import JobPlan

__all__ = ["DeclaredPilot", "Offer", "Requirement", "find_mismatches"]


class AcceptedWork(Protocol):
    """Whose jobs and which jobtypes a pilot takes."""

    @property
    def users(self) -> Sequence[str]:
        """Owners of jobs; empty for all."""

    @property
    def jobtypes(self) -> Sequence[str]:
        """Classes of jobs; empty for all."""


class DeclaredPilot(Protocol):
    """A pilot as it made itself known."""

    @property
    def cpus(self) -> int:
        """Cores."""

    @property
    def memory(self) -> int:
        """Bytes, 0 if it did not say."""

    @property
    def labels(self) -> Sequence[str]:
        """What it declares of itself."""

    @property
    def accepts(self) -> AcceptedWork:
        """What it takes."""

    @property
    def lifetime(self) -> float | None:
        """Seconds it has left."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a job asks of a pilot; equal requirements are matched together.

    Attributes
    ----------
    owner, jobtype : str
        Whose job it is (empty: nobody's in particular), and of what class.
    cpus, memory : int
        Cores, and bytes (0: any).
    labels : tuple of str
        All of which the pilot must have.
    timelimit : float
        Seconds that the pilot must still have to live.
    """

    owner: str
    jobtype: str = "default"
    cpus: int = 1
    memory: int = 0
    labels: tuple[str, ...] = ()
    timelimit: float = 0.0

    @classmethod
    def from_job(cls, job: JobPlan, owner: str = "") -> Requirement:
        """Return what a planned job asks for; without an owner, pilots of all users count.

        Examples
        --------
        >>> from p3s.engine.plan import JobPlan
        >>> Requirement.from_job(JobPlan("a", "a"), "ann").timelimit
        3600.0
        """
        return cls(
            owner=owner,
            jobtype=job.jobtype,
            cpus=job.resources.cpus,
            memory=job.resources.memory,
            labels=job.resources.labels,
            timelimit=job.timelimit,
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pilot has and takes.

    Attributes
    ----------
    cpus : int
        Cores.
    memory : int or None
        Bytes; 0 and None if it did not say, which bounds nothing.
    labels : tuple of str
        What it declares of itself.
    users, jobtypes : tuple of str
        What it takes; empty for all.
    lifetime : float or None
        Seconds it has left; None for no end.
    """

    cpus: int = 1
    memory: int | None = None
    labels: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    jobtypes: tuple[str, ...] = ()
    lifetime: float | None = None

    @classmethod
    def from_pilot(cls, pilot: DeclaredPilot) -> Offer:
        """Return what a pilot offers when nothing runs on it."""
        return cls(
            cpus=pilot.cpus,
            memory=pilot.memory,
            labels=tuple(pilot.labels),
            users=tuple(pilot.accepts.users),
            jobtypes=tuple(pilot.accepts.jobtypes),
            lifetime=pilot.lifetime,
        )


def find_mismatches(requirement: Requirement, offer: Offer) -> list[str]:
    """Return every reason why a pilot cannot run a job.

    Parameters
    ----------
    requirement : Requirement
        What the job asks for.
    offer : Offer
        What the pilot has, or has free at the moment.

    Returns
    -------
    list of str
        Parts of a sentence; empty if the job fits.

    Examples
    --------
    >>> find_mismatches(Requirement("ann", cpus=4, labels=("gpu",)), Offer(cpus=2))
    ['needs 4 cpus, 2 there', 'needs the label gpu']
    >>> find_mismatches(Requirement("ann"), Offer())
    []
    """
    reasons = []
    if requirement.cpus > offer.cpus:
        reasons.append(f"needs {requirement.cpus} cpus, {offer.cpus} there")
    if offer.memory and requirement.memory > offer.memory:
        reasons.append(f"needs {_format_size(requirement.memory)} of memory, {_format_size(offer.memory)} there")
    missing = [label for label in requirement.labels if label not in offer.labels]
    if missing:
        reasons.append(f"needs the label{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    if offer.users and requirement.owner and requirement.owner not in offer.users:
        reasons.append(f"is owned by {requirement.owner}, whose jobs it does not take")
    if offer.jobtypes and requirement.jobtype not in offer.jobtypes:
        reasons.append(f"is of jobtype {requirement.jobtype}, which it does not take")
    if offer.lifetime is not None and requirement.timelimit > offer.lifetime:
        reasons.append(f"may take {requirement.timelimit:.0f} s, the pilot ends in {max(offer.lifetime, 0):.0f} s")
    return reasons


def _format_size(size: int) -> str:
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.3g} {unit}"
    return f"{size} B"
