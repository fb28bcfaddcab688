"""The job list of the first p3s: JSON with numbers as text, ``timeout`` and ``state``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p3s.engine.checks import check_standalone
from p3s.engine.load import validate_data
from p3s.engine.payloads import convert_payload
from p3s.engine.problems import Fault, Source, raise_faults
from p3s.engine.spec import StandaloneSpec
from p3s.engine.tasks import check_strays
from p3s.engine.units import describe, shorten
from p3s.engine.yamltext import MAX_PROBLEMS, read_yaml

if TYPE_CHECKING:
    from p3s.engine.yamltext import Path

__all__ = ["read_job_list"]

#: The original's name for a time limit, and ours.
_TIMEOUT, _TIMELIMIT = "timeout", "timelimit"
#: The states that a new job may have: whether it is held.
_STATES = {"defined": False, "template": True}


def read_job_list(text: str, file: str) -> list[StandaloneSpec]:
    """Return the standalone jobs of the original's job list.

    Parameters
    ----------
    text : str
        A JSON list of jobs, or a single one. Keys of standalone jobs may stand beside those of the original.
    file : str
        The file's name, for messages.

    Returns
    -------
    list of StandaloneSpec
        Checked; the state ``template`` has become ``hold``.

    Raises
    ------
    BadInput
        With all problems.

    Examples
    --------
    >>> text = '[{"name": "a", "timeout": "100", "payload": "/bin/true", "state": "template"}]'
    >>> spec = read_job_list(text, "x.json")[0]
    >>> spec.timelimit, spec.hold
    (100.0, True)
    """
    data = read_yaml(text, file)
    items: list[tuple[Path, Any]] = [((), data)]
    if isinstance(data, list):
        items = [((number,), item) for number, item in enumerate(data)]
    source = Source(text, file)
    if not items:
        raise_faults([Fault((), "the list has no jobs")], source)
    faults: list[Fault] = []
    specs = []
    for path, item in items:
        spec, wrong = _read_job(item)
        faults += [
            Fault((*path, *_rename(fault.path, item)), fault.message, fault.at_key, fault.word, fault.candidates)
            for fault in wrong
        ]
        specs += [spec] if spec is not None else []
        if len(faults) > MAX_PROBLEMS:
            break
    raise_faults(faults, source)
    return specs


def _read_job(item: Any) -> tuple[StandaloneSpec | None, list[Fault]]:
    if not isinstance(item, dict):
        return None, [Fault((), f"a job must be a mapping, is {describe(item)}")]
    data = dict(item)
    faults: list[Fault] = []
    if _TIMEOUT in data:
        if _TIMELIMIT in data:
            faults.append(Fault((_TIMEOUT,), "a job has `timeout` or `timelimit`, not both", at_key=True))
        data[_TIMELIMIT] = data.pop(_TIMEOUT)
    if isinstance(data.get("payload"), str) and not data.keys() & {"args", "run", "shell"}:
        env = data["env"] if isinstance(data.get("env"), dict) else {}
        how = convert_payload(data.pop("payload"), env)
        data |= how
    if "state" in data:
        state = data.pop("state")
        if not isinstance(state, str) or state not in _STATES:
            message = f"a new job's state is one of {', '.join(_STATES)}, not {describe(state)}"
            word = shorten(state) if isinstance(state, str) else ""
            faults.append(Fault(("state",), message, word=word, candidates=tuple(_STATES)))
        elif _STATES[state]:
            data["hold"] = "true"
    spec, wrong = validate_data(StandaloneSpec, data)
    faults += wrong + check_strays(item)
    faults += check_standalone(spec) if spec is not None else []
    return spec, faults


def _rename(path: Path, item: Any) -> Path:
    """Return a path as the user wrote it."""
    if path[:1] == (_TIMELIMIT,) and _TIMEOUT in item:
        return (_TIMEOUT, *path[1:])
    return path
