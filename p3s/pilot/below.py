"""Reading what a payload left behind, without being led elsewhere by links that it made, or held up by a pipe.

A payload may put anything into its folders. The pilot reads there with rights that an isolated payload does not
have: a link to a file of tokens would else end up in a job's log, or among its results.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import BufferedReader
    from pathlib import Path

__all__ = ["LinkFound", "NotRegular", "open_below", "open_folder"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: Without waiting, because a pipe that nobody writes to would else never open.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class LinkFound(OSError):
    """A part of the path is a link."""


class NotRegular(OSError):
    """It is a folder, a pipe, a socket or a device."""


def open_below(folder: Path, path: str) -> BufferedReader:
    """Open a regular file below a folder for reading; no part of the way may be a link.

    Parameters
    ----------
    folder : Path
        Where the way begins; a payload cannot replace it.
    path : str
        Relative to it.

    Returns
    -------
    BufferedReader
        To be closed by the caller.

    Raises
    ------
    LinkFound, NotRegular
        If it is something else than a file.
    OSError
        If it is not there, or cannot be read.
    """
    *folders, name = path.split("/")
    here = open_folder(folder, folders)
    try:
        descriptor = _open(name, _FILE, here)
    finally:
        os.close(here)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegular(errno.EINVAL, "is no regular file", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_folder(folder: Path, parts: Sequence[str]) -> int:
    """Open a folder below another one; no part of the way may be a link.

    Returns
    -------
    int
        A descriptor, to be closed by the caller.

    Raises
    ------
    LinkFound
        If a part is a link.
    OSError
        If it is not there, or cannot be opened.
    """
    here = os.open(folder, _FOLDER)
    try:
        for part in parts:
            below = _open(part, _FOLDER, here)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _open(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR} and stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise LinkFound(errno.ELOOP, "is a link", name) from error
        if error.errno == errno.ENXIO:
            # A socket, or a device without a driver.
            raise NotRegular(errno.EINVAL, "is no regular file", name) from error
        raise
