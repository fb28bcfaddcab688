"""The folders of an attempt: a sandbox to run in, and a folder below `data` that its outputs go to.

::

    <work>/<pilot>/<attempt>/        the payload's current folder, with the bundle in it
    <work>/<pilot>/<attempt>/.p3s/   stdout, stderr, manifest.json, the script, lists of paths, tmp/
    <work>/<pilot>/<attempt>/.p3s/in/  inputs that came from URLs
    <data>/<workflow>/<job>/<attempt>/  outputs
    <work>/out/<attempt>/             outputs that go to URLs, until they are there
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from p3s.engine.states import Reason
from p3s.errors import P3sError
from p3s.pilot.failure import AttemptFailed, explain_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from p3s.wire import InputOrder, JobOrder

__all__ = [
    "Sandbox",
    "find_missing_inputs",
    "is_cached",
    "make_folders",
    "make_sandbox",
    "remove_sandbox",
    "resolve_place",
    "store_bundle",
    "write_over",
]

#: Seconds between two looks at inputs that are not there yet.
LOOK_PAUSE = 0.25


@dataclass(frozen=True)
class Sandbox:
    """Where one attempt runs and writes.

    Attributes
    ----------
    root, out : str
        The folders that it runs in and that its outputs go to. Texts: Path objects take a tenth of a short job's time.
    remote : str
        The URL that its outputs are brought to, if they are.
    """

    root: str
    out: str
    remote: str = ""

    @cached_property
    def path(self) -> Path:
        """The folder that it runs in."""
        return Path(self.root)

    @cached_property
    def folder(self) -> Path:
        """The folder that its outputs go to."""
        return Path(self.out)

    @cached_property
    def control(self) -> Path:
        """What p3s itself keeps in the sandbox."""
        return self.path / ".p3s"

    @cached_property
    def stdout(self) -> Path:
        """The payload's standard output."""
        return self.control / "stdout"

    @cached_property
    def stderr(self) -> Path:
        """The payload's standard error."""
        return self.control / "stderr"

    @cached_property
    def manifest(self) -> Path:
        """The JSON file that `P3S_MANIFEST` names."""
        return self.control / "manifest.json"

    @cached_property
    def script(self) -> Path:
        """The file that `run` was written to."""
        return self.control / "run"

    @cached_property
    def tmp(self) -> Path:
        """The payload's folder for temporary files."""
        return self.control / "tmp"

    @cached_property
    def inputs(self) -> Path:
        """The folder that inputs are brought to which are at URLs."""
        return self.control / "in"

    def locate(self, name: str) -> str:
        """Return the path of what p3s keeps in the sandbox as text."""
        return f"{self.root}/.p3s/{name}"

    def find_list(self, name: str) -> Path:
        """Return the file with the paths of the collection `name`."""
        return self.control / f"{name}.list"

    def find_output(self, path: str) -> Path:
        """Return the absolute path of an output."""
        return self.folder / path


def make_sandbox(
    order: JobOrder, sandbox: Sandbox, cache: Path, take: Callable[[str], bool] = lambda _path: False
) -> None:
    """Make the folders, unpack the bundle, write script, manifest and lists.

    Parameters
    ----------
    order : JobOrder
        What is to run.
    sandbox : Sandbox
        Where; it does not exist yet.
    cache : Path
        Where the bundle's contents are, by digest.
    take : callable
        Puts an emptied sandbox at a path (see `p3s.pilot.spares`); returns whether there was one.

    Raises
    ------
    AttemptFailed
        If the file system does not play along, or a path leads out of its folder.
    """
    try:
        if not take(sandbox.root):
            make_folders(sandbox.root)
        for entry in order.bundle:
            _check_inside(entry.path)
            target = sandbox.path / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache / entry.digest, target)
            if entry.executable or entry.path == _strip_dot(order.payload or ""):
                target.chmod(0o755)
        if order.run is not None:
            write_over(sandbox.locate("run"), order.run.encode())
        for name in order.collections:
            places = (resolve_place(one.place) for one in order.inputs if one.name == name)
            sandbox.find_list(name).write_text("".join(f"{place}\n" for place in places), encoding="utf-8")
        if order.outputs:
            sandbox.folder.mkdir(parents=True, exist_ok=True)
        for output in order.outputs:
            _check_inside(output.path)
            if "/" in output.path:
                sandbox.find_output(output.path).parent.mkdir(parents=True, exist_ok=True)
        write_over(sandbox.locate("manifest.json"), json.dumps(_make_manifest(order, sandbox)).encode())
    except OSError as error:
        raise explain_os_error(error, sandbox.path) from error


def make_folders(root: str) -> None:
    """Make the folders that each sandbox has; those that are there stay as they are."""
    for path in (root, f"{root}/.p3s", f"{root}/.p3s/tmp"):
        os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103 - on the way of a job: no Path objects


