"""What expansion makes of a DAG and its parameters: plain frozen values, ready to be stored or drawn.

Names: a *key* identifies a dataset within one workflow (``hits``, ``trk-u``); a *name* is the word in the YAML
and the environment variable (``trk``). They differ for members of a collection only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DatasetPlan", "InputPlan", "JobPlan", "Origin", "OutputPlan", "Resources", "Retry", "WorkflowPlan"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and when, a payload that failed is tried again.

    Attributes
    ----------
    max : int
        Further tries after the first.
    backoff, cap : float
        Seconds before the first further try; at most this many later on.
    factor : float
        Each pause is this many times the one before.
    when : tuple of str
        Payload reasons and exit codes (as text) that are tried again; empty for all.
    """

    max: int = 0
    backoff: float = 0.0
    factor: float = 2.0
    cap: float = 3600.0
    when: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job needs from its pilot: cpus, bytes of memory (0: any), labels."""

    cpus: int = 1
    memory: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputPlan:
    """One name among a job's inputs and the datasets behind it.

    Attributes
    ----------
    name : str
        The variable; a collection sets ``<name>_list`` instead.
    keys : tuple of str
        Keys of the datasets, in order.
    collection : bool
        Whether the job sees a list, even of one.
    partial : bool
        Whether final is enough, however the dataset ended.
    """

    name: str
    keys: tuple[str, ...]
    collection: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """One file that a job makes: the variable, the dataset's key, the path inside the attempt's folder."""

    name: str
    key: str
    path: str


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One node of work.

    Attributes
    ----------
    name : str
        Unique within the workflow; ``track-u`` for a member of a matrix family.
    family : str
        The name in the YAML, ``track``.
    run : str or None
        A script for ``shell``; with `payload` None too, the job is a ``noop``.
    payload : str or None
        An executable: an absolute path, or a path of the bundle if it is among `files`.
    shell : str
        The command line that the script's file name is appended to.
    args : tuple of str
        Arguments of the payload.
    env : dict
        Rendered variables; ``{"secret": NAME}`` values are resolved on the pilot's host.
    axes : dict
        The matrix values of this member, as text.
    needs : tuple of (str, bool)
        Control edges: a job's name, and whether being final is enough (``done``).
    publish : dict
        Output name to the path that shows it after acceptance.
    verify : bool
        Whether its inputs' checksums are compared before it starts.
    skipped : bool
        Whether its ``if`` said no.
    tolerated : bool
        Whether its failure leaves the workflow's outcome alone: it has successors and every path down from it
        meets an edge that takes partial input.
    rank : float
        Longest expected time from its start to the workflow's end, in seconds.
    """

    name: str
    family: str
    run: str | None = None
    payload: str | None = None
    shell: str = "bash -eo pipefail"
    args: tuple[str, ...] = ()
    env: dict[str, str | dict[str, str]] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    jobtype: str = "default"
    priority: int = 0
    timelimit: float = 3600.0
    retry: Retry = Retry()
    resources: Resources = Resources()
    inputs: tuple[InputPlan, ...] = ()
    outputs: tuple[OutputPlan, ...] = ()
    needs: tuple[tuple[str, bool], ...] = ()
    publish: dict[str, str] = field(default_factory=dict)
    exclusive: bool = False
    verify: bool = False
    skipped: bool = False
    tolerated: bool = False
    rank: float = 0.0

    @property
    def noop(self) -> bool:
        """Whether the job is a sync point that finishes by itself when released."""
        return self.run is None and self.payload is None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an external dataset comes from that another DAG makes.

    Attributes
    ----------
    owner : str
        Whose DAG; empty for the owner of the workflow that reads it.
    dag, key : str
        The DAG, and its dataset.
    match : dict
        Values that parameters of the workflow that makes it must have.
    """

    owner: str
    dag: str
    key: str
    match: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as people write it, with what must match."""
        matches = "".join(f", {name}={value}" for name, value in self.match.items())
        return f"{self.owner}/{self.dag}/{self.key}{matches}".removeprefix("/")


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """One unit of data in a workflow.

    Attributes
    ----------
    key, name : str
        See the module's docstring.
    producer : str or None
        The name of the job that makes it; None for an external one.
    place : str or None
        An external's absolute path or URL; None until accepted for a produced one.
    available : bool
        Whether an external was there when the client looked.
    size : int or None
        Bytes, where known.
    checksum : str
        Of an external one whose content is to be verified.
    origin : Origin or None
        Of an external one that another DAG makes; it has no place until that is there.
    datatype : str
        A label, empty if none.
    comment : str
        What people say of it.
    result : bool
        Whether ``results`` names it: the server keeps its content.
    """

    key: str
    name: str
    producer: str | None = None
    place: str | None = None
    available: bool = False
    size: int | None = None
    datatype: str = ""
    result: bool = False
    comment: str = ""
    checksum: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """All that a workflow is made of.

    Attributes
    ----------
    params : dict
        Each parameter's value, as text.
    files : tuple of str
        Paths of the bundle, relative to the YAML; each is unpacked into every sandbox.
    deadline : float or None
        Seconds from the start (or the arrival of the file that started it).
    on_deadline : str
        ``last`` or ``drop``.
    critical_path : float
        Expected seconds along the longest path.
    """

    name: str
    jobs: dict[str, JobPlan]
    datasets: dict[str, DatasetPlan]
    params: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    deadline: float | None = None
    on_deadline: str = "last"
    critical_path: float = 0.0
