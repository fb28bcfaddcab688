"""Files that settings are read from and written to."""

from __future__ import annotations

import os
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_secret", "read_text", "read_toml", "write_private"]


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says; nothing if there is none.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput([Problem(f"cannot be read ({error}); mend it or move it away", file=str(path))]) from error


def read_text(path: Path) -> str:
    """Return what a file says, without white space around it; nothing if there is none.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput([Problem(f"cannot be read ({error}); look at its owner and mode", file=str(path))]) from error


def write_private(path: Path, text: str) -> None:
    """Replace the file at `path` by one that only the user can read, whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_secret(path: Path | None, variable: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Return a secret from a file or, without one, from a variable that a config file names.

    Raises
    ------
    BadInput
        If it is not there; the message does not show it.
    """
    if path is None:
        found = environ.get(variable or "", "").strip()
        if not found:
            raise BadInput([f"the variable {variable} is not set"])
        return found
    found = read_text(path)
    if not found:
        raise BadInput([Problem("is absent or empty", file=str(path))])
    return found
