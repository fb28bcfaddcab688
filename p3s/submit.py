"""From files here to requests there: read a YAML and what belongs to it, and hand it to the server.

The server never looks at a file system. So whoever submits reads the text and its bundle, and looks where the
external data is.

>>> from p3s.client import Client
>>> from p3s.submit import prepare_load
>>> body = prepare_load("workflows/quickstart.yaml", {})
>>> client = Client("http://127.0.0.1:8440", "the token")
>>> reply = client.load_workflow(body)  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import os
import sys
import uuid
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.expand import expand_dag, expand_standalone, find_bundle, find_externals
from p3s.engine.load import is_standalone, load_dag, load_standalone
from p3s.engine.names import normalise_path
from p3s.engine.original import read_job_list
from p3s.engine.problems import Fault, Source, make_problems
from p3s.engine.spec import DagSpec, StandaloneSpec
from p3s.engine.yamltext import read_yaml
from p3s.errors import BadInput, Problem
from p3s.wire import BundleFile, ExternalMember, LoadBody, StandaloneJob

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from p3s.client import Client
    from p3s.engine.expand import ExternalRequest
    from p3s.engine.plan import WorkflowPlan
    from p3s.wire import LoadReply

__all__ = [
    "check_file",
    "check_payloads",
    "is_url",
    "locate_externals",
    "prepare_jobs",
    "prepare_load",
    "prepare_plan",
    "read_bundle",
    "read_file",
    "read_standalone",
    "submit_dag",
    "submit_jobs",
]

#: Bytes of all files that travel together.
MAX_BUNDLE = 20 * 1024 * 1024
#: Bytes of a workflow file that is read at all.
MAX_FILE = 20 * 1024 * 1024
#: Standalone jobs, and bytes of their files as they are sent, in one request.
MAX_BATCH = 1000
MAX_BATCH_BYTES = 64 * 1024 * 1024


def is_url(place: str) -> bool:
    """Tell whether `place` is a URL rather than a path.

    Examples
    --------
    >>> is_url("s3://raw/run.h5"), is_url("/data/run.h5"), is_url("a:b")
    (True, False, False)
    """
    scheme, found, _ = place.partition("://")
    return bool(found) and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()


def read_file(path: str | Path) -> tuple[str, str, Path]:
    """Read a workflow file.

    Parameters
    ----------
    path : str or Path
        The file; ``-`` is stdin, whose relative paths start from the current folder.

    Returns
    -------
    tuple of str, str, Path
        Its text, its name for messages, and the folder that relative paths in it start from.

    Raises
    ------
    BadInput
        If it cannot be read, is no text or too large.
    """
    if str(path) == "-":
        name, base = "<stdin>", Path.cwd()
        raw = sys.stdin.buffer.read(MAX_FILE + 1)
    else:
        name, base = str(path), Path(path).absolute().parent
        try:
            with Path(path).open("rb") as file:
                raw = file.read(MAX_FILE + 1)
        except OSError as error:
            raise BadInput([Problem(f"cannot be read ({error.strerror})", file=name)]) from error
    if len(raw) > MAX_FILE:
        raise BadInput([Problem(f"is larger than {MAX_FILE // 1024**2} MiB; split it", file=name)])
    try:
        return raw.decode("utf-8"), name, base
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInput([Problem("is not UTF-8 text here; save it as UTF-8", file=name, line=line)]) from error


def prepare_load(
    path: str | Path,
    params: Mapping[str, str],
    *,
    hold: bool = False,
    key: str | None = None,
    site: str = "default",
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

    Returns
    -------
    LoadBody
        A request that may be sent more than once: it carries the workflow's uuid.

    Raises
    ------
    BadInput
        With all problems, each with its place.
    """
    text, name, base = read_file(path)
    if is_standalone(text, name):
        message = "is a standalone job, no workflow; use `p3s job create standalone`"
        raise BadInput([Problem(message, file=name)])
    spec = _load_beside_files(text, name, base)
    return LoadBody(
        uuid=str(uuid.uuid4()),
        text=text,
        file=name if name == "<stdin>" else Path(name).name,
        base=str(base),
        bundle=read_bundle(spec, base),
        params=dict(params),
        externals=locate_externals(find_externals(spec, params), base),
        site=site,
        key=key,
        hold=hold,
    )


def check_file(path: str | Path, params: Mapping[str, str]) -> list[Problem]:
    """Return all that is wrong with a workflow file, a standalone job or a list of jobs.

    What takes parameters or files that are not there is left out, so that a file can be checked anywhere.
    """
    try:
        text, name, base = read_file(path)
        if _is_job_list(text):
            read_job_list(text, name)
        elif is_standalone(text, name):
            read_bundle(load_standalone(text, name), base)
        else:
            spec = _load_beside_files(text, name, base)
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
    text, name, base = read_file(path)
    if is_standalone(text, name):
        job = load_standalone(text, name)
        return expand_standalone(job, [file.path for file in read_bundle(job, base)])
    spec = _load_beside_files(text, name, base)
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
) -> LoadReply:
    """Start another workflow of a stored DAG; external data is looked for where the DAG was loaded from."""
    dag = client.show_dag(name, version=version)
    spec = load_dag(dag.text, dag.file or f"{dag.name}.yaml")
    body = LoadBody(
        uuid=str(uuid.uuid4()),
        dag=dag.name,
        version=dag.version,
        params=dict(params),
        externals=locate_externals(find_externals(spec, params), Path(dag.base or Path.cwd())),
        site=site,
        key=key,
        hold=hold,
    )
    return client.load_workflow(body)


