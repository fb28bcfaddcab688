"""Changes to a DAG for one workflow: what is set by path, and the original's file and job information."""

from __future__ import annotations

import copy
import posixpath
from typing import TYPE_CHECKING, Any

from p3s.engine.checks import check_dag, check_standalone, find_producers
from p3s.engine.families import list_axes
from p3s.engine.load import validate_data
from p3s.engine.names import make_extension, sanitise_value
from p3s.engine.payloads import convert_payload
from p3s.engine.problems import Fault, raise_faults, suggest_word
from p3s.engine.spec import DagSpec, StandaloneSpec
from p3s.engine.writing import dump_spec
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["convert_file_info", "convert_job_info", "name_files", "override_dag", "override_job"]

#: What may be changed for one workflow; the rest is the DAG itself.
_PARTS = ("jobs", "datasets", "defaults", "deadline", "on-deadline", "results")


def override_dag(spec: DagSpec, overrides: Mapping[str, Any]) -> DagSpec:
    r"""Return a DAG with some values set otherwise.

    Parameters
    ----------
    spec : DagSpec
        What was loaded.
    overrides : mapping of str to value
        Values by path, such as ``jobs.reduce.env.X``; None takes a key out.

    Returns
    -------
    DagSpec
        Checked anew.

    Raises
    ------
    BadInput
        With every path that leads nowhere, and all that does not fit.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> spec = load_dag("name: x\njobs: {a: {run: 'true'}}", "x.yaml")
    >>> override_dag(spec, {"jobs.a.env.X": "1", "jobs.a.priority": "4"}).jobs["a"].env
    {'X': '1'}
    """
    if not overrides:
        return spec
    data = copy.deepcopy(dump_spec(spec))
    faults: list[Fault] = []
    for path, value in overrides.items():
        if wrong := _set(data, path, value):
            faults.append(Fault((), f"cannot set '{path}': {wrong}"))
    raise_faults(faults, None)
    made, faults = validate_data(DagSpec, data)
    if made is not None:
        faults += check_dag(made, whole=not faults)
    raise_faults(faults, spec._source)  # noqa: SLF001  # Private to the package.
    assert made is not None
    made._source = spec._source  # noqa: SLF001  # As above.
    return made


def override_job(spec: StandaloneSpec, overrides: Mapping[str, Any]) -> StandaloneSpec:
    """Return a standalone job with some values set otherwise.

    Parameters
    ----------
    spec : StandaloneSpec
        What was loaded.
    overrides : mapping of str to value
        Values by path, such as ``env.X``.

    Returns
    -------
    StandaloneSpec
        Checked anew.

    Raises
    ------
    BadInput
        With all that does not fit.

    Examples
    --------
    >>> from p3s.engine.spec import StandaloneSpec
    >>> override_job(StandaloneSpec(run="date"), {"env.X": "1", "payload": "/bin/ls"}).payload
    '/bin/ls'
    """
    if not overrides:
        return spec
    # A job of a DAG and a standalone one are changed alike.
    data = {"jobs": {"": copy.deepcopy(dump_spec(spec))}}
    faults = []
    for path, value in overrides.items():
        if wrong := _set(data, f"jobs..{path}", value):
            faults.append(Fault((), f"cannot set '{path}': {wrong}"))
    made, wrongs = validate_data(StandaloneSpec, data["jobs"][""])
    faults += wrongs + (check_standalone(made) if made is not None else [])
    raise_faults(faults, None)
    assert made is not None
    made._source = spec._source  # noqa: SLF001  # As above.
    return made


