"""What a YAML file may say: one definition gives validation, the editor's JSON Schema and the API's body.

Scalars arrive as their source text, so ``004610`` stays; the types below turn text into numbers where numbers
are meant. Shorthands (``retry: 1``, ``inputs: [raw]``) are normalised before validation, so that an error's
place is a path of the document and never names a branch of a union.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from p3s.engine.units import (
    Duration,
    Shorthand,
    Size,
    Text,
    parse_axis,
    parse_env_value,
    refuse,
    to_mapping,
)

if TYPE_CHECKING:
    # It brings the YAML parser, which whoever only sends or takes a spec can do without; pydantic does not look
    # behind the annotation of a private attribute.
    from p3s.engine.problems import Source  # noqa: TC004

__all__ = [
    "DagSpec",
    "DatasetSpec",
    "DefaultsSpec",
    "EachSpec",
    "InputMode",
    "JobSpec",
    "MatrixSpec",
    "NeedMode",
    "OutputSpec",
    "ParamSpec",
    "ResourcesSpec",
    "RetrySpec",
    "StandaloneSpec",
    "TaskSpec",
    "make_schema",
]

#: ``plain`` takes the members that agree with the job, ``all`` the collection; ``partial`` bears with gaps.
InputMode = Literal["plain", "all", "partial", "all-partial"]
#: ``finished`` waits for a success, ``done`` for any end.
NeedMode = Literal["finished", "done"]

_WORD: dict[str, Any] = {"type": "string"}
_WORDS: dict[str, Any] = {"type": "array", "items": _WORD}
_NULL: dict[str, Any] = {"type": "null"}
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}


def _describe_object(key: str) -> dict[str, Any]:
    """Return the JSON Schema of a mapping with this one key."""
    return {"type": "object", "properties": {key: _WORD}, "required": [key], "additionalProperties": False}


_EACH = _describe_object("each")


class Spec(BaseModel):
    """Base of all parts of a document: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True, defer_build=True)


class ParamSpec(Spec):
    """A parameter of the DAG; one without a default must be given at each load."""

    type: Literal["str", "int", "float", "bool"] = "str"
    required: bool | None = None
    default: Text | None = None
    choices: list[Text] | None = None
    help: Text = ""

    @model_validator(mode="after")
    def _check(self) -> ParamSpec:
        if self.required and self.default is not None:
            refuse("is required and has a default; drop one of the two")
        if self.required is False and self.default is None:
            refuse("is not required and has no default; give `default:`")
        return self


class DatasetSpec(Spec):
    """An external dataset: one path, a list of paths, a pattern that the client expands, or another DAG's output.

    Attributes
    ----------
    origin : str or None
        ``from``: ``DAG/DATASET`` or ``OWNER/DAG/DATASET``.
    match : dict
        Parameters of the workflow that makes it, with the values that they must have there.
    select : str
        Which of the workflows that match: the one that was started last.
    """

    path: Text | None = None
    paths: list[Text] | None = Field(default=None, min_length=1)
    glob: Text | None = None
    origin: Text | None = Field(default=None, alias="from")
    match: dict[str, Text] = Field(default_factory=dict)
    select: Literal["latest"] = "latest"
    type: Text = ""
    comment: Text = ""

    @model_validator(mode="after")
    def _check(self) -> DatasetSpec:
        places = {"path": self.path, "paths": self.paths, "glob": self.glob, "from": self.origin}
        given = [key for key, value in places.items() if value is not None]
        if len(given) != 1:
            refuse(f"needs one of `path`, `paths`, `glob` and `from`{', has ' + ' and '.join(given) if given else ''}")
        if self.origin is None and self.model_fields_set & {"match", "select"}:
            refuse("has `match` or `select` without `from`, to which they belong")
        return self

    @property
    def is_single(self) -> bool:
        """Whether it is one unit of data rather than a collection."""
        return self.path is not None or self.origin is not None


class OutputSpec(Spec):
    """A file that a job makes: its path in the attempt's folder (by default its name), its datatype, a comment."""

    path: Text | None = None
    type: Text = ""
    comment: Text = ""


class RetrySpec(Spec):
    """How often, and when, a payload that failed is tried again."""

    max: int = Field(default=0, ge=0, le=1000)
    backoff: Duration = 0.0
    factor: float = Field(default=2.0, ge=1.0, le=100.0)
    cap: Duration = 3600.0
    when: list[Text] = Field(default_factory=list)

    @field_validator("when")
    @classmethod
    def _check_when(cls, value: list[str]) -> list[str]:
        reasons = ("exit-code", "signal", "timelimit", "memory", "missing-output")
        for item in value:
            code = int(item) if item.isascii() and item.isdigit() and len(item) < 4 else 0
            if item not in reasons and not 1 <= code <= 255:
                refuse(f"'{item}' is neither an exit code (1 to 255) nor one of {', '.join(reasons)}")
        return value


class ResourcesSpec(Spec):
    """What a job needs from its pilot."""

    cpus: int | None = Field(default=None, ge=1, le=100_000)
    memory: Size | None = None
    labels: list[Text] | None = None


class EachSpec(Spec):
    """An axis with one value for each member of an external collection."""

    each: Text


