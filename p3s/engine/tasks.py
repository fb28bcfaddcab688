"""What must hold for one job, whether it stands in a DAG or on its own."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from p3s.engine.expressions import check_template, wrap_condition
from p3s.engine.names import check_env_name, check_label, check_variable, quote_name
from p3s.engine.paths import check_relative_path, normalise_path
from p3s.engine.places import check_target
from p3s.engine.problems import Fault
from p3s.engine.spec import JobSpec

if TYPE_CHECKING:
    from collections.abc import Collection

    from p3s.engine.spec import DefaultsSpec, TaskSpec
    from p3s.engine.yamltext import Path

__all__ = ["check_defaults", "check_files", "check_paths", "check_strays", "check_task", "find_payload"]

_REFERENCE = re.compile(r"\$\{\{\s*(?:params|matrix)\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
#: What a sync point has no use for.
_PAYLOAD_KEYS = (
    *("args", "env", "exclusive", "jobtype", "outputs", "priority", "publish", "resources", "retry", "shell"),
    *("timelimit", "verify"),
)
#: Keys of a job whose values may hold expressions.
_TEMPLATE_KEYS = frozenset({"outputs", "env", "args", "publish", "if"})


@cache
def _find_defaults(kind: type[TaskSpec]) -> dict[str, Any]:
    """Return what the keys of a payload are when nothing is said of them."""
    fields = kind.model_fields
    return {key: fields[key].get_default(call_default_factory=True) for key in _PAYLOAD_KEYS if key in fields}


def check_task(task: TaskSpec, path: Path, params: Collection[str], axes: Collection[str]) -> list[Fault]:
    """Return what is wrong with a job, looked at alone.

    Parameters
    ----------
    task : TaskSpec
        The job.
    path : tuple
        Where it stands.
    params, axes : collection of str
        Names that expressions may use.

    Returns
    -------
    list of Fault
        All that is wrong.

    Examples
    --------
    >>> from p3s.engine.spec import JobSpec
    >>> check_task(JobSpec(run="echo ${{ params.run }}"), ("jobs", "a"), ["run"], [])[0].message
    '`run` is no template: write "$run" instead of ${{ params.run }}'
    """
    faults = check_defaults(task, path, params, axes)
    if task.run is None and task.payload is None:
        # What equals the default says nothing; a body that came over the wire spells all keys out.
        for key, default in _find_defaults(type(task)).items():
            if getattr(task, key) == default:
                continue
            message = f"`{key}` has no effect: the job has neither `run` nor `payload`, it only waits"
            faults.append(Fault((*path, key), message, at_key=True))
    elif task.run is not None and task.payload is not None:
        faults.append(Fault((*path, "payload"), "a job has `run` or `payload`, not both", at_key=True))
    if task.run is not None:
        faults += _check_run(task, path)
    if task.payload is not None:
        faults += _check_payload(task, path)
    for name, output in task.outputs.items():
        if wrong := check_variable(name):
            faults.append(Fault((*path, "outputs", name), f"output {quote_name(name)} {wrong}", at_key=True))
        faults += _check_templates((*path, "outputs", name), output.path or "", params, axes)
        if output.type and (wrong := check_label(output.type)):
            faults.append(Fault((*path, "outputs", name, "type"), f"datatype {quote_name(output.type)} {wrong}"))
    for number, argument in enumerate(task.args):
        faults += _check_templates((*path, "args", number), argument, params, axes)
    for name, target in task.publish.items():
        if name not in task.outputs:
            faults.append(
                Fault(
                    (*path, "publish", name),
                    f"publish names no output {quote_name(name)}",
                    at_key=True,
                    word=name,
                    candidates=tuple(task.outputs),
                )
            )
        faults += _check_templates((*path, "publish", name), target, params, axes)
        if "${{" not in target and (wrong := check_target(target)):
            faults.append(Fault((*path, "publish", name), f"published name {quote_name(target)} {wrong}"))
    literal = {name: output.path or name for name, output in task.outputs.items() if "${{" not in (output.path or "")}
    faults += check_paths(literal, path)
    if isinstance(task, JobSpec) and task.condition is not None:
        faults += _check_templates((*path, "if"), wrap_condition(task.condition), params, axes)
    return faults


def check_defaults(part: DefaultsSpec, path: Path, params: Collection[str], axes: Collection[str]) -> list[Fault]:
    """Return what is wrong with the keys that ``defaults`` and jobs share."""
    faults: list[Fault] = []
    for name, value in part.env.items():
        if wrong := check_env_name(name):
            faults.append(Fault((*path, "env", name), f"variable {quote_name(name)} {wrong}", at_key=True))
        if isinstance(value, str):
            faults += _check_templates((*path, "env", name), value, params, axes)
    if part.jobtype is not None and (wrong := check_label(part.jobtype)):
        faults.append(Fault((*path, "jobtype"), f"jobtype {quote_name(part.jobtype)} {wrong}"))
    if part.shell is not None and not part.shell.strip():
        faults.append(Fault((*path, "shell"), "is empty; leave it out for `bash -eo pipefail`"))
    for number, label in enumerate((part.resources and part.resources.labels) or []):
        if wrong := check_label(label):
            faults.append(Fault((*path, "resources", "labels", number), f"label {quote_name(label)} {wrong}"))
    return faults


def check_files(files: list[str], path: Path) -> list[Fault]:
    """Return what is wrong with the list of files that travel."""
    faults = []
    seen: set[str] = set()
    for number, file in enumerate(files):
        if wrong := check_relative_path(file):
            faults.append(Fault((*path, number), f"file {quote_name(file)} {wrong}"))
        elif normalise_path(file) in seen:
            faults.append(Fault((*path, number), f"file {quote_name(file)} is named twice"))
        seen.add(normalise_path(file))
    return faults


def check_paths(paths: dict[str, str], path: Path) -> list[Fault]:
    """Return what is wrong with the paths of a job's outputs, by their names.

    Parameters
    ----------
    paths : dict of str to str
        Rendered paths.
    path : tuple
        Where the job stands.

    Returns
    -------
    list of Fault
        Paths that leave the attempt's folder, and files that would be one another or folders of one another.

    Examples
    --------
    >>> check_paths({"a": "x", "b": "./x"}, ())[0].message
    "outputs 'a' and 'b' are the same file 'x'"
    """
    faults = []
    owners: dict[str, str] = {}
    for name, file in paths.items():
        place = (*path, "outputs", name)
        if wrong := check_relative_path(file):
            faults.append(Fault(place, f"path {quote_name(file)} of output '{name}' {wrong}"))
            continue
        plain = normalise_path(file)
        if plain in owners:
            faults.append(Fault(place, f"outputs '{owners[plain]}' and '{name}' are the same file {quote_name(plain)}"))
        owners.setdefault(plain, name)
    for plain, name in owners.items():
        parts = plain.split("/")
        folders = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if clash := next((folder for folder in folders if folder in owners), None):
            message = f"output '{name}' needs as a folder what is the file of output '{owners[clash]}'"
            faults.append(Fault((*path, "outputs", name), message))
    return faults


def check_strays(data: Any) -> list[Fault]:
    """Return every ``${{ }}`` where no expression is evaluated, and every NUL.

    Parameters
    ----------
    data : object
        A document as plain data.

    Returns
    -------
    list of Fault
        Nothing is accepted that has no effect; ``run`` has a check of its own.

    Examples
    --------
    >>> check_strays({"name": "${{ params.x }}"})[0].message
    '${{ }} is not evaluated here; it is in paths, match, env, args, publish and if'
    """
    faults: list[Fault] = []
    pending: list[tuple[Path, Any]] = [((), data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending.extend(((*path, key), item) for key, item in value.items())
            # Null characters in keys are found by the checks of names.
        elif isinstance(value, list | tuple):
            pending.extend(((*path, number), item) for number, item in enumerate(value))
        elif isinstance(value, str):
            if "\0" in value:
                faults.append(Fault(path, "holds a NUL character"))
            if "${{" in value and not _takes_template(path):
                faults.append(
                    Fault(path, "${{ }} is not evaluated here; it is in paths, match, env, args, publish and if")
                )
    return faults


def _takes_template(path: Path) -> bool:
    if path[0] == "datasets":
        return len(path) == 2 or path[2] in {"path", "paths", "glob", "match"}
    # What is left is a path within a job, within the defaults, or within a standalone job.
    rest = path[2:] if path[0] == "jobs" else path[1:] if path[0] == "defaults" else path
    return rest[:1] == ("run",) or (bool(rest) and rest[0] in _TEMPLATE_KEYS and rest[-1] != "type")


def find_payload(task: TaskSpec) -> str | None:
    """Return the path of a payload that travels with the file, or None.

    Parameters
    ----------
    task : TaskSpec
        The job.

    Returns
    -------
    str or None
        Relative to the YAML.

    Examples
    --------
    >>> from p3s.engine.spec import JobSpec
    >>> find_payload(JobSpec(payload="./report.sh")), find_payload(JobSpec(payload="/bin/true"))
    ('report.sh', None)
    """
    if task.payload is None or task.payload.startswith("/"):
        return None
    return normalise_path(task.payload)


def _check_run(task: TaskSpec, path: Path) -> list[Fault]:
    assert task.run is not None
    faults = []
    if not task.run.strip():
        faults.append(Fault((*path, "run"), "is empty; leave it out for a job that only waits"))
    if "${{" in task.run:
        match = _REFERENCE.search(task.run)
        advice = f'write "${match[1]}" instead of {match[0]}' if match else "parameters and axes are variables there"
        faults.append(Fault((*path, "run"), f"`run` is no template: {advice}"))
    if task.args:
        faults.append(
            Fault((*path, "args"), "args go with `payload`; in `run`, write them into the script", at_key=True)
        )
    return faults


def _check_payload(task: TaskSpec, path: Path) -> list[Fault]:
    assert task.payload is not None
    faults = []
    if task.shell is not None:
        faults.append(Fault((*path, "shell"), "`shell` goes with `run`; a payload is started as it is", at_key=True))
    # An absolute path is one below the root: where it leads is the affair of the pilot's host.
    wrong = check_relative_path(f"root{task.payload}" if task.payload.startswith("/") else task.payload)
    if wrong:
        advice = "" if " " not in task.payload else "; arguments go into `args:`, a command line into `run:`"
        faults.append(Fault((*path, "payload"), f"payload {quote_name(task.payload)} {wrong}{advice}"))
    return faults


def _check_templates(path: Path, text: str, params: Collection[str], axes: Collection[str]) -> list[Fault]:
    return [Fault(path, message) for message in check_template(text, params, axes)]
