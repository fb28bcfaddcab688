"""What a pilot is told when it starts."""

from __future__ import annotations

import os
import uuid as uuids
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.places import is_url, normalise_place
from p3s.errors import BadInput, Problem
from p3s.pilot.protect import Protection

if TYPE_CHECKING:
    from typing import Any

__all__ = ["PilotOptions", "check_options", "choose_data"]


@dataclass(frozen=True, slots=True)
class PilotOptions:
    """Everything that a person or a site can choose; durations are seconds, sizes bytes.

    Attributes
    ----------
    url : str
        The server's address.
    token : str or None
        The pilot token, used to register only.
    data : Path
        Where outputs are written, as ``<workflow>/<job>/<attempt>/``.
    store : str
        The URL below which they are brought instead, in the same order; empty for none.
    work : Path
        Sandboxes, the cache of bundles and finished results that are not yet delivered.
    logs : Path
        Where ``<pilot uuid>.log`` is written.
    name : str
        A name for people.
    site : str
        The site that the pilot belongs to.
    slots : int
        Most payloads at once.
    cycles : int
        Empty polls in a row after which the pilot exits; 0 for never. Together with `period` its idle life.
    period : float
        Length of one poll.
    beat : float or None
        Seconds between two signs of life; None for what the server asks for, which never asks for fewer.
    labels : tuple of str
        What this machine offers beyond cpus and memory.
    cpus : int
        Sum that its payloads may use; 0 for the machine's own number, at least `slots`.
    memory : int
        Sum that its payloads may use; 0 for no limit.
    lifetime : float or None
        After this the pilot hands back what it has and exits; only payloads that fit are given to it.
    users, jobtypes : tuple of str
        What it accepts; empty for all.
    environ : dict
        Variables that the site gives to all payloads.
    secrets : Path or None
        A JSON or TOML file with one value per name, for ``secret:`` variables.
    protection : Protection
        What the host asks of payloads.
    keep : bool
        Keep sandboxes of ended payloads.
    allow_root : bool
        Run payloads as root outside a container, too.
    register_limit : float
        How long to try to register.
    input_wait : float
        How long to wait for inputs that should be there: shared file systems lag.
    staging_limit : float
        How long bringing the inputs of one attempt from URLs may take, and bringing its outputs there.
    grace : float
        Between SIGTERM and SIGKILL.
    uuid : str
        The pilot's own id.
    """

    url: str
    token: str | None = field(repr=False)
    data: Path
    work: Path
    logs: Path
    store: str = ""
    name: str = ""
    site: str = "default"
    slots: int = 1
    cycles: int = 0
    period: float = 50.0
    beat: float | None = None
    labels: tuple[str, ...] = ()
    cpus: int = 0
    memory: int = 0
    lifetime: float | None = None
    users: tuple[str, ...] = ()
    jobtypes: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    secrets: Path | None = None
    keep: bool = False
    protection: Protection = field(default_factory=Protection)
    allow_root: bool = False
    register_limit: float = 300.0
    input_wait: float = 60.0
    staging_limit: float = 3600.0
    grace: float = 10.0
    uuid: str = field(default_factory=lambda: str(uuids.uuid4()))

    @property
    def total_cpus(self) -> int:
        """The sum of cpus that payloads may use."""
        return self.cpus or max(os.cpu_count() or 1, self.slots)


def choose_data(place: str | Path) -> dict[str, Any]:
    """Return the fields of `PilotOptions` that say where outputs go.

    Examples
    --------
    >>> choose_data("s3://farm/p3s/")
    {'store': 's3://farm/p3s'}
    >>> choose_data("/data/p3s")
    {'data': PosixPath('/data/p3s')}
    """
    if is_url(str(place)):
        return {"store": normalise_place(str(place)).rstrip("/")}
    return {"data": Path(place).absolute()}


def check_options(options: PilotOptions) -> None:
    """Refuse options that no pilot can run with.

    Parameters
    ----------
    options : PilotOptions
        To be checked.

    Raises
    ------
    BadInput
        With all that is wrong.
    """
    facts = (
        (options.slots >= 1, "slots", "must be at least 1"),
        (options.cycles >= 0, "cycles", "must be 0 (for ever) or more"),
        (options.period >= 0.05, "period", "must be at least 0.05 s: the server is asked once per period"),
        (options.beat is None or options.beat > 0, "beat", "must be more than 0 s"),
        (options.cpus >= 0, "cpus", "must be 0 (all of the machine) or more"),
        (options.memory >= 0, "memory", "must be 0 (no limit) or more"),
        (options.lifetime is None or options.lifetime > 0, "lifetime", "must be more than 0 s"),
        (options.register_limit >= 0, "register_limit", "must be 0 s (one try) or more"),
        (options.staging_limit > 0, "staging_limit", "must be more than 0 s"),
        (options.grace >= 0, "grace", "must be 0 s or more"),
    )
    problems = [Problem(message, where=name) for good, name, message in facts if not good]
    if problems:
        raise BadInput(problems)
