"""What must hold between the parts of a DAG: names, producers, references, cycles, matrix members."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from p3s.engine.expressions import check_template
from p3s.engine.families import (
    MAX_MEMBERS,
    Group,
    Member,
    check_matrix,
    count_members,
    expand_matrix,
    list_axes,
)
from p3s.engine.names import check_label, check_name, check_variable, quote_name, split_origin
from p3s.engine.params import check_params
from p3s.engine.problems import Fault
from p3s.engine.spec import EachSpec
from p3s.engine.tasks import check_defaults, check_files, check_task

if TYPE_CHECKING:
    from p3s.engine.spec import DagSpec, StandaloneSpec
    from p3s.engine.yamltext import Path

__all__ = ["check_dag", "check_standalone", "find_producers"]

#: Members that are tried out when a file is checked; larger families are looked at when they are expanded.
MAX_TRIED = 20_000
#: Cycles that are told at once.
MAX_CYCLES = 10


def check_standalone(spec: StandaloneSpec) -> list[Fault]:
    """Return what is wrong with a standalone job.

    Parameters
    ----------
    spec : StandaloneSpec
        The job.

    Returns
    -------
    list of Fault
        All that is wrong.
    """
    faults = [Fault(("name",), f"name {quote_name(spec.name)} {wrong}")] if (wrong := check_name(spec.name)) else []
    if spec.run is None and spec.payload is None:
        return [*faults, Fault((), "a standalone job needs `run` or `payload`")]
    faults += check_task(spec, (), (), ())
    faults += check_files(spec.files, ("files",))
    for number, name in enumerate(spec.results):
        if name not in spec.outputs:
            message = f"results names no output {quote_name(name)}"
            faults.append(Fault(("results", number), message, word=name, candidates=tuple(spec.outputs)))
    faults += _check_env_clashes(dict.fromkeys(spec.outputs, "output"), [((), spec.env)])
    return faults


def check_dag(spec: DagSpec, *, whole: bool = True) -> list[Fault]:
    """Return what is wrong with a DAG, as far as it can be told without parameters and files.

    Parameters
    ----------
    spec : DagSpec
        The DAG.
    whole : bool
        Whether it is all that was written; else some of it did not fit and was taken out.

    Returns
    -------
    list of Fault
        All that is wrong.

    Examples
    --------
    >>> from p3s.engine.spec import DagSpec
    >>> spec = DagSpec.model_validate({"name": "x", "jobs": {"a": {"inputs": ["b"]}}})
    >>> [fault.message for fault in check_dag(spec)]
    ["no job makes 'b', and `datasets` does not declare it"]
    """
    faults = [Fault(("name",), f"name {quote_name(spec.name)} {wrong}")] if (wrong := check_name(spec.name)) else []
    if not spec.jobs:
        faults.append(Fault(("jobs",), "the workflow has no jobs", at_key=True))
    faults += check_params(spec)
    faults += check_defaults(spec.defaults, ("defaults",), spec.params, ())
    faults += check_files(spec.files, ("files",))
    faults += _check_datasets(spec)
    for name, job in spec.jobs.items():
        path: Path = ("jobs", name)
        if wrong := check_name(name):
            faults.append(Fault(path, f"job {quote_name(name)} {wrong}", at_key=True))
        axes = list_axes(job.matrix)
        faults += check_task(job, path, spec.params, axes)
        if job.matrix is not None:
            faults += check_matrix(job.matrix, (*path, "matrix"))
            faults += _check_each(spec, name)
    producers, double = find_producers(spec)
    faults += double
    faults += _check_references(spec, producers)
    faults += _check_clashes(spec, producers)
    faults += _check_cycles(spec, producers)
    # With names in disorder the members would only repeat what was said.
    return faults if faults or not whole else _check_members(spec, producers)


def find_producers(spec: DagSpec) -> tuple[dict[str, str], list[Fault]]:
    """Return the family that makes each produced dataset, and the datasets with two producers.

    Parameters
    ----------
    spec : DagSpec
        The DAG.

    Returns
    -------
    tuple of (dict, list of Fault)
        Names of families by names of datasets.
    """
    producers: dict[str, str] = {}
    faults = []
    for name, job in spec.jobs.items():
        for output in job.outputs:
            place = ("jobs", name, "outputs", output)
            if output in producers:
                message = f"dataset {quote_name(output)} has two producers: '{producers[output]}' and '{name}'"
                faults.append(Fault(place, message, at_key=True))
            elif output in spec.datasets:
                message = f"dataset {quote_name(output)} is external (in `datasets`) and made by '{name}'; drop one"
                faults.append(Fault(place, message, at_key=True))
            producers.setdefault(output, name)
    return producers, faults


def _check_datasets(spec: DagSpec) -> list[Fault]:
    faults = []
    for name, dataset in spec.datasets.items():
        path = ("datasets", name)
        if wrong := check_variable(name):
            faults.append(Fault(path, f"dataset {quote_name(name)} {wrong}", at_key=True))
        if dataset.type and (wrong := check_label(dataset.type)):
            faults.append(Fault((*path, "type"), f"datatype {quote_name(dataset.type)} {wrong}"))
        for text in (dataset.path, dataset.glob, *(dataset.paths or ())):
            faults += [Fault(path, message) for message in check_template(text or "", spec.params, ())]
        if dataset.origin is not None:
            faults += _check_origin(spec, path, dataset.origin, dataset.match)
    return faults


def _check_origin(spec: DagSpec, path: Path, text: str, match: dict[str, str]) -> list[Fault]:
    faults = []
    owner, dag, key = split_origin(text)
    if check_name(dag) or check_name(key) or "/" in owner or text.startswith("/"):
        message = f"{quote_name(text)} names no dataset of another DAG; write DAG/DATASET or OWNER/DAG/DATASET"
        faults.append(Fault((*path, "from"), message))
    elif dag == spec.name and not owner:
        message = f"{quote_name(text)} is this DAG itself, which would wait for its own end; name another DAG"
        faults.append(Fault((*path, "from"), message))
    for param, template in match.items():
        if check_variable(param):
            message = f"match names a parameter {quote_name(param)} of {quote_name(dag)}, which is no variable name"
            faults.append(Fault((*path, "match", param), message, at_key=True))
        faults += [Fault((*path, "match", param), message) for message in check_template(template, spec.params, ())]
    return faults


def _check_each(spec: DagSpec, name: str) -> list[Fault]:
    faults = []
    matrix = spec.jobs[name].matrix
    assert matrix is not None
    for axis, values in matrix.axes.items():
        if not isinstance(values, EachSpec):
            continue
        dataset = spec.datasets.get(values.each)
        place = ("jobs", name, "matrix", axis)
        if dataset is None:
            message = f"`each` names no dataset {quote_name(values.each)} declared in `datasets`"
            faults.append(Fault(place, message, word=values.each, candidates=tuple(spec.datasets)))
        elif dataset.is_single:
            faults.append(Fault(place, f"dataset '{values.each}' is one file; `each` needs `glob:` or `paths:` there"))
    return faults


def _check_references(spec: DagSpec, producers: dict[str, str]) -> list[Fault]:
    """Look at everything that names a dataset or a job."""
    faults = []
    known = (*spec.datasets, *producers)
    for name, job in spec.jobs.items():
        for dataset in job.inputs:
            if dataset not in spec.datasets and dataset not in producers:
                message = f"no job makes {quote_name(dataset)}, and `datasets` does not declare it"
                faults.append(
                    Fault(
                        ("jobs", name, "inputs", dataset),
                        message,
                        at_key=True,
                        word=dataset,
                        candidates=known,
                    )
                )
        for parent in job.needs:
            if parent not in spec.jobs:
                message = f"needs names no job {quote_name(parent)}"
                faults.append(
                    Fault(
                        ("jobs", name, "needs", parent),
                        message,
                        at_key=True,
                        word=parent,
                        candidates=spec.jobs.keys(),
                    )
                )
    seen: set[str] = set()
    for number, dataset in enumerate(spec.results):
        if dataset not in producers:
            external = " (it is external: nothing makes it)" if dataset in spec.datasets else ""
            message = f"results names no dataset {quote_name(dataset)} that a job makes{external}"
            faults.append(Fault(("results", number), message, word=dataset, candidates=producers.keys()))
        elif dataset in seen:
            faults.append(Fault(("results", number), f"results names {quote_name(dataset)} twice"))
        seen.add(dataset)
    return faults


def _check_clashes(spec: DagSpec, producers: dict[str, str]) -> list[Fault]:
    """Datasets, parameters and axes are variables of one environment, and ``env`` adds to it."""
    owners: dict[str, str] = dict.fromkeys(spec.params, "parameter")
    faults = []
    for name in spec.datasets:
        if name in owners:
            message = f"{quote_name(name)} is a dataset and a {owners[name]}; both would be ${name}"
            faults.append(Fault(("datasets", name), message, at_key=True))
        owners.setdefault(name, "dataset")
    for output, producer in producers.items():
        if owners.get(output) == "parameter":
            message = f"{quote_name(output)} is a dataset and a parameter; both would be ${output}"
            faults.append(Fault(("jobs", producer, "outputs", output), message, at_key=True))
        owners.setdefault(output, "dataset")
    for name, job in spec.jobs.items():
        for axis in list_axes(job.matrix):
            if axis in owners:
                message = f"{quote_name(axis)} is an axis and a {owners[axis]}; both would be ${axis}"
                faults.append(Fault(("jobs", name, "matrix", axis), message, at_key=True))
    owners.update({axis: "axis" for job in spec.jobs.values() for axis in list_axes(job.matrix) if axis not in owners})
    parts: list[tuple[Path, dict[str, str | dict[str, str]]]] = [(("defaults",), spec.defaults.env)]
    parts += [(("jobs", name), job.env) for name, job in spec.jobs.items() if job.env]
    return faults + _check_env_clashes(owners, parts)


def _check_env_clashes(
    owners: dict[str, str], parts: list[tuple[Path, dict[str, str | dict[str, str]]]]
) -> list[Fault]:
    faults = []
    for path, env in parts:
        for name in env:
            kind = owners.get(name)
            if kind is None and name.endswith("_list") and owners.get(name[:-5]) == "dataset":
                kind = "collection's list"
            if kind is not None:
                article = "an" if kind[0] in "ao" else "a"
                message = f"variable {quote_name(name)} is also {article} {kind}; rename one"
                faults.append(Fault((*path, "env", name), message, at_key=True))
    return faults


def _check_cycles(spec: DagSpec, producers: dict[str, str]) -> list[Fault]:
    """Find cycles between families: a member agrees with itself, so it would wait for itself."""
    before: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, job in spec.jobs.items():
        before[("job", name)] = [("dataset", dataset) for dataset in job.inputs if dataset in producers]
        before[("job", name)] += [("job", parent) for parent in job.needs if parent in spec.jobs]
    for dataset, producer in producers.items():
        before[("dataset", dataset)] = [("job", producer)]
    faults: list[Fault] = []
    while len(faults) < MAX_CYCLES:
        try:
            TopologicalSorter(before).prepare()
        except CycleError as error:
            nodes: list[tuple[str, str]] = error.args[1]
            start = next(number for number, node in enumerate(nodes) if node[0] == "job")
            # The last repeats the first; a path reads best from a job back to that job.
            ring = [*nodes[start:-1], *nodes[:start], nodes[start]]
            shown = [*ring[:12], ("", "..."), *ring[-3:]] if len(ring) > 16 else ring
            text = " -> ".join(f"dataset {name}" if kind == "dataset" else name for kind, name in shown)
            kind, name = ring[-2]
            key = "inputs" if kind == "dataset" else "needs"
            # The ring runs from a predecessor to what waits for it; the last edge is the one pointed at.
            path = ("jobs", ring[0][1], key, name)
            faults.append(Fault(path, f"these wait for each other in a cycle: {text}", at_key=True))
            before[ring[0]].remove(ring[-2])
        else:
            break
    return faults


def _check_members(spec: DagSpec, producers: dict[str, str]) -> list[Fault]:
    """Try out the members of families that need no files, so that a file's check tells what loading would."""
    faults: list[Fault] = []
    groups: dict[str, Group] = {}
    tried = 0
    for name, job in spec.jobs.items():
        # A job without a matrix agrees with everything.
        if job.matrix is None or any(isinstance(values, EachSpec) for values in job.matrix.axes.values()):
            continue
        size = count_members(job.matrix, {})
        if size > MAX_MEMBERS or tried + size <= MAX_TRIED:
            members, wrong = expand_matrix(job.matrix, {}, ("jobs", name, "matrix"))
            faults += wrong
            tried += len(members)
            groups[name] = Group(name, list_axes(job.matrix), [Member("", axes) for axes in members])
    for name, family in groups.items():
        job = spec.jobs[name]
        parents: list[tuple[Path, str, str]] = [
            (("inputs", dataset), producers[dataset], mode)
            for dataset, mode in job.inputs.items()
            if dataset in producers
        ]
        parents += [(("needs", parent), parent, "") for parent in job.needs]
        for place, parent, mode in parents:
            group = groups.get(parent)
            if group is None or not group.members:
                continue
            for member in family.members:
                if not group.find_members(member.axes, everything=mode.startswith("all"))[0]:
                    faults.append(make_no_match(name, place, group, member.axes))
                    break
    return faults


def make_no_match(name: str, place: Path, group: Group, axes: dict[str, str]) -> Fault:
    """Return the fault that no member of `group` agrees with a member of family `name`."""
    shared = ", ".join(f"{axis}={value}" for axis, value in axes.items() if axis in group.axes)
    return Fault(
        ("jobs", name, *place),
        f"no member of {quote_name(str(place[-1]))} has {shared}, which a member of '{name}' has; "
        "match the axes' values, or take the whole collection with `all`",
        at_key=True,
    )
