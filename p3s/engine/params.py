"""Parameters: declared with a type, given as text."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from p3s.engine.names import check_variable, quote_name
from p3s.engine.problems import Fault
from p3s.engine.units import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.engine.spec import DagSpec, ParamSpec

__all__ = ["MAX_VALUE", "check_params", "resolve_params"]

#: Characters of one value: it becomes an environment variable.
MAX_VALUE = 32_000
_INT = re.compile(r"[+-]?[0-9]{1,300}")
_TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def check_params(spec: DagSpec) -> list[Fault]:
    """Return what is wrong with the declarations.

    Parameters
    ----------
    spec : DagSpec
        The DAG.

    Returns
    -------
    list of Fault
        Bad names, and defaults that do not fit.
    """
    faults = []
    for name, param in spec.params.items():
        if wrong := check_variable(name):
            faults.append(Fault(("params", name), f"parameter {quote_name(name)} {wrong}", at_key=True))
        for number, choice in enumerate(param.choices or []):
            if wrong := _convert(param, choice, choices=False)[1]:
                faults.append(Fault(("params", name, "choices", number), wrong))
        if param.default is not None and (wrong := _convert(param, param.default)[1]):
            faults.append(Fault(("params", name, "default"), f"the default of {quote_name(name)} {wrong}"))
    return faults


def resolve_params(
    spec: DagSpec, given: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str | int | float | bool], list[Fault]]:
    r"""Return each parameter's value as text and in its type, and what is wrong with those given.

    Parameters
    ----------
    spec : DagSpec
        The DAG.
    given : mapping of str to str
        Values from the user.

    Returns
    -------
    tuple of dict, dict, list of Fault
        Texts stay as they were written (``004610``); typed values are for ``if``.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> spec = load_dag("name: x\nparams: {run: {type: int}}\njobs: {a: {run: echo $run}}", "x.yaml")
    >>> resolve_params(spec, {"run": "0046"})[:2]
    ({'run': '0046'}, {'run': 46})
    """
    texts: dict[str, str] = {}
    typed: dict[str, str | int | float | bool] = {}
    faults = [
        Fault(
            ("params",),
            f"no parameter {quote_name(name)}" + ("" if spec.params else "; this DAG has none"),
            word=name,
            candidates=tuple(spec.params),
        )
        for name in given
        if name not in spec.params
    ]
    for name, param in spec.params.items():
        value = given.get(name, param.default)
        if value is None:
            meaning = f" ({shorten(param.help)})" if param.help else ""
            faults.append(
                Fault(
                    ("params", name),
                    f"parameter '{name}'{meaning} is required; give -p {name}=VALUE",
                    at_key=True,
                )
            )
            continue
        texts[name] = value
        typed[name], wrong = _convert(param, value)
        if wrong:
            faults.append(Fault(("params", name), f"parameter '{name}' {wrong}", at_key=True))
    return texts, typed, faults


def _convert(param: ParamSpec, text: str, *, choices: bool = True) -> tuple[str | int | float | bool, str]:
    """Return the typed value and why it does not fit, if so."""
    if len(text) > MAX_VALUE or "\0" in text:
        return text, f"has more than {MAX_VALUE:,} characters, or a NUL among them"
    if choices and param.choices is not None and text not in param.choices:
        return (
            text,
            f"is '{shorten(text)}', not one of {', '.join(shorten(choice) for choice in param.choices[:20])}",
        )
    if param.type == "int":
        return (int(text), "") if _INT.fullmatch(text) else (0, f"must be a whole number, is '{shorten(text)}'")
    if param.type == "float":
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        return number, "" if math.isfinite(number) else f"must be a number, is '{shorten(text)}'"
    if param.type == "bool":
        truth = _TRUTH.get(text.lower())
        return bool(truth), "" if truth is not None else f"must be true or false, is '{shorten(text)}'"
    return text, ""
