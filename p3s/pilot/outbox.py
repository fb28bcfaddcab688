"""Finished results on disk until the server has them and their names are published.

::

    <work>/outbox/<pilot>/<attempt>.json   one record each, readable by the user alone: it holds a token
    <work>/outbox/<pilot>/<attempt>.part   one being written, or delivered: the next one is written over it
    <work>/outbox/<pilot>/lock             held while that pilot lives

A record is written before its report is first sent, so results outlive the pilot. It is synced to disk if there
are outputs: without them a crash of the whole machine costs no more than running the payload again. A pilot
takes over the records of those that no longer hold their lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from p3s.pilot.leftovers import is_uuid
from p3s.pilot.outputs import sync_folder
from p3s.pilot.sandbox import write_over
from p3s.wire import AttemptReport

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outbox", "Publication", "Push", "Record"]

#: Files of delivered records kept for those to come.
SPARES = 64


class Publication(BaseModel):
    """One output and the name, a path or a URL, that shows it after acceptance."""

    source: Path
    target: str
    size: int = 0
    checksum: str = ""


class Push(BaseModel):
    """One output, by its path in the attempt's folder, and the URL that it is brought to before its report."""

    path: str
    url: str
    size: int
    checksum: str


class Record(BaseModel):
    """All that a later pilot needs to finish an attempt.

    `uploads` are the paths of results by digest, `pushes` the outputs that belong at URLs, below `remote`; with
    `accepted` only the publications are left to do.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    report: AttemptReport
    sandbox: str
    folder: str
    remote: str = ""
    uploads: dict[str, Path] = Field(default_factory=dict)
    pushes: list[Push] = Field(default_factory=list)
    publications: list[Publication] = Field(default_factory=list)
    accepted: bool = False


class Outbox:
    """The records of one pilot, and of dead ones that it took over.

    Parameters
    ----------
    work : Path
        The work folder, which several pilots may share.
    pilot : str
        The uuid of this one.

    Raises
    ------
    OSError
        If the folder cannot be made or locked.
    """

    def __init__(self, work: Path, pilot: str) -> None:
        self._work = work
        self._own = work / "outbox" / pilot
        self._own.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _take_lock(self._own)
        if lock is None:
            raise BlockingIOError(f"a pilot with the id {pilot} works in {work} already; end it or give another id")
        self._locks = {self._own: lock}
        #: Texts: on the way of every job there are no Path objects.
        self._places: dict[str, str] = {}
        self._spares: list[str] = []

    def write(self, record: Record, *, durable: bool) -> None:
        """Keep a record, whole or not at all; replaces an earlier one of the attempt.

        Parameters
        ----------
        record : Record
            To be kept.
        durable : bool
            Whether it must outlive a crash of the machine.
        """
        attempt = record.report.attempt
        path = self._places.setdefault(attempt, f"{self._own}/{attempt}.json")
        part = self._spares.pop() if self._spares else _name_part(path)
        write_over(part, record.model_dump_json(exclude_defaults=True).encode(), durable=durable)
        os.replace(part, path)  # noqa: PTH105 - no Path objects here
        if durable:
            sync_folder(Path(path).parent)

    def read(self, attempt: str) -> Record | None:
        """Return the record of an attempt, None if there is none."""
        path = self._places.get(attempt)
        try:
            return Record.model_validate_json(Path(path).read_bytes()) if path else None
        except FileNotFoundError:
            return None

    def delete(self, attempt: str) -> None:
        """Delete the record of an attempt, if there is one."""
        path = self._places.pop(attempt, None)
        if path is None:
            return
        if path.startswith(f"{self._own}/") and len(self._spares) < SPARES:
            # Written over by a later record: a new file costs more than all else here (see `p3s.pilot.spares`).
            spare = _name_part(path)
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, spare)  # noqa: PTH105
                self._spares.append(spare)
        else:
            Path(path).unlink(missing_ok=True)

    def take_over(self) -> Iterator[Record | Path]:
        """Yield the records of pilots that died, and the paths of those that cannot be read.

        An unreadable record is renamed to ``.damaged``, so that it is told once and can be looked at.
        """
        for folder in sorted(self._own.parent.iterdir()):
            if folder in self._locks or not folder.is_dir():
                continue
            lock = _take_lock(folder)
            if lock is None:
                continue
            records = sorted(folder.glob("*.json"))
            if not records:
                if not any(folder.glob("*.damaged")):
                    shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                continue
            self._locks[folder] = lock
            for path in records:
                try:
                    record = Record.model_validate_json(path.read_bytes())
                    if record.report.attempt != path.stem:
                        # The machine crashed between the new name and the new content. What was here before had been
                        # delivered, and what was to be here had no outputs, so nothing is lost but a run.
                        path.unlink()
                        continue
                except (ValidationError, OSError):
                    damaged = path.with_suffix(".damaged")
                    path.replace(damaged)
                    yield damaged
                    continue
                self._places[record.report.attempt] = str(path)
                yield record

    def find_abandoned(self) -> list[Path]:
        """Return the sandboxes of attempts that died with their pilots and left no record, and their spare ones."""
        return [
            sandbox
            for owner in self._work.iterdir()
            if is_uuid(owner.name) and self._is_dead(owner.name)
            for sandbox in owner.iterdir()
            if sandbox.name not in self._places
        ]

    def _is_dead(self, pilot: str) -> bool:
        folder = self._own.parent / pilot
        return folder != self._own and (folder in self._locks or not folder.exists())

    def close(self) -> None:
        """Let go of all folders; those without records are deleted."""
        for folder, lock in self._locks.items():
            if not any(folder.glob("*.json")) and not any(folder.glob("*.damaged")):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
        self._locks.clear()


def _name_part(path: str) -> str:
    return f"{path.removesuffix('.json')}.part"


def _take_lock(folder: Path) -> int | None:
    # The kernel drops the lock with the process, however it ends.
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        # Another pilot has just cleaned it up.
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