class MatrixSpec(Spec):
    """The axes of a family, by name, with members to leave out and to add."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)
    __pydantic_extra__: dict[  # type: ignore[assignment,unused-ignore]
        str,
        Annotated[
            Any,
            Shorthand(parse_axis, {"type": "array", "minItems": 1, "items": _SCALAR}, _EACH, replace=True),
        ],
    ]

    include: list[dict[str, Text]] = Field(default_factory=list)
    exclude: list[dict[str, Text]] = Field(default_factory=list)

    @property
    def axes(self) -> dict[str, tuple[str, ...] | EachSpec]:
        """Each axis with its values, or with the collection that gives them."""
        return {
            name: EachSpec(each=value["each"]) if isinstance(value, dict) else value
            for name, value in (self.__pydantic_extra__ or {}).items()
        }


_Env = dict[
    str,
    Annotated[
        str | dict[str, str],
        Shorthand(
            parse_env_value,
            {"type": ["string", "number", "boolean", "null"]},
            _describe_object("secret"),
            replace=True,
        ),
    ],
]
_Retry = Annotated[
    RetrySpec,
    Shorthand(lambda value: {"max": value} if isinstance(value, str | int) else value, {"type": "integer"}),
]
_Output = Annotated[
    OutputSpec,
    Shorthand(lambda value: {"path": value} if value is None or isinstance(value, str) else value, _WORD, _NULL),
]
_Outputs = Annotated[dict[str, _Output], Shorthand(lambda value: to_mapping(value, None), _WORDS)]
_Input = Annotated[InputMode, Shorthand(lambda value: "plain" if value is None else value, _NULL)]
_Inputs = Annotated[dict[str, _Input], Shorthand(lambda value: to_mapping(value, None), _WORDS)]
_Need = Annotated[NeedMode, Shorthand(lambda value: "finished" if value is None else value, _NULL)]
_Needs = Annotated[dict[str, _Need], Shorthand(lambda value: to_mapping(value, None), _WORDS)]
_Dataset = Annotated[
    DatasetSpec,
    Shorthand(lambda value: {"path": value} if isinstance(value, str) else value, _WORD),
]
_Param = Annotated[
    ParamSpec,
    Shorthand(
        lambda value: {} if value is None else value if isinstance(value, dict) else {"default": value},
        {"type": ["string", "number", "boolean"]},
        _NULL,
    ),
]


class DefaultsSpec(Spec):
    """What jobs have where they say nothing themselves."""

    env: _Env = Field(default_factory=dict)
    shell: Text | None = None
    jobtype: Text | None = None
    priority: int | None = Field(default=None, ge=-1_000_000, le=1_000_000)
    timelimit: Duration | None = Field(default=None, gt=0)
    retry: _Retry | None = None
    resources: ResourcesSpec | None = None


class TaskSpec(DefaultsSpec):
    """What a job of a DAG and a standalone job have in common: a payload and how to run it."""

    run: Text | None = None
    payload: Text | None = None
    args: list[Text] = Field(default_factory=list)
    outputs: _Outputs = Field(default_factory=dict)
    publish: dict[str, Text] = Field(default_factory=dict)
    exclusive: bool = False


class JobSpec(TaskSpec):
    """One job of a DAG, or with `matrix` a family of jobs; without `run` and `payload` a sync point."""

    matrix: MatrixSpec | None = None
    inputs: _Inputs = Field(default_factory=dict)
    needs: _Needs = Field(default_factory=dict)
    verify: bool = False
    condition: Text | None = Field(default=None, alias="if")


class StandaloneSpec(TaskSpec):
    """A job on its own.

    Attributes
    ----------
    files : list of str
        Small files that travel with it and are unpacked into its sandbox.
    results : list of str
        Outputs whose content the server keeps.
    hold : bool
        Whether it is to be created held (the original's state ``template``).
    """

    name: Text = "job"
    files: list[Text] = Field(default_factory=list)
    results: list[Text] = Field(default_factory=list)
    deadline: Duration | None = Field(default=None, gt=0)
    on_deadline: Literal["last", "drop"] = Field(default="last", alias="on-deadline")
    hold: bool = False

    _source: Source | None = PrivateAttr(default=None)


_Job = Annotated[JobSpec, Shorthand(lambda value: {} if value is None else value, _NULL)]


class DagSpec(Spec):
    """A workflow's template."""

    name: Text
    params: dict[str, _Param] = Field(default_factory=dict)
    deadline: Duration | None = Field(default=None, gt=0)
    on_deadline: Literal["last", "drop"] = Field(default="last", alias="on-deadline")
    defaults: DefaultsSpec = DefaultsSpec()
    files: list[Text] = Field(default_factory=list)
    datasets: dict[str, _Dataset] = Field(default_factory=dict)
    results: list[Text] = Field(default_factory=list)
    jobs: dict[str, _Job]

    _source: Source | None = PrivateAttr(default=None)


def make_schema() -> dict[str, Any]:
    """Return the JSON Schema of a workflow or standalone job, for editors.

    Returns
    -------
    dict
        A JSON Schema of draft 2020-12.

    Examples
    --------
    >>> sorted(make_schema()["$defs"])[:3]
    ['DagSpec', 'DatasetSpec', 'DefaultsSpec']
    """
    template = "#/$defs/{model}"
    dag = DagSpec.model_json_schema(ref_template=template)
    job = StandaloneSpec.model_json_schema(ref_template=template)
    shared = dag.pop("$defs") | job.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "p3s workflow",
        "if": {"anyOf": [{"required": ["run"]}, {"required": ["payload"]}]},
        "then": {"$ref": "#/$defs/StandaloneSpec"},
        "else": {"$ref": "#/$defs/DagSpec"},
        "$defs": shared | {"DagSpec": dag, "StandaloneSpec": job},
    }