def convert_job_info(spec: DagSpec, info: Any) -> dict[str, Any]:
    r"""Return as overrides what the original's job information says.

    Parameters
    ----------
    spec : DagSpec
        The DAG.
    info : object
        ``{"node": {"payload": ..., "env": {...}}}``; also ``jobtype``, ``timelimit`` and ``priority``.

    Returns
    -------
    dict
        Values by path.

    Raises
    ------
    BadInput
        With all problems.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> spec = load_dag("name: x\njobs: {a: {run: 'true'}}", "x.yaml")
    >>> convert_job_info(spec, {"a": {"payload": "/bin/date -u", "env": {"X": 1}}})
    {'jobs.a.payload': '/bin/date', 'jobs.a.args': ['-u'], 'jobs.a.env.X': '1'}
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    known = ("payload", "env", "jobtype", "timelimit", "priority")
    for node, values in _read_info(info, known, problems, "--jobs").items():
        if node not in spec.jobs:
            problems.append(Problem(f"there is no job '{node}'{suggest_word(node, spec.jobs)}", where="--jobs"))
            continue
        env = values.get("env", {})
        if not isinstance(env, dict):
            problems.append(Problem(f"`env` of '{node}' must be an object of texts", where="--jobs"))
            continue
        if "payload" in values:
            how = convert_payload(str(values["payload"]), env | spec.jobs[node].env)
            found |= {f"jobs.{node}.{key}": value for key, value in how.items()}
        found |= {f"jobs.{node}.env.{name}": str(value) for name, value in env.items()}
        found |= {f"jobs.{node}.{key}": str(values[key]) for key in known[2:] if key in values}
    if problems:
        raise BadInput(problems)
    return found


def convert_file_info(spec: DagSpec, info: Any) -> dict[str, Any]:
    r"""Return as overrides what the original's file information says.

    Parameters
    ----------
    spec : DagSpec
        The DAG.
    info : object
        ``{"source:target": {"name": ..., "dirpath": ..., "comment": ...}}``. With several data between two jobs
        ``datatag`` says which. The source of external data is a job that the target needs, or nothing.

    Returns
    -------
    dict
        Values by path.

    Raises
    ------
    BadInput
        With all problems.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> text = "name: x\njobs: {a: {outputs: {y: y.txt}, run: x}, b: {inputs: [y], run: z}}"
    >>> convert_file_info(load_dag(text, "x.yaml"), {"a:b": {"name": "new.txt", "dirpath": "/data"}})
    {'jobs.a.outputs.y.path': 'new.txt', 'jobs.a.publish.y': '/data/new.txt'}
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    producers, _ = find_producers(spec)
    for edge, values in _read_info(info, ("name", "dirpath", "comment", "datatag"), problems, "--files").items():
        wanted = values.get("datatag")
        tags = [tag for tag in _find_data(spec, producers, edge) if wanted in {None, tag}]
        if len(tags) != 1:
            said = (
                f"there are several data ({', '.join(tags)}); `datatag` says which" if tags else "there is no such edge"
            )
            problems.append(Problem(f"'{edge}': {said}", where="--files"))
            continue
        change = _move_file(spec, producers.get(tags[0]), tags[0], values)
        clash = next((path for path, value in change.items() if found.get(path, value) != value), None)
        if clash is not None:
            message = f"'{edge}' and another edge carry the same data, and name it differently"
            problems.append(Problem(message, where="--files"))
        found |= change
    if problems:
        raise BadInput(problems)
    return found


def name_files(spec: DagSpec, policy: str, extensions: Mapping[str, str]) -> dict[str, Any]:
    r"""Return as overrides the file names that a policy gives to what jobs make.

    Parameters
    ----------
    spec : DagSpec
        The DAG.
    policy : str
        ``sticky`` keeps the DAG's names; ``inherit:TEXT`` makes them of TEXT, the job and the variable.
    extensions : mapping of str to str
        Those of registered datatypes.

    Returns
    -------
    dict
        Values by path.

    Raises
    ------
    BadInput
        If there is no such policy.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> spec = load_dag("name: x\njobs: {a: {outputs: {y: {path: y.txt}}, run: x}}", "x.yaml")
    >>> name_files(spec, "inherit:run7", {}), name_files(spec, "sticky", {})
    ({'jobs.a.outputs.y.path': 'run7-a-y.txt'}, {})
    """
    kind, _, text = policy.partition(":")
    if policy == "sticky":
        return {}
    if kind != "inherit" or sanitise_value(text) != text:
        message = f"'{policy}' is neither `sticky` nor `inherit:TEXT` with letters, digits and '_.:-'"
        raise BadInput([Problem(message, where="--names")])
    found: dict[str, Any] = {}
    for name, job in spec.jobs.items():
        axes = "".join("-${{ matrix." + axis + " }}" for axis in list_axes(job.matrix))
        for tag, output in job.outputs.items():
            # An extension is what follows the last dot of the last part, unless that is all there is of it.
            stem, dot, extension = posixpath.basename(output.path or "").rpartition(".")
            ending = f".{extension}" if dot and stem else make_extension(output.type, extensions)
            file = f"{text}-{sanitise_value(name)}-{tag}{axes}{ending}"
            found |= _move_file(spec, name, tag, {"name": file})
    return found


