"""Overrides as they are given: by path, as JSON or a file with JSON, and as a policy of names."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.engine.overrides import convert_file_info, convert_job_info, name_files
from p3s.engine.problems import suggest_word
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.engine.spec import DagSpec

__all__ = ["Changes", "read_objects"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one workflow is to have otherwise than its DAG.

    Attributes
    ----------
    values : dict of str to value
        Values by path, such as ``jobs.reduce.env.X``.
    files, jobs : str, optional
        The original's file and job information: JSON, or the name of a file with JSON.
    names : str, optional
        ``sticky`` or ``inherit:TEXT``.
    extensions : mapping of str to str, optional
        Those of registered datatypes, for names that are made.
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: str | None = None
    jobs: str | None = None
    names: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)

    def convert(self, spec: DagSpec) -> dict[str, Any]:
        """Return the overrides of a DAG; what is more special wins.

        Raises
        ------
        BadInput
            If something cannot be read or does not fit.
        """
        found = name_files(spec, self.names, self.extensions) if self.names is not None else {}
        if self.files is not None:
            found |= convert_file_info(spec, _read_json(self.files, "--files"))
        if self.jobs is not None:
            found |= convert_job_info(spec, _read_json(self.jobs, "--jobs"))
        return found | self.values


def read_objects(given: str, option: str, known: tuple[str, ...], *, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the objects that an option describes in JSON: one, or a list of them, or a file with either.

    Parameters
    ----------
    given : str
        JSON, or the name of a file; ``-`` is stdin.
    option : str
        For messages.
    known, needed : tuple of str
        The keys that may, and that must, be there.

    Raises
    ------
    BadInput
        With all that does not fit.
    """
    data = _read_json(given, option)
    entries = data if isinstance(data, list) else [data]
    problems = [] if entries else [Problem(f"{option}: the list is empty")]
    for number, entry in enumerate(entries):
        where = f"[{number}]" if isinstance(data, list) else ""
        if not isinstance(entry, dict):
            problems.append(Problem(f"{option}: must be an object with the keys {', '.join(known)}", where=where))
            continue
        for key in sorted(entry.keys() - set(known)):
            message = f"{option}: unknown key '{key}'; known are {', '.join(known)}{suggest_word(key, known)}"
            problems.append(Problem(message, where=where))
        problems += [
            Problem(f"{option}: the key '{key}' is missing", where=where) for key in needed if key not in entry
        ]
    if problems:
        raise BadInput(problems)
    return entries


def _read_json(given: str, option: str) -> Any:
    name = None
    text = given
    if not given.lstrip().startswith(("{", "[")):
        name = given
        try:
            text = sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8")
        except OSError as error:
            raise BadInput([Problem(f"{option}: cannot be read ({error.strerror})", file=given)]) from error
        except UnicodeDecodeError as error:
            raise BadInput([Problem(f"{option}: is not UTF-8 text", file=given)]) from error
    try:
        return json.loads(text)
    except ValueError as error:
        line, column = getattr(error, "lineno", None), getattr(error, "colno", None)
        message = f"{option}: is no JSON: {getattr(error, 'msg', error)}"
        raise BadInput([Problem(message, file=name, line=line, column=column)]) from error
