"""A process beside the pilot that brings files from and to stores at a distance, one after the other.

It reads requests from its stdin, a JSON object a line, and answers each with a line on its stdout; `p3s.pilot.couriers`
speaks with it. It is a process of its own because the libraries of such stores take seconds to import, and may hang
or crash: the pilot ends it, whatever it does, and its payloads notice nothing. It ends with its pilot, or idle.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from p3s.pilot.below import open_below
from p3s.pilot.leftovers import is_uuid
from p3s.pilot.outputs import digest_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["answer", "compute_tags", "main"]

#: Seconds without a request after which it ends; the next one then reads credentials anew.
IDLE = 60.0
#: Seconds to reach a store, and without a byte from it.
CONNECT, SILENCE = 10, 60
#: Bytes of one part of a large object, of which some are in memory at once.
PART = 16 * 1024 * 1024
PARTS_AT_ONCE = 4
#: S3 takes 10,000 parts.
MOST_PARTS = 9000
_CHUNK = 4 * 1024 * 1024
#: Names of errors that XRootD tells in words only.
_ABSENT = ("no such file", "[3011]")
_DENIED = ("permission denied", "auth failed", "unauthorized", "[3010]", "not authorized")


def main() -> None:
    """Answer requests until there are none."""
    for name, value in (("CONNECTIONWINDOW", CONNECT), ("CONNECTIONRETRY", 2), ("REQUESTTIMEOUT", SILENCE)):
        os.environ.setdefault(f"XRD_{name}", str(value))
    # Its defaults try for half an hour; the pilot tries again by itself.
    os.environ.setdefault("XRD_STREAMERRORWINDOW", "0")
    stores = Stores()
    while select.select([0], [], [], IDLE)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        sys.stdout.write(json.dumps(answer(stores, json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(stores: Stores, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request.

    Parameters
    ----------
    stores : Stores
        The file systems.
    request : dict
        With the name of a method of `Stores` as ``do``; the rest are its arguments.

    Returns
    -------
    dict
        Empty if all went well, else ``kind`` and ``message``: ``missing``, ``differs``, ``full``, ``denied``, or
        ``trouble``, which may be over soon.
    """
    try:
        getattr(stores, request.pop("do"))(**request)
    except FileNotFoundError as error:
        return {"kind": "missing", "message": _describe(error)}
    except PermissionError as error:
        return {"kind": "denied", "message": _describe(error)}
    except Differs as error:
        return {"kind": "differs", "message": str(error)}
    except Exception as error:  # noqa: BLE001 - libraries raise what they like; the pilot decides what it means
        text = _describe(error)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return {"kind": "full", "message": text}
        low = text.lower()
        kind = "missing" if any(word in low for word in _ABSENT) else "trouble"
        return {"kind": "denied" if any(word in low for word in _DENIED) else kind, "message": text}
    return {}


class Differs(Exception):
    """What is there is not what should be."""


