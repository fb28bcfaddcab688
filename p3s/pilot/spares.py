"""Sandboxes that clean payloads left, kept for the attempts to come.

To make the folders and files of a sandbox takes longer than all else that starts a short payload: a file system such
as ext4 gives no inode anew for some minutes and passes over each deleted one when it looks for a free one. So what
holds nothing but what p3s itself had made is emptied and renamed instead of deleted, and the first ones are made before
there is a job.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from p3s.pilot.sandbox import make_folders, remove_sandbox

__all__ = ["SPARE", "Spares"]

#: How the name of a folder that waits for its next attempt begins.
SPARE = "spare-"
#: What p3s makes in a sandbox for every job, besides the folder for temporary files; and for some.
_FIRST = ("stdout", "stderr", "manifest.json")
_FILES = frozenset({*_FIRST, "run"})
_MODE = 0o700


class Spares:
    """Emptied sandboxes of one pilot.

    Parameters
    ----------
    folder : Path
        Where the pilot's sandboxes are.
    most : int
        How many are kept at most.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = str(folder), most
        self._kept: list[str] = []
        self._number = 0

    def prepare(self, number: int) -> None:
        """Make so many, or as many as are kept at most.

        Raises
        ------
        OSError
            If the file system has no room, or does not let this process write.
        """
        while len(self._kept) < min(number, self._most):
            spare = self._name_next()
            try:
                make_folders(spare)
                for name in _FIRST:
                    os.close(os.open(f"{spare}/.p3s/{name}", os.O_WRONLY | os.O_CREAT, 0o600))
            except OSError:
                remove_sandbox(Path(spare))
                raise
            self._kept.append(spare)

    def take(self, path: str) -> bool:
        """Turn a spare one into the sandbox at `path`; return whether there was one."""
        if not self._kept:
            return False
        os.rename(self._kept.pop(), path)  # noqa: PTH104 - on the way of every job: no Path objects
        return True

    def keep(self, path: str) -> bool:
        """Empty a sandbox and keep it; return false, having changed nothing that counts, if it is not as it was made.

        Nothing of its payload may be alive.
        """
        if len(self._kept) >= self._most:
            return False
        spare = self._name_next()
        try:
            if not _empty(path):
                return False
            os.rename(path, spare)  # noqa: PTH104
        except OSError:
            # Taken away, or made inaccessible, by its payload.
            return False
        self._kept.append(spare)
        return True

    def close(self) -> None:
        """Delete all."""
        while self._kept:
            remove_sandbox(Path(self._kept.pop()))

    def _name_next(self) -> str:
        self._number += 1
        return f"{self._folder}/{SPARE}{self._number}"


def _empty(path: str) -> bool:
    """Empty the files of a sandbox; false if anything else is there, or has other rights than it was made with."""
    control = f"{path}/.p3s"
    made = os.lstat(path)
    if stat.S_IMODE(made.st_mode) != _MODE:
        return False
    temporary = f"{control}/tmp"  # noqa: S108 - in the sandbox # nosec B108
    for folder in (control, temporary):
        found = os.lstat(folder)
        # A link in its place, or what a payload mounted there, is left to whoever deletes.
        if (found.st_mode, found.st_dev, found.st_uid) != (made.st_mode, made.st_dev, made.st_uid):
            return False
    files = [name for name in os.listdir(control) if name != "tmp"]  # noqa: PTH208 - no Path objects here
    if not _FILES.issuperset(files) or os.listdir(path) != [".p3s"] or os.listdir(temporary):  # noqa: PTH208
        return False
    return all(_empty_file(f"{control}/{name}", made.st_dev) for name in files)


def _empty_file(path: str, device: int) -> bool:
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_dev == device and not found.st_size:
        return True
    # It may have become a link or a pipe.
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        # A second name was given by the payload, which wants to keep the content.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_dev != device:
            return False
        if found.st_size:
            os.ftruncate(descriptor, 0)
        return True
    finally:
        os.close(descriptor)
