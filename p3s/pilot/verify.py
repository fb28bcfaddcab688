"""Whether inputs still hold what was recorded of them: their checksums, read from end to end."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from p3s.pilot.sandbox import resolve_place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from p3s.wire import InputOrder

__all__ = ["find_damaged_inputs"]

_CHUNK = 1024 * 1024


def find_damaged_inputs(inputs: Iterable[InputOrder]) -> list[str]:
    """Return what is wrong with the content of inputs.

    Parameters
    ----------
    inputs : iterable of InputOrder
        Inputs that are there. Those at a URL are left to whoever reads them.

    Returns
    -------
    list of str
        One line per input that holds something else than was recorded, or of which no checksum is known.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    problems = []
    for one in inputs:
        path = resolve_place(one.place)
        if not path.startswith("/"):
            continue
        if not one.checksum:
            hint = f"`p3s dataset adjust {path} --checksum ...` tells it"
            problems.append(f"{one.name}: no checksum of {path} is recorded to verify it by; {hint}")
        elif (found := _compute(path, one.checksum.partition(":")[0])) != one.checksum:
            problems.append(f"{one.name}: {path} has {found} instead of {one.checksum}")
    return problems


def _compute(path: Path | str, algorithm: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - a text that comes from an order
        if algorithm != "adler32":
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        value = 1
        while chunk := file.read(_CHUNK):
            value = zlib.adler32(chunk, value)
        return f"adler32:{value:08x}"
