"""What a payload left behind: its outputs are looked at, measured, made durable; its logs' ends are read."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.paths import normalise_path
from p3s.engine.states import Reason
from p3s.pilot.below import LinkFound, NotRegular, open_below
from p3s.pilot.failure import AttemptFailed, explain_os_error
from p3s.wire import TAIL_BYTES, OutputReport

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedReader
    from typing import IO

    from p3s.wire import OutputOrder

__all__ = [
    "collect_outputs",
    "compute_checksum",
    "digest_stream",
    "read_piece",
    "read_result",
    "read_tail",
    "sync_folder",
]

#: Up to this size the checksum is a SHA-256; above it Adler-32, which costs a tenth and is what storage systems
#: of the field keep. Written as ``sha256:HEX`` and ``adler32:HEX``.
LARGEST_SHA256 = 64 * 1024 * 1024
#: The largest result that the server keeps.
LARGEST_RESULT = 5 * 1024 * 1024
_CHUNK = 1024 * 1024
_LINK = "is a link, or lies behind one; write the file itself, so that nobody else can change it"
_TOO_LARGE = (
    f"is a result of {{size}} bytes, more than the {LARGEST_RESULT} that the server keeps; "
    "take it out of `results`, or `publish` it"
)


def collect_outputs(orders: Iterable[OutputOrder], folder: Path) -> list[OutputReport]:
    """Check that all outputs are there, measure them and sync them to disk.

    Parameters
    ----------
    orders : iterable of OutputOrder
        What the payload was to make.
    folder : Path
        The attempt's own folder.

    Returns
    -------
    list of OutputReport
        In the same order; a result has its digest, and is yet to be uploaded.

    Raises
    ------
    AttemptFailed
        With all outputs that are missing, or of the wrong kind.
    """
    reports: list[OutputReport] = []
    problems: list[str] = []
    folders: set[Path] = set()
    for order in orders:
        path = folder / order.path
        try:
            with open_below(folder, normalise_path(order.path)) as file:
                size = os.fstat(file.fileno()).st_size
                if order.result and size > LARGEST_RESULT:
                    problems.append(f"output '{order.name}' ({path}) {_TOO_LARGE.format(size=size)}")
                    continue
                checksum = compute_checksum(file, size)
            digest = checksum.removeprefix("sha256:") if order.result else None
        except LinkFound:
            problems.append(f"output '{order.name}' ({path}) {_LINK}")
            continue
        except NotRegular:
            problems.append(f"output '{order.name}' ({path}) is no regular file; pack a folder into one file")
            continue
        except FileNotFoundError:
            problems.append(f"output '{order.name}' is not at {path}; the payload must write to ${order.name}")
            continue
        except OSError as error:
            raise explain_os_error(error, path) from error
        folders.add(path.parent)
        reports.append(OutputReport(name=order.name, path=str(path), size=size, checksum=checksum, digest=digest))
    if problems:
        raise AttemptFailed(Reason.MISSING_OUTPUT, "; ".join(problems))
    for parent in folders:
        sync_folder(parent)
    return reports


def read_result(folder: Path, path: str) -> bytes:
    """Return the content of a result, which may have grown meanwhile but is not read beyond what the server keeps."""
    with open_below(folder, path) as file:
        return file.read(LARGEST_RESULT + 1)


def compute_checksum(file: BufferedReader, size: int) -> str:
    """Read a file to its end, sync it to disk and return its checksum.

    Parameters
    ----------
    file : BufferedReader
        At its beginning.
    size : int
        Its bytes, which choose the algorithm (see `LARGEST_SHA256`).
    algorithm : str
        ``sha256`` or ``adler32``, if it is not to be chosen.

    Returns
    -------
    str
        ``sha256:HEX`` or ``adler32:HEX``.

    References
    ----------
    SHA-256: FIPS 180-4. Adler-32: RFC 1950, section 9.
    """
    checksum = digest_stream(file, "sha256" if size <= LARGEST_SHA256 else "adler32")
    os.fsync(file.fileno())
    return checksum


def digest_stream(stream: IO[bytes], algorithm: str) -> str:
    """Read a stream to its end and return its checksum; ``algorithm:HEX``."""
    if algorithm == "adler32":
        value = 1
        while chunk := stream.read(_CHUNK):
            value = zlib.adler32(chunk, value)
        return f"adler32:{value:08x}"
    digest = hashlib.new(algorithm)
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return f"{algorithm}:{digest.hexdigest()}"


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_tail(sandbox: str, log: str) -> tuple[bytes, int]:
    """Return the last 64 KiB of a log and its whole size; nothing if the payload took it away or replaced it.

    Parameters
    ----------
    sandbox : str
        The attempt's sandbox.
    log : str
        The log's path in it; a file of any size, of which no more than the end is read.

    Returns
    -------
    tuple of (bytes, int)
        The end and the size.
    """
    if _is_empty(f"{sandbox}/{log}"):
        return b"", 0
    try:
        with open_below(Path(sandbox), log) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - TAIL_BYTES, 0))
            return file.read(TAIL_BYTES), size
    except (FileNotFoundError, LinkFound, NotRegular):
        return b"", 0


def _is_empty(path: str) -> bool:
    # Most payloads print nothing, and to open their logs without being led elsewhere takes ten times as long. What a
    # link leads to is not read here: that it is empty is as much as nothing.
    try:
        return os.lstat(path).st_size == 0
    except OSError:
        return False


def read_piece(sandbox: Path, log: str, offset: int) -> tuple[int, bytes]:
    """Return what a growing log has from `offset` on.

    Parameters
    ----------
    sandbox, log : Path, str
        As in `read_tail`.
    offset : int
        Where to read from; negative for the last 64 KiB.

    Returns
    -------
    tuple of (int, bytes)
        Where the piece starts, and at most 64 KiB.
    """
    try:
        with open_below(sandbox, log) as file:
            size = file.seek(0, os.SEEK_END)
            start = max(size - TAIL_BYTES, 0) if offset < 0 else offset
            file.seek(start)
            return start, file.read(TAIL_BYTES)
    except (FileNotFoundError, LinkFound, NotRegular):
        return max(offset, 0), b""
