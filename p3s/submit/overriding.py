"""Overrides as they are given: by path, as JSON or a file with JSON, and as a policy of names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.engine.overrides import convert_file_info, convert_job_info, name_files
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from p3s.engine.spec import DagSpec

__all__ = ["Changes"]


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
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: str | None = None
    jobs: str | None = None
    names: str | None = None

    def convert(self, spec: DagSpec) -> dict[str, Any]:
        """Return the overrides of a DAG; what is more special wins.

        Raises
        ------
        BadInput
            If something cannot be read or does not fit.
        """
        found = name_files(spec, self.names) if self.names is not None else {}
        if self.files is not None:
            found |= convert_file_info(spec, _read_json(self.files, "--files"))
        if self.jobs is not None:
            found |= convert_job_info(spec, _read_json(self.jobs, "--jobs"))
        return found | self.values


def _read_json(given: str, option: str) -> Any:
    name = None
    text = given
    if not given.lstrip().startswith("{"):
        name = given
        try:
            text = Path(given).read_text(encoding="utf-8")
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
