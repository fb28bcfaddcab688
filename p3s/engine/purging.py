"""What can be purged, and the policy that says how old it must be."""

from __future__ import annotations

from enum import StrEnum

from pydantic_core import PydanticCustomError

from p3s.engine.units import parse_duration
from p3s.errors import BadInput, Problem

__all__ = ["OWNED", "PurgeKind", "parse_policy"]


class PurgeKind(StrEnum):
    """What a purge looks at."""

    #: Workflows that have ended: they move into the archive.
    WORKFLOWS = "workflows"
    #: Standalone jobs that have ended: they move into the archive.
    JOBS = "jobs"
    #: Pilots that have left or fell silent, and of which no attempt is left.
    PILOTS = "pilots"
    #: Events of what is not there any more, of reports and of files.
    EVENTS = "events"
    #: Data from outside that no job reads any more, with all its versions: it is forgotten, its files stay.
    DATASETS = "datasets"
    #: What became of files that injectors saw. A file that is still there counts as new afterwards.
    ARRIVALS = "arrivals"
    #: Contents that no bundle, no result and no archived workflow has.
    BLOBS = "blobs"
    #: Archived workflows and jobs: they are gone for good.
    ARCHIVE = "archive"


#: Kinds that have an owner: a submitter may purge what is its own.
OWNED = frozenset({PurgeKind.WORKFLOWS, PurgeKind.JOBS, PurgeKind.ARCHIVE})


def parse_policy(text: str) -> dict[PurgeKind, float]:
    """Return, for each kind that a policy names, how many seconds old it must be.

    Parameters
    ----------
    text : str
        Such as ``workflows=30d jobs=7d``; commas separate as well.

    Raises
    ------
    BadInput
        With everything that is wrong.

    Examples
    --------
    >>> parse_policy("workflows=30d, jobs=12h")
    {<PurgeKind.WORKFLOWS: 'workflows'>: 2592000.0, <PurgeKind.JOBS: 'jobs'>: 43200.0}
    """
    found: dict[PurgeKind, float] = {}
    problems = []
    for part in text.replace(",", " ").split():
        name, equals, age = part.partition("=")
        if not equals or name not in set(PurgeKind):
            kinds = ", ".join(PurgeKind)
            problems.append(Problem(f"'{part}' is not of the form KIND=AGE, where KIND is one of {kinds}"))
        elif name in found:
            problems.append(Problem(f"{name} is given twice; say once how old it must be"))
        else:
            try:
                found[PurgeKind(name)] = parse_duration(age)
            except PydanticCustomError as error:
                problems.append(Problem(f"{name}: {error.message()}"))
    if problems:
        raise BadInput(problems)
    return found
