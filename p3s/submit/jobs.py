"""Standalone jobs: read them from files, check their payloads, send them in requests of bounded size."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.load import is_standalone, load_standalone
from p3s.engine.original import read_job_list
from p3s.errors import BadInput, Problem
from p3s.submit.files import read_bundle, read_file
from p3s.submit.workflows import is_job_list, load_beside_files
from p3s.wire import StandaloneJob

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from p3s.client import Client
    from p3s.engine.spec import StandaloneSpec

__all__ = ["check_payloads", "name_jobs", "prepare_jobs", "read_standalone", "submit_jobs"]

#: Jobs, and bytes of their files as they are sent, in one request.
MAX_BATCH = 1000
MAX_BATCH_BYTES = 64 * 1024 * 1024
#: What uuids are made from, with a user, a key and a number.
_SPACE = uuid.UUID("0d0c6f3e-55a5-4a53-9a0b-6d0a4a1c9f11")


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
    if is_job_list(text):
        return read_job_list(text, name), base
    if not is_standalone(text, name):
        # The loader knows best what is wrong, if anything is; a sound workflow is simply in the wrong place.
        load_beside_files(text, name, base)
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
    # Replicas have one description, whose files are read once.
    different = {id(spec): spec for spec in specs}
    bundles = {key: read_bundle(spec, base) for key, spec in different.items()}
    return [
        StandaloneJob(uuid=str(uuid.uuid4()), spec=spec, bundle=bundles[id(spec)], hold=hold or spec.hold)
        for spec in specs
    ]


def name_jobs(jobs: Sequence[StandaloneJob], owner: str, key: str) -> list[StandaloneJob]:
    """Return jobs with uuids that follow from their owner, a key and their order: sent again, they are known.

    Examples
    --------
    >>> from p3s.engine.spec import StandaloneSpec
    >>> jobs = [StandaloneJob(uuid=str(uuid.uuid4()), spec=StandaloneSpec(run="true")) for _ in range(2)]
    >>> first, again, other = (name_jobs(jobs, "ann", key) for key in ("night", "night", "day"))
    >>> [job.uuid for job in first] == [job.uuid for job in again], first[0].uuid in {first[1].uuid, other[0].uuid}
    (True, False)
    """
    return [
        job.model_copy(update={"uuid": str(uuid.uuid5(_SPACE, f"{owner}/{number}/{key}"))})
        for number, job in enumerate(jobs)
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