def _set(data: dict[str, Any], path: str, value: Any) -> str:
    """Set one value, and return why it cannot be, or nothing."""
    part, _, rest = path.partition(".")
    if part not in _PARTS:
        return f"a path begins with {', '.join(_PARTS)}{suggest_word(part, _PARTS)}"
    keys = [part]
    if part in {"jobs", "datasets"}:
        there = data.get(part, {})
        # Names may hold dots: the longest that fits is meant.
        fitting = [name for name in there if rest == name or rest.startswith(f"{name}.")]
        if not fitting:
            name = rest.partition(".")[0]
            return f"there is no '{name}' in `{part}`{suggest_word(name, there)}"
        name = max(fitting, key=len)
        keys.append(name)
        rest = rest[len(name) + 1 :]
        if not rest:
            return f"say what of '{name}', such as {path}.{'env.X' if part == 'jobs' else 'path'}"
    keys += rest.split(".") if rest else []
    target = data
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            return f"'{key}' has no parts"
    if value is None:
        target.pop(keys[-1], None)
        return ""
    target[keys[-1]] = value
    # A job has one payload: the new one takes the old one's place.
    for stale in {"run": ("payload", "args"), "payload": ("run", "shell", "args")}.get(keys[-1], ()):
        if part == "jobs" and len(keys) == 3:
            target.pop(stale, None)
    return ""


def _read_info(info: Any, known: tuple[str, ...], problems: list[Problem], where: str) -> dict[str, dict[str, Any]]:
    if not isinstance(info, dict):
        problems.append(Problem("must be a JSON object", where=where))
        return {}
    found = {}
    for name, values in info.items():
        if not isinstance(values, dict):
            message = f"'{name}' must be an object with the keys {', '.join(known)}"
            problems.append(Problem(message, where=where))
            continue
        for key in sorted(values.keys() - set(known)):
            message = f"'{name}' has an unknown key '{key}'; known are {', '.join(known)}{suggest_word(key, known)}"
            problems.append(Problem(message, where=where))
        found[name] = values
    return found


def _find_data(spec: DagSpec, producers: Mapping[str, str], edge: str) -> list[str]:
    """Return the variables of the data on the edge ``source:target``; both names may hold colons."""
    found = []
    for position, char in enumerate(edge):
        source, target = edge[:position], edge[position + 1 :]
        if char != ":" or target not in spec.jobs:
            continue
        job = spec.jobs[target]
        for tag in job.inputs:
            outside = tag not in producers and (not source or source in job.needs)
            found += [tag] if producers.get(tag) == source or outside else []
    return found


def _move_file(spec: DagSpec, producer: str | None, tag: str, values: Mapping[str, Any]) -> dict[str, Any]:
    if producer is None:
        external = spec.datasets[tag]
        where, comment = f"datasets.{tag}", f"datasets.{tag}.comment"
        head, _, tail = (external.path or "").rpartition("/")
    else:
        job = spec.jobs[producer]
        where, comment = f"jobs.{producer}", f"jobs.{producer}.outputs.{tag}.comment"
        head, _, tail = (job.publish.get(tag) or job.outputs[tag].path or "").rpartition("/")
    place = posixpath.join(str(values.get("dirpath", head)), str(values.get("name", tail)))
    said = {comment: str(values["comment"])} if "comment" in values else {}
    if not values.keys() & {"name", "dirpath"}:
        return said
    if producer is None:
        return {f"{where}.path": place} | said
    name = posixpath.basename(place)
    if not posixpath.isabs(place):
        return {f"{where}.outputs.{tag}.path": place if name else place + tag} | said
    # A file that nothing names keeps the name that its datatype gives it.
    renamed = {f"{where}.outputs.{tag}.path": name} if name else {}
    return renamed | {f"{where}.publish.{tag}": place} | said
