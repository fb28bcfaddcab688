"""From a DAG, its parameters and the files the client saw to a plan: every job and dataset by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s.engine.checks import check_standalone
from p3s.engine.collector import pause_collector
from p3s.engine.expansion import Expansion, ExternalRequest, SeenFile, request_externals
from p3s.engine.members import MemberBuilder
from p3s.engine.names import quote_name
from p3s.engine.params import resolve_params
from p3s.engine.paths import normalise_path
from p3s.engine.plan import DatasetPlan, JobPlan, OutputPlan, WorkflowPlan
from p3s.engine.problems import Fault, raise_faults
from p3s.engine.spec import StandaloneSpec
from p3s.engine.tasks import check_strays, find_payload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from p3s.engine.spec import DagSpec, TaskSpec
    from p3s.engine.yamltext import Path

__all__ = [
    "MAX_JOBS",
    "ExternalRequest",
    "SeenFile",
    "expand_dag",
    "expand_standalone",
    "find_bundle",
    "find_externals",
]

#: Jobs of one workflow.
MAX_JOBS = 200_000


def find_bundle(spec: DagSpec | StandaloneSpec) -> list[str]:
    """Return the files that travel with a DAG or a standalone job: ``files`` and relative payloads.

    Parameters
    ----------
    spec : DagSpec or StandaloneSpec
        What was loaded.

    Returns
    -------
    list of str
        Paths relative to the YAML, each once, in the order of the document.

    Examples
    --------
    >>> from p3s.engine.spec import StandaloneSpec
    >>> find_bundle(StandaloneSpec(payload="./a.sh", files=["b.txt"]))
    ['b.txt', 'a.sh']
    """
    payloads = (payload for _, task in _list_tasks(spec) if (payload := find_payload(task)) is not None)
    return list(dict.fromkeys([*map(normalise_path, spec.files), *payloads]))


def find_externals(spec: DagSpec, params: Mapping[str, str]) -> list[ExternalRequest]:
    r"""Return what the client is to look for before it loads a DAG.

    Parameters
    ----------
    spec : DagSpec
        The DAG.
    params : mapping of str to str
        Values from the user.

    Returns
    -------
    list of ExternalRequest
        One for each external dataset.

    Raises
    ------
    BadInput
        If parameters are missing or do not fit, or a path cannot be computed.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\nparams: {n: }\ndatasets: {d: 'r${{ params.n }}'}\njobs: {a: {inputs: [d], run: cat}}"
    >>> find_externals(load_dag(text, "x.yaml"), {"n": "007"})
    [ExternalRequest(name='d', paths=('r007',), glob=False, verify=False)]
    """
    texts, _, faults = resolve_params(spec, params)
    raise_faults(faults, spec._source)  # noqa: SLF001  # Private to the package.
    requests, faults = request_externals(spec, texts)
    raise_faults(faults, spec._source)  # noqa: SLF001
    return requests


@pause_collector()
def expand_dag(
    spec: DagSpec,
    params: Mapping[str, str],
    externals: Mapping[str, Sequence[SeenFile]],
    *,
    bundle: Collection[str],
    max_jobs: int = MAX_JOBS,
    extensions: Mapping[str, str] | None = None,
) -> WorkflowPlan:
    r"""Return every job and dataset of a workflow.

    Parameters
    ----------
    spec : DagSpec
        The DAG, as `load_dag` returned it.
    params : mapping of str to str
        Values from the user.
    externals : mapping of str to sequence of SeenFile
        What the client found for each `ExternalRequest`, in its order.
    bundle : collection of str
        Paths of the files that travel.
    max_jobs : int
        Most jobs.
    extensions : mapping of str to str, optional
        Those of registered datatypes.

    Returns
    -------
    WorkflowPlan
        Without ranks, which `schedule_plan` adds.

    Raises
    ------
    BadInput
        With all problems.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {matrix: {n: [1, 2]}, outputs: [y], run: x}, b: {inputs: [y], run: z}}"
    >>> plan = expand_dag(load_dag(text, "x.yaml"), {}, {}, bundle=())
    >>> list(plan.jobs), plan.jobs["b"].inputs
    (['a-1', 'a-2', 'b'], (InputPlan(name='y', keys=('y-1', 'y-2'), collection=True, partial=False),))
    """
    texts, typed, faults = resolve_params(spec, params)
    # Nothing else can be told without parameters.
    raise_faults(faults, spec._source)  # noqa: SLF001
    expansion = Expansion(spec, texts, extensions or {})
    expansion.faults += _check_bundle(spec, bundle)
    expansion.add_externals(externals)
    expansion.add_families(max_jobs)
    raise_faults(expansion.faults, spec._source)  # noqa: SLF001
    expansion.add_datasets()
    expansion.add_jobs(typed)
    raise_faults(expansion.faults, spec._source)  # noqa: SLF001
    return WorkflowPlan(
        name=spec.name,
        jobs=expansion.jobs,
        datasets=expansion.datasets,
        params=texts,
        files=tuple(find_bundle(spec)),
        deadline=spec.deadline,
        on_deadline=spec.on_deadline,
    )


def expand_standalone(
    spec: StandaloneSpec, bundle: Collection[str], *, extensions: Mapping[str, str] | None = None
) -> WorkflowPlan:
    """Return the workflow of one node that a standalone job is.

    Parameters
    ----------
    spec : StandaloneSpec
        The job; it is checked here, since it may have come over the wire.
    bundle : collection of str
        Paths of the files that travel.
    extensions : mapping of str to str, optional
        Those of registered datatypes.

    Returns
    -------
    WorkflowPlan
        One job and its outputs.

    Raises
    ------
    BadInput
        With all problems.

    Examples
    --------
    >>> from p3s.engine.spec import StandaloneSpec
    >>> expand_standalone(StandaloneSpec(name="hello", run="echo hello"), ()).jobs["hello"].run
    'echo hello'
    """
    faults = check_standalone(spec)
    # Most jobs have neither; the whole as one text tells that at once.
    text = spec.model_dump_json(by_alias=True)
    if "${{" in text or "\\u0000" in text:
        faults += check_strays(spec.model_dump(by_alias=True))
    faults += _check_bundle(spec, bundle)
    raise_faults(faults, spec._source)  # noqa: SLF001
    builder = MemberBuilder(spec, (), spec, {}, {}, extensions or {})
    rendered = builder.render({})
    raise_faults(builder.faults, spec._source)  # noqa: SLF001
    job = JobPlan(
        name=spec.name,
        family=spec.name,
        outputs=tuple(OutputPlan(name, name, path) for name, path in rendered.paths.items()),
        **builder.settings,
        **rendered.settings,
    )
    datasets = {
        name: DatasetPlan(
            name,
            name,
            producer=spec.name,
            datatype=output.type,
            result=name in spec.results,
            comment=output.comment,
        )
        for name, output in spec.outputs.items()
    }
    return WorkflowPlan(
        name=spec.name,
        jobs={spec.name: job},
        datasets=datasets,
        files=tuple(find_bundle(spec)),
        deadline=spec.deadline,
        on_deadline=spec.on_deadline,
    )


def _check_bundle(spec: DagSpec | StandaloneSpec, bundle: Collection[str]) -> list[Fault]:
    there = {normalise_path(path) for path in bundle}
    faults = []
    for number, file in enumerate(spec.files):
        if normalise_path(file) not in there:
            faults.append(Fault(("files", number), f"file {quote_name(file)} is missing; it must lie beside the YAML"))
    for path, task in _list_tasks(spec):
        payload = find_payload(task)
        if payload is not None and payload not in there:
            message = f"payload {quote_name(payload)} is missing; it must lie beside the YAML"
            faults.append(Fault((*path, "payload"), message))
    return faults


def _list_tasks(spec: DagSpec | StandaloneSpec) -> list[tuple[Path, TaskSpec]]:
    if isinstance(spec, StandaloneSpec):
        return [((), spec)]
    return [(("jobs", name), job) for name, job in spec.jobs.items()]
