"""Looking at folders: which files are there, and what identifies a content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.errors import P3sError
from p3s.wire import MAX_PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from p3s.inject.rules import Rule

__all__ = ["Found", "identify", "list_files", "read_stamp"]

#: Bytes read at a time.
CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A file that fits a rule.

    Attributes
    ----------
    place : str
        Its absolute path.
    size, arrived : int, float
        Bytes, and when it came here or last changed by the file system's clock (its ctime): a copy that keeps the
        time of its last write is as old as that says and arrived now.
    stamp : str
        Tells one version of the file from another without reading it.
    values : mapping
        What the named groups of the pattern have taken.
    """

    place: str
    size: int
    arrived: float
    stamp: str
    values: Mapping[str, str] = field(default_factory=dict)


def list_files(rule: Rule) -> tuple[list[Found], set[str | Path], list[str]]:
    """Return the files that fit a rule, by path, the folders they were looked for in, and what went wrong."""
    found: list[Found] = []
    folders: set[str | Path] = set()
    troubles: list[str] = []
    for path, name in _walk(rule.folder, "", rule.spec.recursive, folders, troubles):
        match = rule.pattern.fullmatch(name)
        if match is None:
            continue
        try:
            path.encode()
            stat = Path(path).stat()
        except UnicodeEncodeError:
            troubles.append(f"a file of {rule.folder} has a name that is not UTF-8: {os.fsencode(path)!r}; rename it")
            continue
        except OSError:
            # It went away between the listing and this look.
            continue
        if len(path) > MAX_PLACE:
            troubles.append(f"{path[:80]}... has more than {MAX_PLACE} characters; shorten its path")
            continue
        values = {key: value for key, value in match.groupdict().items() if value is not None}
        found.append(Found(path, stat.st_size, stat.st_ctime, _make_stamp(stat), values))
    found.sort(key=lambda file: file.place)
    return found, folders, troubles


def read_stamp(place: str) -> str:
    """Return the stamp of a file as it is now, empty if it is gone."""
    try:
        return _make_stamp(Path(place).stat())
    except OSError:
        return ""


def identify(file: Found, mode: str) -> str | None:
    """Return what identifies a file's content, None if it changed or went away meanwhile.

    Parameters
    ----------
    file : Found
        A quiet file.
    mode : str
        ``content`` reads all of it; ``stamp`` takes path, size and time of the last write instead.
    """
    if mode == "stamp":
        return "stamp:" + hashlib.sha256(f"{file.place}\0{file.stamp}".encode()).hexdigest()
    digest = hashlib.sha256()
    try:
        with Path(file.place).open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(file.place, error.strerror or str(error)) from error
    return f"sha256:{digest.hexdigest()}" if read_stamp(file.place) == file.stamp else None


class Unreadable(P3sError):
    """A file that arrived cannot be read."""

    kind = "unreadable"

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place} cannot be read ({reason}); look at its owner and mode")


def _make_stamp(stat: os.stat_result) -> str:
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"


def _walk(
    folder: Path | str,
    inner: str,
    recursive: bool,  # noqa: FBT001 - private
    folders: set[str | Path],
    troubles: list[str],
) -> Iterator[tuple[str, str]]:
    """Yield path, and name within the rule's folder, of each file."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
            folders.add(folder)
    except OSError as error:
        troubles.append(f"folder {folder} cannot be listed ({error.strerror}); files in it wait")
        return
    for entry in listed:
        if entry.is_file():
            yield entry.path, inner + entry.name
        elif recursive and entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{inner}{entry.name}/", True, folders, troubles)
