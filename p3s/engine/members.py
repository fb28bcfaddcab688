"""The parts of a job that are the same for all members of its family, and those rendered for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from p3s.engine.expressions import ExpressionError, decide_condition, render_template
from p3s.engine.names import make_extension, quote_name
from p3s.engine.paths import normalise_path, take_basename
from p3s.engine.places import check_target
from p3s.engine.plan import Resources, Retry
from p3s.engine.problems import Fault
from p3s.engine.tasks import check_paths, find_payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p3s.engine.spec import DefaultsSpec, RetrySpec, TaskSpec
    from p3s.engine.yamltext import Path

__all__ = ["MemberBuilder", "Rendered"]

DEFAULT_TIMELIMIT = 3600.0
DEFAULT_SHELL = "bash -eo pipefail"
#: Bytes of all arguments and variables of one job: what Linux lets a new process have is 128 KiB for each.
MAX_ENVIRONMENT = 1_000_000


@dataclass(frozen=True, slots=True)
class Rendered:
    """What differs between the members of a family: fields of `JobPlan`, and the outputs' paths by name."""

    settings: dict[str, Any]
    paths: dict[str, str]


class MemberBuilder:
    """Renders the members of one family.

    Parameters
    ----------
    task : TaskSpec
        The family's job.
    path : tuple
        Where it stands.
    defaults : DefaultsSpec
        What it has where it says nothing itself.
    texts : mapping of str to str
        Parameters as text.
    typed : mapping of str to object
        Parameters in their types, for ``if``.
    extensions : mapping of str to str
        Those of registered datatypes: they name outputs without a path.

    Attributes
    ----------
    settings : dict
        Fields of `JobPlan` that are the same for all members.
    faults : list of Fault
        What turned out to be wrong.
    """

    def __init__(
        self,
        task: TaskSpec,
        path: Path,
        defaults: DefaultsSpec,
        texts: Mapping[str, str],
        typed: Mapping[str, Any],
        extensions: Mapping[str, str],
    ) -> None:
        self.path, self.texts, self.typed = path, texts, typed
        self.faults: list[Fault] = []
        self._args = tuple(task.args)
        self._env = task.env if task is defaults else defaults.env | task.env
        self._paths = {
            name: output.path or name + make_extension(output.type, extensions) for name, output in task.outputs.items()
        }
        self._publish = task.publish
        self._condition = getattr(task, "condition", None)
        # What holds no expression is computed once and shared by all members.
        self._fixed: Rendered | None = None
        self._varies = any("${{" in text for text in self._list_texts())
        self.settings = _merge_settings(task, defaults)

    def render(self, axes: Mapping[str, str]) -> Rendered:
        """Return what is special about the member with these values."""
        if self._fixed is None or self._varies:
            self._fixed = self._render(axes)
        return self._fixed

    def decide(self, axes: Mapping[str, str]) -> bool:
        """Return whether the member with these values is to run."""
        if self._condition is None:
            return True
        try:
            return decide_condition(self._condition, self.typed, axes)
        except ExpressionError as error:
            self.faults.append(Fault((*self.path, "if"), str(error)))
            return False

    def _list_texts(self) -> list[str]:
        env = [value for value in self._env.values() if isinstance(value, str)]
        return [*self._args, *env, *self._paths.values(), *self._publish.values()]

    def _render(self, axes: Mapping[str, str]) -> Rendered:
        def render(text: str, *place: str | int) -> str:
            try:
                return render_template(text, self.texts, axes)
            except ExpressionError as error:
                self.faults.append(Fault((*self.path, *place), str(error)))
                return "unknown"

        env = {
            name: render(value, "env", name) if isinstance(value, str) else value for name, value in self._env.items()
        }
        args = tuple(render(text, "args", number) for number, text in enumerate(self._args))
        paths = {name: render(text, "outputs", name) for name, text in self._paths.items()}
        publish = {name: render(text, "publish", name) for name, text in self._publish.items()}
        self.faults += check_paths(paths, self.path)
        for name, place in publish.items():
            if wrong := check_target(place):
                message = f"published name {quote_name(place)} of output '{name}' {wrong}"
                self.faults.append(Fault((*self.path, "publish", name), message))
            if place.endswith("/"):
                publish[name] = place + take_basename(paths[name])
        size = sum(len(value) for value in (*args, *env.values()) if isinstance(value, str))
        if size > MAX_ENVIRONMENT:
            message = f"arguments and variables have {size:,} characters; the limit is {MAX_ENVIRONMENT:,}"
            self.faults.append(Fault(self.path, message, at_key=True))
        settings = {"env": env, "args": args, "publish": publish}
        return Rendered(settings, {name: normalise_path(path) for name, path in paths.items()})


def _merge_settings(task: TaskSpec, defaults: DefaultsSpec) -> dict[str, Any]:
    """Return the fields of `JobPlan` that a job or its defaults say."""

    def choose(name: str, fallback: Any) -> Any:
        for part in (task, defaults):
            value = getattr(part, name)
            if value is not None:
                return value
        return fallback

    payload = find_payload(task)
    return {
        "run": task.run,
        "payload": task.payload if payload is None else payload,
        "shell": choose("shell", DEFAULT_SHELL),
        "jobtype": choose("jobtype", "default"),
        "priority": choose("priority", 0),
        "timelimit": choose("timelimit", DEFAULT_TIMELIMIT),
        "retry": _make_retry(choose("retry", None)),
        "resources": _merge_resources(task, defaults),
        "exclusive": task.exclusive,
        "verify": getattr(task, "verify", False),
    }


def _make_retry(spec: RetrySpec | None) -> Retry:
    if spec is None:
        return Retry()
    return Retry(spec.max, spec.backoff, spec.factor, spec.cap, tuple(spec.when))


def _merge_resources(task: TaskSpec, defaults: DefaultsSpec) -> Resources:
    parts = [part.resources for part in (task, defaults) if part.resources is not None]

    def choose(name: str, fallback: Any) -> Any:
        return next((value for part in parts if (value := getattr(part, name)) is not None), fallback)

    return Resources(choose("cpus", 1), choose("memory", 0), tuple(dict.fromkeys(choose("labels", []))))