def locate_externals(requests: Sequence[ExternalRequest], base: Path) -> dict[str, list[ExternalMember]]:
    """Look where external data is.

    Parameters
    ----------
    requests : sequence of ExternalRequest
        Paths, URLs and patterns by dataset.
    base : Path
        The folder that relative paths start from.

    Returns
    -------
    dict of str to list of ExternalMember
        Absolute paths, patterns expanded and sorted; URLs are taken as they are, and nobody looks there.
    """
    found: dict[str, list[ExternalMember]] = {}
    for request in requests:
        places = list(request.paths)
        if request.glob:
            # Patterns may be absolute, which those of pathlib cannot be.
            found_here = (iglob(pattern, root_dir=base, recursive=True) for pattern in places)  # noqa: PTH207
            places = sorted(place for matches in found_here for place in matches)
        found[request.name] = [_look(place, base) for place in places]
    return found


def read_bundle(spec: DagSpec | StandaloneSpec, base: Path) -> list[BundleFile]:
    """Read the small files that travel with a DAG or a standalone job.

    Raises
    ------
    BadInput
        With each file that is not there, is no file or makes the whole too large.
    """
    files: list[BundleFile] = []
    faults: list[Fault] = []
    total = 0
    for relative in find_bundle(spec):
        path = base / relative
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BUNDLE - total + 1)
        except OSError as error:
            faults.append(_blame(spec, relative, f"file '{relative}' cannot be read ({error.strerror})"))
            continue
        total += len(content)
        if total > MAX_BUNDLE:
            message = (
                f"with '{relative}' the files that travel along have more than {MAX_BUNDLE // 1024**2} MiB; "
                "name large data under `datasets:`"
            )
            faults.append(_blame(spec, relative, message))
            break
        data = base64.b64encode(content).decode()
        files.append(BundleFile(path=relative, data=data, executable=os.access(path, os.X_OK)))
    if faults:
        raise BadInput(make_problems(faults, spec._source))  # noqa: SLF001 - for messages only
    return files


def read_standalone(path: str | Path) -> tuple[list[StandaloneSpec], Path]:
    """Read a file of standalone jobs.

    Parameters
    ----------
    path : str or Path
        YAML with ``run:`` or ``payload:`` at its top, or a JSON list as the original p3s took it.

    Returns
    -------
    tuple of list of StandaloneSpec, Path
        The jobs, and the folder that relative paths in them start from.
    """
    text, name, base = read_file(path)
    if _is_job_list(text):
        return read_job_list(text, name), base
    if not is_standalone(text, name):
        # The loader knows best what is wrong, if anything is; a sound workflow is simply in the wrong place.
        load_dag(text, name)
        raise BadInput([Problem("is a workflow, no standalone job; use `p3s workflow load`", file=name)])
    return [load_standalone(text, name)], base


def check_payloads(specs: Sequence[StandaloneSpec]) -> list[str]:
    """Look at payloads given by absolute path, as far as they can be seen from here.

    Returns
    -------
    list of str
        Those in folders that are not here: only pilots can tell.

    Raises
    ------
    BadInput
        If a payload's folder is here and the payload is not, or it cannot be executed.
    """
    unseen: list[str] = []
    problems: list[Problem] = []
    for payload in dict.fromkeys(spec.payload for spec in specs if spec.payload):
        path = Path(payload)
        if not path.is_absolute():
            continue
        if not path.parent.is_dir():
            unseen.append(payload)
        elif not path.is_file():
            problems.append(Problem(f"payload {payload} does not exist; --no-check sends it all the same"))
        elif not os.access(path, os.X_OK):
            problems.append(Problem(f"payload {payload} is not executable; run `chmod +x {payload}`"))
    if problems:
        raise BadInput(problems)
    return unseen


def prepare_jobs(specs: Sequence[StandaloneSpec], base: Path, *, hold: bool = False) -> list[StandaloneJob]:
    """Return standalone jobs with their uuids and the files that travel with them."""
    return [
        StandaloneJob(
            uuid=str(uuid.uuid4()), spec=spec, bundle=read_bundle(spec, base), hold=hold or spec.hold
        )
        for spec in specs
    ]


def submit_jobs(client: Client, jobs: Sequence[StandaloneJob]) -> Iterator[list[str]]:
    """Create standalone jobs in requests of bounded size, and yield the uuids of each as it is answered."""
    batch: list[StandaloneJob] = []
    size = 0
    for job in jobs:
        weight = sum(len(file.data) for file in job.bundle)
        if batch and (len(batch) == MAX_BATCH or size + weight > MAX_BATCH_BYTES):
            yield client.create_jobs(batch).uuids
            batch, size = [], 0
        batch.append(job)
        size += weight
    if batch:
        yield client.create_jobs(batch).uuids


def _load_beside_files(text: str, name: str, base: Path) -> DagSpec:
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


def _is_job_list(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("[")


def _look(place: str, base: Path) -> ExternalMember:
    if is_url(place):
        return ExternalMember(place=place)
    path = Path(os.path.normpath(base / place))
    try:
        size = path.stat().st_size
    except OSError:
        # Not there yet, or not visible from here: its consumers wait until somebody registers it.
        return ExternalMember(place=str(path))
    return ExternalMember(place=str(path), available=True, size=size)


def _blame(spec: DagSpec | StandaloneSpec, relative: str, message: str) -> Fault:
    """Return a fault that points to where the spec names the file `relative`."""
    for number, file in enumerate(spec.files):
        if normalise_path(file) == relative:
            return Fault(("files", number), message)
    if isinstance(spec, DagSpec):
        for name, job in spec.jobs.items():
            if job.payload and normalise_path(job.payload) == relative:
                return Fault(("jobs", name, "payload"), message)
    return Fault(("payload",), message)