def write_over(path: str | Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file that may be there already, under the same inode; it is shortened, not emptied first.

    Emptied files are written to disk at once by ext4 when they are closed, which takes time.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.ftruncate(descriptor, len(content))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_sandbox(path: Path) -> None:
    """Delete a sandbox or a folder of outputs, and all that is in it.

    A payload may have taken away its own permissions; what cannot be deleted stays, and harms nobody.
    """
    control = f"{path}/.p3s"
    try:
        # Most payloads leave nothing behind: then a few calls do what a walk through the tree would.
        _empty(control)
        os.rmdir(control)  # noqa: PTH106 - on the way of every job: no Path objects
        os.rmdir(path)  # noqa: PTH106
    except OSError:
        # It follows no links either.
        shutil.rmtree(path, ignore_errors=True)


def _empty(control: str) -> None:
    """Delete the files of a folder that is no link: a payload may have put one in its place."""
    descriptor = os.open(control, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in os.listdir(descriptor):  # noqa: PTH208 - as above
            if name == "tmp":
                os.rmdir(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def is_cached(order: JobOrder, cache: Path) -> bool:
    """Return whether all contents of the bundle are here."""
    return all((cache / entry.digest).exists() for entry in order.bundle)


def store_bundle(order: JobOrder, cache: Path, fetch: Callable[[str], bytes]) -> None:
    """Fetch what the cache lacks of a bundle.

    Parameters
    ----------
    order : JobOrder
        Whose bundle.
    cache : Path
        Where contents are kept, by digest.
    fetch : callable
        Returns the content of a digest from the server.

    Raises
    ------
    AttemptFailed
        If the server cannot give it, or gives something else.
    """
    for entry in order.bundle:
        target = cache / entry.digest
        if target.exists():
            continue
        try:
            content = fetch(entry.digest)
        except P3sError as error:
            raise AttemptFailed(Reason.STAGING, f"'{entry.path}' of the bundle: {error}") from error
        if hashlib.sha256(content).hexdigest() != entry.digest:
            raise AttemptFailed(
                Reason.BAD_CHECKSUM, f"'{entry.path}' of the bundle arrived damaged; it is fetched anew"
            )
        # Two pilots may share the cache: each writes a file of its own, and the name appears whole.
        part = cache / f".{entry.digest}.{order.attempt}"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(target)
        except OSError as error:
            raise explain_os_error(error, target) from error


def find_missing_inputs(
    inputs: Iterable[InputOrder], wait: float = 0.0, is_stopped: Callable[[], bool] = lambda: False
) -> list[str]:
    """Return what keeps inputs from being read, after giving them some time to appear.

    Parameters
    ----------
    inputs : iterable of InputOrder
        Inputs with the sizes that the server recorded. Those at URLs are not looked for.
    wait : float
        Seconds to wait at most.
    is_stopped : callable
        Asked now and then; true ends the wait.

    Returns
    -------
    list of str
        One line per input, empty if all are there.
    """
    end = time.monotonic() + wait
    waiting = list(inputs)
    while True:
        problems = [(one, problem) for one in waiting if (problem := _check_input(one))]
        if not problems or time.monotonic() >= end or is_stopped():
            return [problem for _, problem in problems]
        waiting = [one for one, _ in problems]
        time.sleep(LOOK_PAUSE)


def resolve_place(place: str) -> str:
    """Return the local path of a ``file://`` URL, and anything else as it is.

    Examples
    --------
    >>> resolve_place("file:///data/run%201.csv")
    '/data/run 1.csv'
    >>> resolve_place("s3://bucket/run.csv")
    's3://bucket/run.csv'
    """
    return unquote(urlsplit(place).path) if place.startswith("file://") else place


def _check_input(one: InputOrder) -> str:
    path = resolve_place(one.place)
    if not path.startswith("/"):
        return ""
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - many inputs, and Path costs more than the call itself
    except OSError as error:
        return f"{one.name}: {path}: {error.strerror}"
    if one.size is not None and size != one.size:
        return f"{one.name}: {path} has {size} bytes instead of {one.size}"
    return ""


def _make_manifest(order: JobOrder, sandbox: Sandbox) -> dict[str, object]:
    inputs: dict[str, object] = {one.name: resolve_place(one.place) for one in order.inputs}
    for name in order.collections:
        inputs[name] = [resolve_place(one.place) for one in order.inputs if one.name == name]
    return {
        "params": order.params,
        "axes": order.axes,
        "inputs": inputs,
        "outputs": {output.name: str(sandbox.find_output(output.path)) for output in order.outputs},
        "missing": order.missing,
    }


def _strip_dot(path: str) -> str:
    return path.removeprefix("./")


def _check_inside(path: str) -> None:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or parts.parts[:1] == (".p3s",):
        raise AttemptFailed(Reason.STAGING, f"'{path}' leads out of the attempt's folder; name a file inside it")
