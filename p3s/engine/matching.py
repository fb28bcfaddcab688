"""Which pilot may run which job, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from p3s.engine.places import STAGED, find_staged, is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p3s.engine.plan import JobPlan

__all__ = ["ANYWHERE", "BOTH", "DeclaredPilot", "Offer", "Requirement", "find_mismatches", "narrow"]

#: Sites that bind nobody: of URLs, and of those who name no site, whose data all pilots are taken to see.
ANYWHERE = ("", "default")
#: Joins sites where data is at more than one; a site's name never holds it.
BOTH = " and "


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
    def site(self) -> str:
        """Where it runs."""

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
    site : str
        The only one where all its inputs are; empty for any.
    """

    owner: str
    jobtype: str = "default"
    cpus: int = 1
    memory: int = 0
    labels: tuple[str, ...] = ()
    timelimit: float = 0.0
    site: str = ""

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
    site : str
        Where it runs.
    """

    cpus: int = 1
    memory: int | None = None
    labels: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    jobtypes: tuple[str, ...] = ()
    lifetime: float | None = None
    site: str = "default"

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
            site=pilot.site,
        )


def narrow(site: str, labels: Sequence[str], places: Iterable[str]) -> tuple[str, list[str]]:
    """Return the site and the labels that a job asks for once it also has to read other data.

    Parameters
    ----------
    site : str
        What it asked for before; empty for any.
    labels : sequence of str
        The same.
    places : iterable of str
        Sites, and URLs, of data.

    Returns
    -------
    tuple of (str, list of str)
        With two sites, a text that is no site's name.

    Examples
    --------
    >>> narrow("", ["gpu"], ["cern", "default", "s3://raw/a.h5"])
    ('cern', ['gpu', 's3://'])
    >>> narrow("cern", [], ["fnal"])
    ('cern and fnal', [])
    """
    given = list(places)
    sites = {place for place in (*site.split(BOTH), *given) if place not in ANYWHERE and not is_url(place)}
    staged = {scheme for place in given if (scheme := find_staged(place))}
    return BOTH.join(sorted(sites)), sorted({*labels, *staged})


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
    if requirement.site and requirement.site != offer.site:
        reasons.append(f"needs a pilot of site {requirement.site}, where its data is")
    missing = [label for label in requirement.labels if label not in offer.labels]
    if far := [label for label in missing if label in STAGED]:
        reasons.append(f"has data at {' and '.join(far)}, which it cannot stage")
    missing = [label for label in missing if label not in STAGED]
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
