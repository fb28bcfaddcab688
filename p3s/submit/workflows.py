"""Workflows: from a file or a stored DAG to a request, a plan, or a list of problems."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.expand import expand_dag, expand_standalone, find_externals
from p3s.engine.load import is_standalone, load_dag, load_standalone
from p3s.engine.original import read_job_list
from p3s.engine.overrides import override_dag
from p3s.engine.problems import Fault, Source, make_problems
from p3s.engine.writing import is_graphml, write_yaml
from p3s.engine.yamltext import read_yaml
from p3s.errors import BadInput, Problem
from p3s.submit.files import locate_externals, read_bundle, read_file
from p3s.wire import LoadBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.client import Client
    from p3s.engine.plan import WorkflowPlan
    from p3s.engine.spec import DagSpec
    from p3s.submit.overriding import Changes
    from p3s.wire import Adopt, LoadReply

__all__ = [
    "check_file",
    "is_job_list",
    "load_beside_files",
    "prepare_load",
    "prepare_plan",
    "read_dag_file",
    "submit_dag",
]


def prepare_load(
    path: str | Path,
    params: Mapping[str, str],
    *,
    hold: bool = False,
    key: str | None = None,
    site: str = "default",
    adopt: Adopt | None = None,
    changes: Changes | None = None,
) -> LoadBody:
    """Read a workflow file, its bundle, and where its external data is.

    Parameters
    ----------
    path : str or Path
        The YAML file; ``-`` is stdin.
    params : mapping of str to str
        Values of its parameters.
    hold : bool
        Whether the workflow is to wait for its start.
    key : str, optional
        At most one workflow is started for it, ever.
    site : str
        Whose pilots can read its external data.
    adopt : Adopt, optional
        The workflow whose finished jobs are taken over.
    changes : Changes, optional
        What this workflow is to have otherwise than its DAG.

    Returns
    -------
    LoadBody
        A request that may be sent more than once: it carries the workflow's uuid.

    Raises
    ------
    BadInput
        With all problems, each with its place.
    """
    text, name, base = read_dag_file(path)
    # A standalone job is refused there; to ask first would read a large text twice.
    spec = load_beside_files(text, name, base)
    overrides = changes.convert(spec) if changes else {}
    bundle = read_bundle(spec, base)
    spec = override_dag(spec, overrides)
    return LoadBody(
        uuid=str(uuid.uuid4()),
        text=text,
        file=name if name == "<stdin>" else Path(name).name,
        base=str(base),
        bundle=bundle,
        params=dict(params),
        overrides=overrides,
        externals=locate_externals(find_externals(spec, params), base),
        site=site,
        key=key,
        hold=hold,
        adopt=adopt,
    )


def check_file(path: str | Path, params: Mapping[str, str]) -> list[Problem]:
    """Return all that is wrong with a workflow file, a standalone job or a list of jobs.

    What takes parameters or files that are not there is left out, so that a file can be checked anywhere.
    """
    try:
        text, name, base = read_dag_file(path)
        if is_job_list(text):
            read_job_list(text, name)
        elif is_standalone(text, name):
            read_bundle(load_standalone(text, name), base)
        else:
            spec = load_beside_files(text, name, base)
            bundle = read_bundle(spec, base)
            if all(param.default is not None for key, param in spec.params.items() if key not in params):
                externals = locate_externals(find_externals(spec, params), base)
                if all(externals.values()):
                    expand_dag(spec, params, externals, bundle=[file.path for file in bundle])
    except BadInput as error:
        return list(error.problems)
    return []


def prepare_plan(path: str | Path, params: Mapping[str, str]) -> WorkflowPlan:
    """Return what the server would make of a file, computed here; a standalone job is a plan of one node.

    Raises
    ------
    BadInput
        With all problems, each with its place.
    """
    text, name, base = read_dag_file(path)
    if is_standalone(text, name):
        job = load_standalone(text, name)
        return expand_standalone(job, [file.path for file in read_bundle(job, base)])
    spec = load_beside_files(text, name, base)
    bundle = [file.path for file in read_bundle(spec, base)]
    return expand_dag(spec, params, locate_externals(find_externals(spec, params), base), bundle=bundle)


def submit_dag(
    client: Client,
    name: str,
    params: Mapping[str, str],
    *,
    version: int | None = None,
    hold: bool = False,
    key: str | None = None,
    site: str = "default",
    adopt: Adopt | None = None,
    changes: Changes | None = None,
) -> LoadReply:
    """Start another workflow of a stored DAG; external data is looked for where the DAG was loaded from."""
    dag = client.show_dag(name, version=version)
    spec = load_dag(dag.text, dag.file or f"{dag.name}.yaml")
    overrides = changes.convert(spec) if changes else {}
    spec = override_dag(spec, overrides)
    body = LoadBody(
        uuid=str(uuid.uuid4()),
        dag=dag.name,
        version=dag.version,
        params=dict(params),
        overrides=overrides,
        externals=locate_externals(find_externals(spec, params), Path(dag.base or Path.cwd())),
        site=site,
        key=key,
        hold=hold,
        adopt=adopt,
    )
    return client.load_workflow(body)


def read_dag_file(path: str | Path) -> tuple[str, str, Path]:
    """Read a workflow file as `read_file` does; GraphML becomes the YAML that says the same."""
    text, name, base = read_file(path)
    if is_graphml(text):
        # NetworkX takes a while to import, and only GraphML needs it here.
        from p3s.engine.graphml import load_graphml  # noqa: PLC0415

        text = write_yaml(load_graphml(text, name))
    return text, name, base


def load_beside_files(text: str, name: str, base: Path) -> DagSpec:
    """Load a DAG; if that fails, the files that are missing beside it are reported in the same pass."""
    try:
        return load_dag(text, name)
    except BadInput as error:
        try:
            data = read_yaml(text, name)
        except BadInput:
            # A syntax error, which is told alone.
            raise error from None
        files = data.get("files") if isinstance(data, dict) else None
        missing = [
            Fault(("files", number), f"file '{file}' cannot be read (No such file or directory)")
            for number, file in enumerate(files if isinstance(files, list) else [])
            if isinstance(file, str) and not (base / file).exists()
        ]
        problems = [*error.problems, *make_problems(missing, Source(text, name))]
        problems.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
        raise BadInput(problems) from None


def is_job_list(text: str) -> bool:
    """Tell whether a file is a list of jobs, as the original p3s took it."""
    return text.lstrip("\ufeff \t\r\n").startswith("[")
