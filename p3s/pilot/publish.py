"""Who shows an accepted output under a friendly name: whole or not at all, in one rename."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from p3s.pilot.outputs import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["publish_file"]


def publish_file(source: Path, target: Path, attempt: str) -> None:
    """Make `target` show what `source` holds; a repeat does no harm.

    A hard link where both are on one file system, else a copy. Either appears under a temporary name first and
    then takes the place of what was there.

    Parameters
    ----------
    source : Path
        The accepted output.
    target : Path
        The name to show it by; its folders are made.
    attempt : str
        Makes the temporary name unlike any other.

    Raises
    ------
    OSError
        If the file system refuses; nothing has changed then.
    """
    if not target.is_absolute():
        raise ValueError(f"'{target}' is no absolute path; write the published name with its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name[:100]}.{attempt}.part")
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(source, part)
        except OSError:
            # Another file system, or one without hard links.
            _copy_durably(source, part)
        if target.exists() and target.samefile(part):
            # Renaming a name of a file onto another name of the same file does nothing at all.
            return
        part.replace(target)
        sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _copy_durably(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
