"""The steps of `p3s.engine.expand.expand_dag`, which share what they found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from p3s.engine.checks import find_producers, make_no_match
from p3s.engine.expressions import ExpressionError, render_template
from p3s.engine.families import Group, Member, count_members, expand_matrix, list_axes, make_suffix, name_each
from p3s.engine.members import MemberBuilder
from p3s.engine.names import MAX_NAME, check_checksum, check_name, quote_name, sanitise_value, split_origin
from p3s.engine.paths import check_place, take_stem
from p3s.engine.places import check_location, is_url, normalise_place
from p3s.engine.plan import DatasetPlan, InputPlan, JobPlan, Origin, OutputPlan
from p3s.engine.problems import Fault
from p3s.engine.spec import EachSpec
from p3s.engine.yamltext import MAX_PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p3s.engine.spec import DagSpec, DatasetSpec, JobSpec, MatrixSpec

__all__ = ["MAX_EDGES", "Expansion", "ExternalRequest", "SeenFile", "request_externals"]

#: Edges between jobs and datasets of one workflow.
MAX_EDGES = 3_000_000


class SeenFile(Protocol):
    """A file or URL as the client saw it."""

    @property
    def place(self) -> str:
        """Its absolute path or URL."""

    @property
    def available(self) -> bool:
        """Whether it was there."""

    @property
    def size(self) -> int | None:
        """Its bytes, where known."""

    @property
    def checksum(self) -> str:
        """Its checksum, where known."""


@dataclass(frozen=True, slots=True)
class ExternalRequest:
    """What the client is to look for on its file system.

    Attributes
    ----------
    name : str
        The dataset.
    paths : tuple of str
        Paths or URLs; relative ones start at the YAML's folder.
    glob : bool
        Whether the one path is a pattern.
    verify : bool
        Whether a job verifies it, so that its checksum is wanted.
    """

    name: str
    paths: tuple[str, ...]
    glob: bool = False
    verify: bool = False


def request_externals(spec: DagSpec, texts: Mapping[str, str]) -> tuple[list[ExternalRequest], list[Fault]]:
    """Return what to look for, with parameters put in, and what is wrong with it."""
    requests: list[ExternalRequest] = []
    faults: list[Fault] = []
    verified = {name for job in spec.jobs.values() if job.verify for name in job.inputs}
    for name, dataset in spec.datasets.items():
        if dataset.origin is not None:
            # It lies where another workflow puts it.
            continue
        paths: list[str] = []
        for text in _list_paths(dataset):
            try:
                paths.append(render_template(text, texts, {}))
            except ExpressionError as error:
                faults.append(Fault(("datasets", name), str(error)))
                continue
            if wrong := (check_location if is_url(paths[-1]) else check_place)(paths[-1]):
                faults.append(Fault(("datasets", name), f"path {quote_name(paths[-1])} of dataset '{name}' {wrong}"))
        requests.append(ExternalRequest(name, tuple(paths), glob=dataset.glob is not None, verify=name in verified))
    return requests, faults


def _list_walks(matrix: MatrixSpec | None) -> list[EachSpec]:
    return [axis for axis in matrix.axes.values() if isinstance(axis, EachSpec)] if matrix is not None else []


def _list_paths(dataset: DatasetSpec) -> Sequence[str]:
    # The schema sees to it that exactly one of the three is there.
    return dataset.paths or [dataset.path if dataset.path is not None else dataset.glob or ""]


@dataclass(slots=True)
class Expansion:
    """A plan in the making.

    Attributes
    ----------
    spec : DagSpec
        The DAG.
    texts : dict
        Parameters as text.
    extensions : mapping of str to str
        Those of registered datatypes.
    faults : list of Fault
        What is wrong.
    jobs, datasets : dict
        The plan so far.
    """

    spec: DagSpec
    texts: dict[str, str]
    extensions: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)
    jobs: dict[str, JobPlan] = field(default_factory=dict)
    datasets: dict[str, DatasetPlan] = field(default_factory=dict)
    #: Datasets by name, and jobs by family.
    groups: dict[str, Group] = field(default_factory=dict)
    families: dict[str, Group] = field(default_factory=dict)
    #: The values that each external collection gives to an axis.
    each: dict[str, list[str]] = field(default_factory=dict)

    def add_externals(self, externals: Mapping[str, Sequence[SeenFile]]) -> None:
        """Add the files that the client found."""
        requests, faults = request_externals(self.spec, self.texts)
        self.faults += faults
        wanted = {request.name for request in requests}
        self.faults += [
            Fault(("datasets",), f"no external dataset {quote_name(name)} with a place; it was given files")
            for name in externals
            if name not in wanted
        ]
        walked = {axis.each for job in self.spec.jobs.values() for axis in _list_walks(job.matrix)}
        for request in requests:
            self._add_external(request, externals.get(request.name, ()), walked=request.name in walked)
        for name, dataset in self.spec.datasets.items():
            if dataset.origin is not None:
                self._add_origin(name, dataset, dataset.origin)

    def _add_origin(self, name: str, dataset: DatasetSpec, text: str) -> None:
        match = {}
        for param, template in dataset.match.items():
            try:
                match[param] = render_template(template, self.texts, {})
            except ExpressionError as error:
                self.faults.append(Fault(("datasets", name, "match", param), str(error)))
        owner, dag, key = split_origin(text)
        self.groups[name] = Group(name, (), [Member(name, {})])
        self.datasets[name] = DatasetPlan(
            key=name,
            name=name,
            datatype=dataset.type,
            comment=dataset.comment,
            origin=Origin(owner, dag, key, match),
        )

    def _add_external(self, request: ExternalRequest, files: Sequence[SeenFile], *, walked: bool) -> None:
        name, place = request.name, ("datasets", request.name)
        dataset = self.spec.datasets[name]
        if request.glob and not files:
            message = f"no file fits {quote_name(request.paths[0] if request.paths else '')}; is the pattern right?"
            self.faults.append(Fault((*place, "glob"), message))
            return
        if not request.glob and len(files) != len(request.paths):
            self.faults.append(
                Fault(place, f"dataset '{name}' has {len(request.paths)} files, {len(files)} were given")
            )
            return
        for file in files:
            wrong = check_location(file.place)
            if not wrong and file.checksum:
                wrong = check_checksum(file.checksum)
            if wrong:
                self.faults.append(Fault(place, f"file {quote_name(file.place)} of dataset '{name}' {wrong}"))
        if dataset.path is not None:
            members = [Member(name, {})]
            self.groups[name] = Group(name, (), members)
        else:
            members = self._name_members(name, [take_stem(file.place) for file in files], walked=walked)
            self.groups[name] = Group(name, (name_each(name),), members)
        for member, file in zip(members, files, strict=True):
            self.datasets[member.key] = DatasetPlan(
                key=member.key,
                name=name,
                place=normalise_place(file.place),
                available=file.available,
                size=file.size,
                checksum=file.checksum,
                datatype=dataset.type,
                comment=dataset.comment,
            )

    def _name_members(self, name: str, stems: list[str], *, walked: bool) -> list[Member]:
        """Name the files of a collection by their base names, or by numbers if these are not unique."""
        fitting = [sanitise_value(stem) for stem in stems]
        if len(set(fitting)) < len(fitting):
            if walked:
                first = {stem: number for number, stem in reversed(list(enumerate(fitting)))}
                twice = next(stems[number] for number, stem in enumerate(fitting) if first[stem] != number)
                message = f"two files of '{name}' are called {quote_name(twice)}; `each` needs different names"
                self.faults.append(Fault(("datasets", name), message))
            fitting = [str(number) for number in range(1, len(stems) + 1)]
        axis = name_each(name)
        self.each[name] = stems
        return [Member(f"{name}-{part}", {axis: stem}) for part, stem in zip(fitting, stems, strict=True)]

    def add_families(self, max_jobs: int) -> None:
        """Find the members of each family, and name them."""
        families = {
            name: job
            for name, job in self.spec.jobs.items()
            # What is wrong with a collection that is not there is known already.
            if all(axis.each in self.each for axis in _list_walks(job.matrix))
        }
        total = 0
        for name, job in families.items():
            total += count_members(job.matrix, self.each)
            if total > max_jobs:
                message = f"the workflow has more than {max_jobs:,} jobs with this one; split it"
                self.faults.append(Fault(("jobs", name), message, at_key=True))
                return
        owners: dict[str, str] = {}
        for name, job in families.items():
            place = ("jobs", name, "matrix")
            members, faults = expand_matrix(job.matrix, self.each, place)
            self.faults += faults
            named = [Member(name + make_suffix(axes), axes) for axes in members]
            self.families[name] = Group(name, list_axes(job.matrix), named)
            for member in named:
                other = owners.setdefault(member.key, name)
                if other != name or len(member.key) > MAX_NAME:
                    self._refuse_name(member, name, other)
            if len({member.key for member in named}) < len(named):
                message = "two members have the same name: their values differ only in what names cannot show"
                self.faults.append(Fault(place, message, at_key=True))

    def _refuse_name(self, member: Member, name: str, other: str) -> None:
        if wrong := check_name(member.key):
            self.faults.append(Fault(("jobs", name, "matrix"), f"name {quote_name(member.key)} of a member {wrong}"))
        else:
            message = f"two jobs have the name {quote_name(member.key)}: from '{other}' and '{name}'; rename one"
            self.faults.append(Fault(("jobs", name), message, at_key=True))

    def add_datasets(self) -> None:
        """Name the datasets that jobs make."""
        producers, _ = find_producers(self.spec)
        results = set(self.spec.results)
        for name, producer in producers.items():
            family = self.families[producer]
            output = self.spec.jobs[producer].outputs[name]
            members = [Member(name + job.key[len(producer) :], job.axes) for job in family.members]
            self.groups[name] = Group(name, family.axes, members)
            for member, job in zip(members, family.members, strict=True):
                self.datasets[member.key] = DatasetPlan(
                    key=member.key,
                    name=name,
                    producer=job.key,
                    datatype=output.type,
                    result=name in results,
                    comment=output.comment,
                )

    def add_jobs(self, typed: Mapping[str, Any]) -> None:
        """Make every job, with its edges."""
        edges = 0
        published: dict[str, str] = {}
        for name, job in self.spec.jobs.items():
            path = ("jobs", name)
            builder = MemberBuilder(job, path, self.spec.defaults, self.texts, typed, self.extensions)
            for member in self.families[name].members:
                inputs, needs = self._connect(name, job, member)
                edges += sum(len(item.keys) for item in inputs) + len(needs) + len(job.outputs)
                if edges > MAX_EDGES:
                    message = f"the workflow has more than {MAX_EDGES:,} edges with this job; collect in steps"
                    self.faults.append(Fault(path, message, at_key=True))
                    return
                rendered = builder.render(member.axes)
                suffix = member.key[len(name) :]
                self.jobs[member.key] = JobPlan(
                    name=member.key,
                    family=name,
                    axes=member.axes,
                    inputs=inputs,
                    outputs=tuple(OutputPlan(output, output + suffix, file) for output, file in rendered.paths.items()),
                    needs=needs,
                    skipped=not builder.decide(member.axes),
                    **builder.settings,
                    **rendered.settings,
                )
                for output, target in rendered.settings["publish"].items():
                    other = published.setdefault(target, member.key)
                    if other != member.key:
                        message = f"jobs '{other}' and '{member.key}' both publish {quote_name(target)}"
                        builder.faults.append(Fault((*path, "publish", output), message))
                if len(self.faults) + len(builder.faults) >= MAX_PROBLEMS:
                    break
            self.faults += builder.faults

    def _connect(
        self, name: str, job: JobSpec, member: Member
    ) -> tuple[tuple[InputPlan, ...], tuple[tuple[str, bool], ...]]:
        """Return the edges that lead to one job."""
        axes = member.axes
        if job.matrix is not None:
            walked = {name_each(v.each): axes[axis] for axis, v in job.matrix.axes.items() if isinstance(v, EachSpec)}
            axes = axes | walked if walked else axes
        inputs = []
        for dataset, mode in job.inputs.items():
            group = self.groups[dataset]
            keys, collection = group.find_members(axes, everything=mode.startswith("all"))
            if not keys:
                self.faults.append(make_no_match(name, ("inputs", dataset), group, axes))
            inputs.append(InputPlan(dataset, keys, collection, mode.endswith("partial")))
        needs: list[tuple[str, bool]] = []
        for parent, need in job.needs.items():
            group = self.families[parent]
            keys, _ = group.find_members(axes)
            if not keys:
                self.faults.append(make_no_match(name, ("needs", parent), group, axes))
            needs += [(key, need == "done") for key in keys]
        return tuple(inputs), tuple(needs)
