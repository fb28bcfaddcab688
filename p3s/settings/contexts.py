"""Contexts: servers by name in the user's config file, one of which is in use."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.errors import BadInput, NotFound, Problem
from p3s.settings.files import read_text, read_toml, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Context", "Contexts", "find_config", "read_contexts", "use_context"]

#: The line that says which context is in use.
_LINE = re.compile(r"^[ \t]*context[ \t]*=.*$", re.MULTILINE)
#: Where the first table of a file begins; the keys before it are at its top.
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
#: What a name may hold without being quoted in the file.
_NAME = re.compile(r"[^\x00-\x1f\x7f\"\\]{1,100}")


@dataclass(frozen=True, slots=True)
class Context:
    """A server by name, and the token that goes to it, if the file has one."""

    name: str
    server: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts of a user, and the name of the one in use.

    Attributes
    ----------
    file : Path
        The config file, which need not exist.
    known : mapping
        Name to context, as the file has them.
    name : str
        Which is in use; empty for none.
    source : str
        What says so: ``P3S_CONTEXT`` or the file.
    """

    file: Path
    known: Mapping[str, Context]
    name: str = ""
    source: str = ""

    def find_used(self) -> Context | None:
        """Return the context in use, None if none is.

        Raises
        ------
        BadInput
            If there is no such context: another server than the one meant would be a bad surprise.
        """
        if not self.name:
            return None
        if self.name not in self.known:
            names = ", ".join(sorted(self.known)) or "none"
            message = f"{self.source} names context '{self.name}', and {self.file} has {names}; name one that it has"
            raise BadInput([message])
        return self.known[self.name]


def find_config(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's config folder for p3s, which need not exist yet."""
    given = environ.get("XDG_CONFIG_HOME")
    return (Path(given) if given else Path(environ.get("HOME") or "~").expanduser() / ".config") / "p3s"


def read_contexts(environ: Mapping[str, str] = os.environ) -> Contexts:
    """Return the contexts of the user's config file.

    Raises
    ------
    BadInput
        If the file cannot be read, with all that is wrong with its contexts.
    """
    path = find_config(environ) / "config.toml"
    data = read_toml(path)
    tables = data.get("contexts", {})
    name = data.get("context", "")
    problems = [] if isinstance(name, str) else ["`context` must be the name of one of `contexts`, in quotes"]
    problems += [] if isinstance(tables, dict) else ["`contexts` must hold tables such as [contexts.farm]"]
    known = {}
    for key, table in tables.items() if isinstance(tables, dict) else ():
        wrong = _check_table(key, table)
        problems += wrong
        if not wrong:
            known[key] = Context(key, table["server"], table.get("token"))
    if problems:
        raise BadInput([Problem(message, file=str(path)) for message in problems])
    if chosen := environ.get("P3S_CONTEXT"):
        return Contexts(path, known, chosen, "P3S_CONTEXT")
    return Contexts(path, known, name, str(path))


def use_context(name: str, environ: Mapping[str, str] = os.environ) -> Contexts:
    """Write into the user's config file which context is in use, and leave all else in it as it is.

    Parameters
    ----------
    name : str
        Of a context that the file has; empty for none.
    environ : mapping
        The environment.

    Returns
    -------
    Contexts
        As they are now.

    Raises
    ------
    NotFound
        If there is no such context.
    BadInput
        If the file is written in a way that one line cannot change.
    """
    found = read_contexts(environ)
    if name and name not in found.known:
        known = ", ".join(sorted(found.known))
        raise NotFound("context", name, f"{found.file} has {known or 'none; `p3s context list` says how to make one'}")
    before = read_toml(found.file)
    text = found.file.read_text(encoding="utf-8") if before else read_text(found.file)
    table = _TABLE.search(text)
    top, rest = (text[: table.start()], text[table.start() :]) if table else (text, "")
    line = f'context = "{name}"'
    top = _LINE.sub(lambda _: line, top, count=1) if _LINE.search(top) else f"{line}\n{top}"
    wanted: dict[str, Any] = {**before, "context": name}
    # What was written in several lines, or otherwise unlike what is expected, is left to whoever wrote it.
    if not _NAME.fullmatch(name or "-") or _parse(top + rest) != wanted:
        raise BadInput([Problem(f"cannot be changed by itself; write `{line}` at its top", file=str(found.file))])
    if name or before:
        found.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(found.file, top + rest)
    return read_contexts(environ)


def _check_table(name: str, table: Any) -> list[str]:
    """Return what is wrong with one context."""
    if not isinstance(table, dict):
        return [f"context '{name}' must be a table: [contexts.{name}]"]
    problems = [f"context '{name}': unknown key '{key}'" for key in table if key not in {"server", "token"}]
    if not isinstance(table.get("server"), str) or not table["server"]:
        problems.append(f"context '{name}' needs `server`, an address in quotes")
    if not isinstance(table.get("token", ""), str):
        problems.append(f"context '{name}': `token` must be text in quotes")
    return problems


def _parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
