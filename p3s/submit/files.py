"""Look at the file system of whoever submits: workflow files, bundles, external data."""

from __future__ import annotations

import hashlib
import os
import sys
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.expand import find_bundle
from p3s.engine.paths import normalise_path
from p3s.engine.places import check_location, is_url, normalise_place
from p3s.engine.problems import Fault, make_problems
from p3s.engine.spec import DagSpec, StandaloneSpec
from p3s.errors import BadInput, Problem
from p3s.wire import BundleFile, ExternalMember

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.engine.expand import ExternalRequest

__all__ = ["compute_checksum", "locate_externals", "read_bundle", "read_file"]

#: Bytes of all files that travel together.
MAX_BUNDLE = 20 * 1024 * 1024
#: Bytes of a workflow file that is read at all.
MAX_FILE = 20 * 1024 * 1024


def compute_checksum(path: Path) -> str:
    """Return the SHA-256 of a file as it is registered.

    Raises
    ------
    BadInput
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput([Problem(f"cannot be read ({error.strerror})", file=str(path))]) from error


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
        found[request.name] = [_look(place, base, verify=request.verify) for place in places]
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
        files.append(BundleFile(path=relative, data=content, executable=os.access(path, os.X_OK)))
    if faults:
        raise BadInput(make_problems(faults, spec._source))  # noqa: SLF001 - for messages only
    return files


def _look(place: str, base: Path, *, verify: bool) -> ExternalMember:
    if is_url(place):
        # What is wrong with it is told where it stands in the YAML, by whoever expands that.
        place = place if check_location(place) else normalise_place(place)
        if is_url(place):
            return ExternalMember(place=place)
    path = Path(os.path.normpath(base / place))
    try:
        size = path.stat().st_size
    except OSError:
        # Not there yet, or not visible from here: its consumers wait until somebody registers it.
        return ExternalMember(place=str(path))
    checksum = compute_checksum(path) if verify and path.is_file() else ""
    return ExternalMember(place=str(path), available=True, size=size, checksum=checksum)


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
