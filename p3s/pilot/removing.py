"""Who deletes the files of deleted datasets: only what an attempt made, and never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from p3s.pilot.below import NotRegular, open_folder
from p3s.pilot.outputs import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remove_output", "remove_published"]


def remove_output(data: Path, place: str, fence: str) -> None:
    """Delete an accepted output, and the folders up to its attempt's that are empty then; a repeat does no harm.

    Parameters
    ----------
    data : Path
        The pilot's data folder.
    place : str
        The file.
    fence : str
        Workflow, job and attempt that made it: the folder below `data` that it must lie in.

    Raises
    ------
    OSError
        If it lies elsewhere, is no file, a part of the way is a link, or the file system refuses.
    """
    inside = f"{data}/{fence}/"
    path = place.removeprefix(inside)
    if path == place or ".." in [*path.split("/"), *fence.split("/")]:
        raise PermissionError(errno.EPERM, f"it does not lie in {inside}, and only what jobs made there is deleted")
    *folders, name = [*fence.split("/"), *path.split("/")]
    with contextlib.suppress(FileNotFoundError):
        here = open_folder(data, folders)
        try:
            if not stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                raise NotRegular(errno.EINVAL, "is no regular file", place)
            os.unlink(name, dir_fd=here)
            os.fsync(here)
        finally:
            os.close(here)
    for depth in range(len(folders), 0, -1):
        # What holds others' files stays, and so does all above it.
        try:
            here = open_folder(data, folders[: depth - 1])
        except OSError:
            continue
        try:
            os.rmdir(folders[depth - 1], dir_fd=here)
        except FileNotFoundError:
            continue
        except OSError:
            break
        finally:
            os.close(here)


def remove_published(target: Path) -> None:
    """Delete a published name; a repeat does no harm.

    Raises
    ------
    OSError
        If it is no file, or the file system refuses.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.lstat().st_mode):
            raise NotRegular(errno.EINVAL, "is no regular file", str(target))
        target.unlink()
        sync_folder(target.parent)