class Stores:
    """What a courier can do, by URL."""

    def __init__(self) -> None:
        self._systems: dict[str, Any] = {}

    def fetch(self, url: str, path: str, size: int | None, checksum: str) -> None:
        """Copy a file to the new local file `path`, and compare it with what is known of it."""
        system, name = self._open(url)
        there = system.info(name)
        if there["type"] != "file":
            raise FileNotFoundError(f"{url} is no file")
        # Told before the copy, which may take long.
        _compare(url, size if size is not None else there["size"], there["size"])
        target = Path(path)
        system.get_file(name, path, **({} if url.startswith("s3:") else {"chunk_size": _CHUNK}))
        _compare(url, there["size"], target.stat().st_size)
        if checksum:
            with target.open("rb") as file:
                _compare(url, checksum, digest_stream(file, checksum.partition(":")[0]))

    def push(self, folder: str, path: str, url: str, size: int, checksum: str, token: str) -> None:
        """Copy the file `path` of a folder to `url`, whose name appears when the whole is there, and compare."""
        system, name = self._open(url)
        with open_below(Path(folder), path) as file:
            _compare(path, size, os.fstat(file.fileno()).st_size)
            push = _push_object if url.startswith("s3:") else _push_file
            push(system, file, name, Facts(url, size, checksum, token))

    def delete(self, url: str) -> None:
        """Delete a folder with all that is in it, and what was being stored there, if there is any."""
        system, name = self._open(url)
        with contextlib.suppress(FileNotFoundError):
            if url.startswith("s3:"):
                _abort_uploads(system, f"{name}/")
            if system.exists(name):
                _delete_tree(system, name)

    def remove(self, url: str) -> None:
        """Delete one file, if it is there."""
        system, name = self._open(url)
        with contextlib.suppress(FileNotFoundError):
            if system.exists(name):
                system.rm_file(name)

    def delete_rivals(self, url: str) -> None:
        """Delete the folders of all other attempts beside the one at `url`."""
        system, name = self._open(url)
        parent, _, own = name.rpartition("/")
        with contextlib.suppress(FileNotFoundError):
            for other in system.ls(parent, detail=False):
                last = other.rstrip("/").rpartition("/")[2]
                if last != own and is_uuid(last):
                    _delete_tree(system, f"{parent}/{last}")

    def _open(self, url: str) -> tuple[Any, str]:
        """Return the file system that a URL belongs to, and the name that the file has there."""
        import fsspec  # noqa: PLC0415 - an optional part, and slow to import

        parts = urlsplit(url)
        key = parts.scheme if parts.scheme == "s3" else f"{parts.scheme}://{parts.netloc}"
        if key not in self._systems:
            options: dict[str, Any] = {"skip_instance_cache": True}
            if parts.scheme == "s3":
                retries = {"max_attempts": 2, "mode": "standard"}
                options["use_listings_cache"] = False
                options["config_kwargs"] = {"connect_timeout": CONNECT, "read_timeout": SILENCE, "retries": retries}
            else:
                options |= {"hostid": parts.netloc, "timeout": SILENCE}
            self._systems[key] = fsspec.filesystem(parts.scheme, **options)
        # Others write there, too.
        self._systems[key].invalidate_cache()
        # What S3 calls a name may hold ? and #, so it is no part of a URL in the common sense.
        name = url.partition("://")[2] if parts.scheme == "s3" else "/" + url.partition("://")[2].partition("//")[2]
        return self._systems[key], name


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file is and where it goes; `token` makes a temporary name unlike any other."""

    url: str
    size: int
    checksum: str
    token: str


def _push_object(system: Any, file: BinaryIO, name: str, facts: Facts) -> None:
    # An object appears when its last byte is stored, or never.
    part = choose_part(facts.size)
    if facts.size >= 2 * part:
        # A courier that was killed here left parts, which nobody sees and somebody pays for.
        _abort_uploads(system, name)
    # By its number: whatever has the file's name by now is not followed.
    system.put_file(f"/proc/self/fd/{file.fileno()}", name, chunksize=part, max_concurrency=PARTS_AT_ONCE)
    there = system.info(name)
    _compare(facts.url, facts.size, there["size"])
    # Encrypted objects have other tags than these: they are read instead.
    if there.get("ETag", "").strip('"') not in compute_tags(file, part):
        _compare(facts.url, facts.checksum, _read_back(system, name, facts.checksum))


def _push_file(system: Any, file: BinaryIO, name: str, facts: Facts) -> None:
    folder, _, last = name.rpartition("/")
    system.makedirs(folder, exist_ok=True)
    hidden = f"{folder}/.{last[:100]}.{facts.token}.part"
    try:
        with system.open(hidden, "wb", block_size=_CHUNK) as remote:
            while chunk := file.read(_CHUNK):
                remote.write(chunk)
        system.invalidate_cache()
        _compare(facts.url, facts.size, system.info(hidden)["size"])
        file.seek(0)
        if not _is_known(system, hidden, digest_stream(file, "adler32")):
            _compare(facts.url, facts.checksum, _read_back(system, hidden, facts.checksum))
        _replace(system, hidden, name)
    except BaseException:
        with contextlib.suppress(OSError):
            system.rm_file(hidden)
        raise


def choose_part(size: int) -> int:
    """Return the bytes of each part of an object of `size` bytes."""
    return max(PART, -(-size // MOST_PARTS))


def compute_tags(file: BinaryIO, part: int) -> set[str]:
    """Return the tags that S3 gives to an object with the content of a file: stored whole, or in parts of this size.

    Parameters
    ----------
    file : BinaryIO
        The file, read from its beginning.
    part : int
        Bytes.

    Returns
    -------
    set of str
        MD5 of the whole; MD5 of the parts' MD5s, with their number.
    """
    whole, digests = hashlib.md5(usedforsecurity=False), []
    file.seek(0)
    while chunk := file.read(part):
        whole.update(chunk)
        digests.append(hashlib.md5(chunk, usedforsecurity=False).digest())
    parts = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return {whole.hexdigest(), f"{parts}-{len(digests)}"}


def _compare(what: str, expected: object, found: object) -> None:
    if expected != found:
        unit = " bytes" if isinstance(expected, int) else ""
        raise Differs(f"{what}: {found}{unit} are there instead of {expected}{unit}")


def _is_known(system: Any, name: str, checksum: str) -> bool:
    """Tell whether the store itself says that a file has this checksum; not all can say."""
    try:
        algorithm, value = system.checksum(name)
    except OSError:
        return False
    return f"{algorithm}:{value.lower():0>8}" == checksum


def _read_back(system: Any, name: str, checksum: str) -> str:
    with system.open(name, "rb", block_size=_CHUNK) as remote:
        return digest_stream(remote, checksum.partition(":")[0])


def _abort_uploads(system: Any, prefix: str) -> None:
    bucket, _, prefix = prefix.partition("/")
    begun = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
    for one in begun.get("Uploads", ()):
        system.call_s3("abort_multipart_upload", Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])


def _replace(system: Any, hidden: str, name: str) -> None:
    try:
        system.mv(hidden, name)
    except OSError:
        if not system.exists(name):
            raise
        # Not every server replaces a file by a rename. For a moment there is none, but never half a one.
        system.rm_file(name)
        system.mv(hidden, name)


def _delete_tree(system: Any, name: str) -> None:
    found: Iterable[str] = system.find(name, withdirs=True)
    files: list[str] = []
    folders = [name]
    for path in found:
        (folders if system.isdir(path) else files).append(path)
    remove: Callable[[str], None] = system.rm_file
    for path in files:
        remove(path)
    for path in sorted(folders, key=len, reverse=True):
        # S3 has no folders.
        with contextlib.suppress(OSError, NotImplementedError):
            system.rmdir(path)


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:1000]


if __name__ == "__main__":
    main()
