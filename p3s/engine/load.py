"""From YAML text to a checked spec: all problems in one pass, each with its place."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from p3s.engine.checks import check_dag, check_standalone
from p3s.engine.collector import pause_collector
from p3s.engine.problems import Fault, Source, raise_faults
from p3s.engine.spec import (
    DagSpec,
    StandaloneSpec,
)
from p3s.engine.tasks import check_strays
from p3s.engine.units import describe, shorten
from p3s.engine.yamltext import Path, read_yaml
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["is_standalone", "load_dag", "load_standalone", "validate_data"]

#: Rounds of taking out what does not fit, so that the rest can be checked in the same pass.
MAX_ROUNDS = 5

AnySpec = TypeVar("AnySpec", bound=BaseModel)


def is_standalone(text: str, file: str) -> bool:
    """Return whether a document is a standalone job: its top level has ``run`` or ``payload``.

    Parameters
    ----------
    text : str
        YAML or JSON.
    file : str
        The file's name, for messages.

    Returns
    -------
    bool
        False for everything else that can be read.

    Raises
    ------
    BadInput
        If it cannot be read.

    Examples
    --------
    >>> is_standalone("run: echo hello", "x.yaml"), is_standalone("name: x", "x.yaml")
    (True, False)
    """
    data = read_yaml(text, file)
    return isinstance(data, dict) and bool(data.keys() & {"run", "payload"})


@pause_collector()
def load_dag(text: str, file: str) -> DagSpec:
    r"""Return the DAG that a text describes.

    Parameters
    ----------
    text : str
        YAML or JSON.
    file : str
        The file's name, for messages.

    Returns
    -------
    DagSpec
        Checked, as far as it can be without parameters and files.

    Raises
    ------
    BadInput
        With all problems; a syntax error comes alone.

    Examples
    --------
    >>> sorted(load_dag("name: x\njobs: {a: {run: echo hello}}", "x.yaml").jobs)
    ['a']
    """
    data = _read_mapping(text, file)
    if data.keys() & {"run", "payload"} and "jobs" not in data:
        raise BadInput(
            [
                Problem(
                    "this is a standalone job; use `p3s job create standalone`, or put it under `jobs:`",
                    file=file,
                )
            ]
        )
    source = Source(text, file)
    spec, faults = validate_data(DagSpec, data)
    faults += _check_text(text, data)
    if spec is not None:
        # Members are tried out with all values there, or not at all.
        faults += check_dag(spec, whole=not faults)
    raise_faults(faults, source)
    assert spec is not None
    spec._source = source  # noqa: SLF001  # Private to the package: no key of the document.
    return spec


def load_standalone(text: str, file: str) -> StandaloneSpec:
    """Return the standalone job that a text describes.

    Parameters
    ----------
    text : str
        YAML or JSON.
    file : str
        The file's name, for messages.

    Returns
    -------
    StandaloneSpec
        Checked.

    Raises
    ------
    BadInput
        With all problems; a syntax error comes alone.

    Examples
    --------
    >>> load_standalone("run: echo hello", "x.yaml").name
    'job'
    """
    data = _read_mapping(text, file)
    if "jobs" in data:
        raise BadInput([Problem("this is a workflow; use `p3s workflow load`", file=file)])
    source = Source(text, file)
    spec, faults = validate_data(StandaloneSpec, data)
    faults += _check_text(text, data)
    faults += check_standalone(spec) if spec is not None else []
    raise_faults(faults, source)
    assert spec is not None
    spec._source = source  # noqa: SLF001  # As above.
    return spec


def _read_mapping(text: str, file: str) -> dict[str, Any]:
    data = read_yaml(text, file)
    if data is None:
        raise BadInput([Problem("is empty; `p3s workflow schema` describes what may stand in it", file=file)])
    if not isinstance(data, dict):
        raise BadInput(
            [
                Problem(
                    f"must hold keys such as `name:` and `jobs:`, is {describe(data)}",
                    file=file,
                    line=1,
                    column=1,
                )
            ]
        )
    return data


def _check_text(text: str, data: Any) -> list[Fault]:
    # A walk over all of a large document is spared where it cannot find anything; a NUL needs an escape.
    return check_strays(data) if "${{" in text or "\\" in text else []


def validate_data(model: type[AnySpec], data: dict[str, Any]) -> tuple[AnySpec | None, list[Fault]]:
    """Validate, and where parts do not fit go on without them, so that the rest is checked, too.

    Parameters
    ----------
    model : type
        `DagSpec` or `StandaloneSpec`.
    data : dict
        Plain data.

    Returns
    -------
    tuple of (spec or None, list of Fault)
        A spec of what fits, and what does not; None where too little fits.

    Examples
    --------
    >>> spec, faults = validate_data(StandaloneSpec, {"run": "x", "priority": "high"})
    >>> spec.run, faults[0].message
    ('x', "must be a whole number, is 'high'")
    """
    faults: list[Fault] = []
    for round_number in range(MAX_ROUNDS):
        try:
            return model.model_validate(data), faults
        except ValidationError as error:
            details = error.errors(include_url=False)
            if round_number == 0:
                data = copy.deepcopy(data)
                faults = [_make_fault(model, detail) for detail in details]
            for detail in details:
                _take_out(data, detail, round_number)
    return None, faults


def _take_out(data: Any, detail: ErrorDetails, round_number: int) -> None:
    """Remove what an error is about: first as little as possible, in later rounds more."""
    path = detail["loc"]
    if detail["type"] == "missing":
        # A name is all that can be made up.
        if path == ("name",):
            data["name"] = "unnamed"
        if round_number < 2:
            return
        # What lacks something after two rounds goes as a whole.
        path = path[:-1]
    # A whole job, dataset or parameter is the most that is taken out: the others are checked.
    least = 2 if path[:1] in {("jobs",), ("datasets",), ("params",), ("rules",)} else 1
    keep = max(len(path) - max(round_number - 1, 0), least)
    *parents, last = path[:keep] or ("",)
    for part in parents:
        # An earlier error of this round may have taken the parent out.
        items = data if isinstance(data, dict) else dict(enumerate(data or ()))
        data = items.get(part)
    if isinstance(data, dict) and last in data:
        # Names stay as long as they can, so that what refers to them is not reported in its turn.
        if keep == 2 and path[0] in {"datasets", "jobs"}:
            data[last] = {"path": "unknown"} if path[0] == "datasets" else None
        elif detail["type"] == "extra_forbidden" or round_number > 0:
            del data[last]
        else:
            data[last] = _choose_stand_in(path)
    elif isinstance(data, list) and isinstance(last, int) and last < len(data):
        data[last] = None


def _choose_stand_in(path: Path) -> Any:
    """Return what takes the place of a value that does not fit, so that its absence is no problem of its own."""
    if path[2:3] == ("matrix",) and path[3:4] not in {("include",), ("exclude",)}:
        return ["unknown"]
    return "unknown" if path[-1] in {"run", "payload"} or path[2:3] == ("matrix",) else None


def _make_fault(model: type[BaseModel], detail: ErrorDetails) -> Fault:
    path: Path = tuple(detail["loc"])
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        keys = _find_keys(model, path[:-1])
        return Fault(path, f"unknown key '{shorten(path[-1])}'", at_key=True, word=str(path[-1]), candidates=keys)
    if kind == "missing":
        return Fault(path[:-1], f"the key `{path[-1]}:` is missing", at_key=True)
    if kind == "literal_error":
        allowed = str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        message = (
            f"'{shorten(value)}' is not one of {', '.join(allowed)}"
            if isinstance(value, str)
            else (f"must be one of {', '.join(allowed)}, is {describe(value)}")
        )
        return Fault(path, message, word=value if isinstance(value, str) else "", candidates=allowed)
    return Fault(path, _word_error(kind, context, value, detail["msg"]))


def _word_error(kind: str, context: dict[str, Any], value: Any, message: str) -> str:
    """Return an error of pydantic in the words of a YAML file."""
    if kind in {"dict_type", "model_type", "model_attributes_type"}:
        return f"must be a mapping (`key: value`), is {describe(value)}"
    if kind == "list_type":
        return f"must be a list, is {describe(value)}"
    if kind.startswith("int_"):
        return f"must be a whole number, is {describe(value)}"
    if kind.startswith("float_"):
        return f"must be a number, is {describe(value)}"
    if kind.startswith("bool_"):
        return f"must be true or false, is {describe(value)}"
    if kind == "too_short":
        return "must not be empty"
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in bounds:
        words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
        return f"must be {words[bounds[kind]]} {context[bounds[kind]]:,}, is {describe(value)}"
    return message


def _find_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that are allowed at a path."""
    found: type[BaseModel] = model
    named = False
    for part in path:
        if named or isinstance(part, int):
            # A name that the user chose, or a place in a list.
            named = False
            continue
        field = next((field for key, field in found.model_fields.items() if (field.alias or key) == part), None)
        if field is None:
            break
        named = get_origin(field.annotation) in {dict, list}
        found = _find_model(field.annotation) or found
    return [field.alias or name for name, field in found.model_fields.items()]


def _find_model(annotation: Any) -> type[BaseModel] | None:
    """Return the first model that an annotation names, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _find_model(part))), None)
