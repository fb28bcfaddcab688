"""Who shows an accepted output under a friendly name: whole or not at all, in one rename."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from p3s.pilot.below import open_below
from p3s.pilot.outputs import sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["is_accepted", "publish_file"]


def is_accepted(target: Path, folders: Sequence[Path]) -> bool:
    """Tell whether a published name lies below one of the folders, links followed; without folders none does."""
    real = target.parent.resolve() / target.name
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def publish_file(folder: Path, path: str, target: Path, attempt: str) -> None:
    """Make `target` show what the output at `path` holds; a repeat does no harm.

    A hard link where both are on one file system, else a copy. Either appears under a temporary name first and
    then takes the place of what was there.

    Parameters
    ----------
    folder, path : Path, str
        The attempt's folder, and the accepted output in it.
    target : Path
        The name to show it by; its folders are made.
    attempt : str
        Makes the temporary name unlike any other.

    Raises
    ------
    OSError
        If the file system refuses, or the output is none any more; nothing has changed then.
    """
    if not target.is_absolute():
        raise ValueError(f"'{target}' is no absolute path; write the published name with its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name[:100]}.{attempt}.part")
    part.unlink(missing_ok=True)
    try:
        with open_below(folder, path) as source:
            if not _link(source, folder / path, part):
                _copy_durably(source, part)
        if target.exists() and target.samefile(part):
            # Renaming a name of a file onto another name of the same file does nothing at all.
            return
        part.replace(target)
        sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _link(source: BinaryIO, path: Path, part: Path) -> bool:
    """Return whether `part` is a hard link to the open file."""
    try:
        os.link(path, part, follow_symlinks=False)
    except OSError:
        # Another file system, or one without hard links.
        return False
    if os.path.samestat(part.lstat(), os.fstat(source.fileno())):
        return True
    # The name was given to something else meanwhile.
    part.unlink()
    return False


def _copy_durably(source: BinaryIO, target: Path) -> None:
    with target.open("xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
