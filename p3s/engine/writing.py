"""From a spec back to text: YAML and JSON that read as the same spec; and what a text is written in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from p3s.engine.spec import DagSpec, StandaloneSpec, TaskSpec

__all__ = ["dump_spec", "is_graphml", "write_json", "write_yaml"]


def dump_spec(spec: DagSpec | StandaloneSpec | TaskSpec) -> dict[str, Any]:
    r"""Return a spec as plain data, without what has its default.

    Parameters
    ----------
    spec : DagSpec, StandaloneSpec or TaskSpec
        A checked spec.

    Returns
    -------
    dict
        Keys as in a file.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> dump_spec(load_dag("name: x\njobs: {a: {needs: [], run: 'true', retry: 0}}", "x.yaml"))
    {'name': 'x', 'jobs': {'a': {'retry': {}, 'run': 'true'}}}
    """
    data: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return data


def is_graphml(text: str) -> bool:
    """Tell whether a text is XML rather than YAML or JSON.

    Examples
    --------
    >>> is_graphml(" <?xml version='1.0'?>"), is_graphml("name: x")
    (True, False)
    """
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def write_json(spec: DagSpec) -> str:
    r"""Return a DAG as JSON, which loads as its YAML does.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> write_json(load_dag("name: x\njobs: {a: {run: 'true'}}", "x.yaml")).split()
    ['{', '"name":', '"x",', '"jobs":', '{', '"a":', '{', '"run":', '"true"', '}', '}', '}']
    """
    text = json.dumps(dump_spec(spec), indent=2, ensure_ascii=False)
    # What cannot be seen is written in escapes; a YAML parser, which reads this, would refuse some of it.
    if not all(char.isprintable() or char == "\n" for char in text):
        text = json.dumps(dump_spec(spec), indent=2)
    return text + "\n"


def write_yaml(spec: DagSpec) -> str:
    r"""Return a DAG as YAML, scripts as blocks.

    Examples
    --------
    >>> from p3s.engine.load import load_dag
    >>> print(write_yaml(load_dag('name: x\njobs: {a: {run: "date\\nls"}}', "x.yaml")), end="")
    name: x
    jobs:
      a:
        run: |-
          date
          ls
    """
    return str(yaml.dump(dump_spec(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, which a workflow file may not have, and text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name is the library's
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    if set(text) & set("\r\x85\u2028\u2029"):
        # To YAML these end a line, too, and would be read as a blank or a newline unless they are escaped.
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    block = "\n" in text and not any(line != line.rstrip() for line in text.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


_Dumper.add_representer(str, _represent_text)
