"""What a file of rules may say, and every problem of one with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from p3s.engine.load import validate_data
from p3s.engine.names import check_env_name
from p3s.engine.problems import Fault, Source, make_problems, suggest_word
from p3s.engine.spec import DagSpec, Spec
from p3s.engine.units import Duration, Shorthand, Size, Text, describe, to_mapping
from p3s.engine.yamltext import read_yaml
from p3s.errors import BadInput, Problem
from p3s.submit import load_beside_files, read_file, read_standalone

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GroupSpec", "Rule", "RuleSpec", "Rules", "RulesSpec", "load_rules"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")


class GroupSpec(Spec):
    """Which files belong together, and when they are complete.

    Attributes
    ----------
    by : list of str
        Named groups of the pattern; files that agree on all of them belong together.
    files : int
        How many make a whole.
    wait : float, optional
        Seconds after its first file's arrival when an incomplete group is dropped; it waits for ever otherwise.
    """

    by: list[Text] = Field(min_length=1)
    files: int = Field(ge=2, le=1000)
    wait: Duration | None = Field(default=None, gt=0)


class RuleSpec(Spec):
    """Which files to look for, and what to start for each."""

    folder: Text
    pattern: Text
    recursive: bool = False
    workflow: Text | None = None
    job: Text | None = None
    dataset: Text | None = None
    file: Text | None = None
    params: Annotated[dict[str, Text], Shorthand(lambda value: to_mapping(value, None))] = {}
    site: Text = "default"
    min_size: Size = Field(default=1, alias="min-size", ge=0)
    quiet: Duration = Field(default=2.0, ge=0)
    order: Literal["oldest", "newest"] = "oldest"
    limit: int | None = Field(default=None, ge=1)
    sample: float = Field(default=1.0, gt=0, le=1)
    backlog: int | None = Field(default=None, ge=0)
    group: GroupSpec | None = None
    identity: Literal["content", "stamp"] = "content"


class RulesSpec(Spec):
    """A file of rules; `name` is what the injector is called, `every` is how often it looks at least."""

    name: Text
    every: Duration = Field(default=10.0, gt=0, le=3600)
    rules: dict[str, RuleSpec] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready for use: its paths are absolute, its pattern is compiled."""

    name: str
    spec: RuleSpec
    folder: Path
    pattern: re.Pattern[str]
    #: The workflow or job file.
    work: Path
    #: Named groups of the pattern whose values become parameters, or variables of a job.
    given: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of an injector."""

    name: str
    every: float
    rules: tuple[Rule, ...]


def load_rules(path: str | Path) -> Rules:
    """Read and check a file of rules with the workflows and jobs that it names.

    Raises
    ------
    BadInput
        With all problems, those of the workflows included, each with its place.
    """
    text, name, base = read_file(path)
    data = read_yaml(text, name)
    if not isinstance(data, dict):
        raise BadInput([Problem(f"must hold `name:` and `rules:`, is {describe(data)}", file=name, line=1, column=1)])
    source = Source(text, name)
    spec, faults = validate_data(RulesSpec, data)
    if not isinstance(data.get("rules"), dict):
        spec = None
    elsewhere: list[Problem] = []
    rules: list[Rule] = []
    if spec is not None:
        if not NAME.fullmatch(spec.name):
            faults.append(Fault(("name",), f"'{spec.name}' is no name; use letters, digits, and _ . : - within"))
        for key, rule in spec.rules.items():
            checker = _Checker(key, rule, base)
            made = checker.check()
            # What stands for a value that does not fit is no problem of its own.
            faulty = {fault.path for fault in faults}
            faults += [fault for fault in checker.faults if fault.path not in faulty]
            elsewhere += checker.elsewhere
            if made is not None:
                rules.append(made)
    problems = make_problems(faults, source) + list(dict.fromkeys(elsewhere))
    if problems:
        raise BadInput(problems)
    assert spec is not None
    return Rules(spec.name, spec.every, tuple(rules))


class _Checker:
    """Finds what is wrong with one rule."""

    def __init__(self, key: str, spec: RuleSpec, base: Path) -> None:
        self.key, self.spec, self.base = key, spec, base
        self.faults: list[Fault] = []
        self.elsewhere: list[Problem] = []

    def check(self) -> Rule | None:
        """Return the rule, None if it cannot be used."""
        spec = self.spec
        if not NAME.fullmatch(self.key):
            self._blame((), f"'{self.key}' is no name of a rule; use letters, digits, and _ . : - within", at_key=True)
        folder = (self.base / spec.folder).absolute()
        if not folder.is_dir():
            self._blame(("folder",), f"folder {folder} is not there; make it, or name another one")
        pattern = self._compile()
        if pattern is not None and spec.group is not None:
            self._check_group(spec.group, pattern)
        given = tuple(pattern.groupindex) if pattern is not None else ()
        if (spec.workflow is None) == (spec.job is None):
            self._blame((), "give `workflow:` or `job:`, exactly one of them", at_key=True)
            return None
        if spec.workflow is not None:
            work = self.base / spec.workflow
            given = self._check_workflow(work, spec.workflow, given)
        else:
            work = self.base / str(spec.job)
            self._check_job(work, given)
        if self.faults or self.elsewhere or pattern is None:
            return None
        return Rule(self.key, spec, folder, pattern, work, given)

    def _blame(
        self, path: tuple[str | int, ...], message: str, *, at_key: bool = False, word: str = "", known: Any = ()
    ) -> None:
        self.faults.append(Fault(("rules", self.key, *path), message, at_key, word, known))

    def _compile(self) -> re.Pattern[str] | None:
        try:
            return re.compile(self.spec.pattern)
        except re.error as error:
            where = "" if error.pos is None else f" at character {error.pos + 1}"
            self._blame(("pattern",), f"'{self.spec.pattern}' is no regular expression: {error.msg}{where}")
            return None

    def _check_group(self, group: GroupSpec, pattern: re.Pattern[str]) -> None:
        for number, name in enumerate(group.by):
            if name not in pattern.groupindex:
                message = f"the pattern has no group (?P<{name}>...)"
                self._blame(("group", "by", number), message, word=name, known=pattern.groupindex)
        if self.spec.file is not None:
            self._blame(("file",), "a group has several files; use `dataset:` with an external dataset by `glob:`")

    def _check_job(self, work: Path, variables: tuple[str, ...]) -> None:
        spec = self.spec
        if spec.dataset is not None:
            self._blame(("dataset",), "a job has no datasets; `file:` names the variable that gets the path")
        if spec.group is not None:
            self._blame(("group",), "a job takes one file; start a workflow for files that belong together")
        try:
            specs, _ = read_standalone(work)
        except BadInput as error:
            self._pass_on(error, "job", work)
            return
        names: dict[tuple[str | int, ...], list[str]] = {
            ("file",): [spec.file] if spec.file else [],
            ("pattern",): list(variables),
        }
        names |= {("params", key): [key] for key in spec.params}
        for path, given in names.items():
            for name in given:
                if wrong := check_env_name(name):
                    self._blame(path, f"variable '{name}' {wrong}")
        if len(specs) != 1:
            self._blame(("job",), f"{work} has {len(specs)} jobs; name a file with one")

    def _check_workflow(self, work: Path, shown: str, given: tuple[str, ...]) -> tuple[str, ...]:
        """Check what the rule gives to its workflow, and return the named groups that become parameters."""
        spec = self.spec
        try:
            text, name, base = read_file(work)
            dag = load_beside_files(text, name, base)
        except BadInput as error:
            self._pass_on(error, "workflow", work)
            return given
        for key in spec.params:
            if key not in dag.params:
                message = f"workflow {shown} has no parameter '{key}'"
                self._blame(("params", key), message, at_key=True, word=key, known=dag.params)
        grouped = set(spec.group.by) if spec.group is not None else set()
        for key in given:
            if key not in dag.params and key not in grouped:
                near = suggest_word(key, dag.params)
                message = f"workflow {shown} has no parameter '{key}' for the group (?P<{key}>...) of the pattern{near}"
                self._blame(("pattern",), message)
        if spec.file is not None and spec.file not in dag.params:
            message = f"workflow {shown} has no parameter '{spec.file}' to take the path"
            self._blame(("file",), message, word=spec.file, known=dag.params)
        self._check_dataset(dag, shown)
        kept = tuple(key for key in given if key in dag.params)
        covered = {*kept, *spec.params, spec.file}
        missing = [key for key, param in dag.params.items() if param.default is None and param.required is not False]
        for key in missing:
            if key not in covered:
                message = f"workflow {shown} needs parameter '{key}': give it in `params:`, or as (?P<{key}>...)"
                self._blame(("workflow",), message)
        return kept

    def _check_dataset(self, dag: DagSpec, shown: str) -> None:
        name, group = self.spec.dataset, self.spec.group
        if name is None:
            if self.spec.file is None:
                self._blame(
                    (), f"say what takes the file: `dataset:` of {shown}, or `file:` for a parameter", at_key=True
                )
            return
        found = dag.datasets.get(name)
        if found is None:
            message = f"workflow {shown} has no external dataset '{name}'"
            self._blame(("dataset",), message, word=name, known=dag.datasets)
        elif found.glob is None and (group is not None or found.path is None):
            wanted = "`glob:`" if group is not None else "`path:` or `glob:`"
            self._blame(("dataset",), f"dataset '{name}' of {shown} must be one by {wanted} to take what arrives")

    def _pass_on(self, error: BadInput, key: str, work: Path) -> None:
        """Report the problems of the file that the rule names, or that it cannot be read."""
        if work.exists():
            self.elsewhere += error.problems
        else:
            self._blame((key,), f"file {work} is not there")
