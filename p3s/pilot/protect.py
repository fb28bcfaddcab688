"""What keeps payloads from harming the pilot's host: which are refused, what they see, what they may use."""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.places import is_url, normalise_place
from p3s.engine.states import Reason
from p3s.errors import BadInput, Problem
from p3s.pilot.failure import AttemptFailed
from p3s.pilot.publish import is_accepted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from p3s.pilot.options import PilotOptions
    from p3s.pilot.sandbox import Sandbox
    from p3s.wire import JobOrder

__all__ = [
    "LIMITS",
    "Protection",
    "check_protection",
    "clean_environ",
    "find_open_secrets",
    "refuse_order",
    "refuse_target",
    "wrap_command",
]

#: A limit's name to the option of prlimit(1) that sets it.
LIMITS = {"file-size": "fsize", "open-files": "nofile", "processes": "nproc", "core-size": "core"}
#: Variables by which loaders, shells and interpreters are told to run something else first.
_STEERING = re.compile(
    r"LD_.*|GCONV_PATH|PATH|IFS|ENV|SHELL|SHELLOPTS|BASH.*|PS4|PROMPT_COMMAND|PYTHON.*|PERL.*|RUBY.*|NODE_.*|LUA_.*"
    r"|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|R_.*|TCLLIBPATH|GIT_.*|EDITOR|PAGER|HOME|ROOT.*"
    r"|P3S_EXECMODE",
    re.IGNORECASE,
)
#: What a clean environment keeps.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ")


@dataclass(frozen=True, slots=True)
class Protection:
    """What a pilot's host asks of payloads.

    Attributes
    ----------
    payloads : tuple of Path
        Only executables below these folders run; empty for any payload.
    published : tuple of Path
        Only names below these folders are published; with `stores` empty, too, any is, or none where payloads are
        isolated or chosen, because the pilot itself publishes, with rights that they lack.
    stores : tuple of str
        The same for names at URLs.
    clean : bool
        Whether payloads get none of the pilot's variables but a few.
    passed : tuple of str
        Variables that they get all the same.
    limits : dict of str to int
        By the names of `LIMITS`; sizes in bytes.
    enforce : bool
        Whether address space and CPU time end where the job's own demands do.
    umask : int or None
        Of payloads; None for the pilot's.
    isolate : bool
        Whether payloads run under bubblewrap.
    hidden : tuple of Path
        Files with secrets, which isolated payloads find empty.
    """

    payloads: tuple[Path, ...] = ()
    published: tuple[Path, ...] = ()
    stores: tuple[str, ...] = ()
    clean: bool = False
    passed: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    enforce: bool = False
    umask: int | None = None
    isolate: bool = False
    hidden: tuple[Path, ...] = ()


def check_protection(protection: Protection) -> None:
    """Refuse what this host cannot do.

    Raises
    ------
    BadInput
        If a program that is needed is not installed, or a folder is none.
    """
    needed = [("prlimit", "util-linux", "--limit and --enforce")] * bool(protection.limits or protection.enforce)
    needed += [("bwrap", "bubblewrap", "--isolate")] * protection.isolate
    problems = [
        Problem(f"{wish} needs the program {program}; install the package {package}")
        for program, package, wish in needed
        if shutil.which(program) is None
    ]
    problems += [
        Problem(f"{path} is no folder; {option} names folders {what}")
        for option, what, paths in (
            ("--accept-payload", "of executables", protection.payloads),
            ("--accept-publish", "of published names", protection.published),
        )
        for path in paths
        if not path.is_dir()
    ]
    if problems:
        raise BadInput(problems)


def find_open_secrets(path: Path | None) -> str:
    """Return a warning if others than its owner can read the file of secrets, else an empty text."""
    if path is None or not path.exists() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return ""
    return f"others can read the secrets in {path}; `chmod 600 {path}` closes it"


def refuse_order(order: JobOrder, options: PilotOptions) -> None:
    """Refuse what this host does not run, whatever the server thinks.

    Raises
    ------
    AttemptFailed
        With the reason ``refused``, which costs the job nothing.
    """
    for what, value, accepted in (
        ("owner", order.owner, options.users),
        ("jobtype", order.jobtype, options.jobtypes),
    ):
        if accepted and value not in accepted:
            raise AttemptFailed(Reason.REFUSED, f"this pilot does not run jobs of {what} {value}")
    for output in order.outputs:
        if output.publish:
            refuse_target(output.publish, options.protection)
    folders = options.protection.payloads
    if not folders:
        return
    names = ", ".join(map(str, folders))
    if not _is_below(order.payload, folders):
        shown = order.payload if order.run is None else "a script (`run`)"
        raise AttemptFailed(Reason.REFUSED, f"this pilot runs executables below {names} only, not {shown}")
    given = {*order.env, *order.params, *order.axes, *(one.name for one in order.inputs)}
    given |= {one.name for one in order.outputs}
    steering = sorted(name for name in given if _STEERING.fullmatch(name))
    if steering:
        said = f"it would decide how a program starts, and this pilot runs those below {names} as they are"
        raise AttemptFailed(Reason.REFUSED, f"the job sets {', '.join(steering)}: {said}")


def refuse_target(target: str, protection: Protection) -> None:
    """Refuse to publish outside the folders and URLs that are open to it.

    Raises
    ------
    AttemptFailed
        With the reason ``refused``.
    """
    open_to = [*protection.published, *protection.stores]
    if not open_to and not protection.isolate and not protection.payloads:
        return
    if is_url(target):
        accepted = any(normalise_place(target).startswith(f"{store}/") for store in protection.stores)
    else:
        accepted = is_accepted(Path(target), protection.published)
    if not accepted:
        where = f"below {', '.join(map(str, open_to))} only" if open_to else "nothing"
        message = f"this pilot publishes {where}, not {target}; --accept-publish names folders that are open to it"
        raise AttemptFailed(Reason.REFUSED, message)


def clean_environ(inherited: Mapping[str, str], protection: Protection) -> dict[str, str]:
    """Return the pilot's variables that payloads get; those of p3s, among them tokens, never are."""
    found = {name: value for name, value in inherited.items() if not name.startswith("P3S_")}
    if not protection.clean:
        return found
    kept = {*KEPT, *protection.passed}
    return {name: value for name, value in found.items() if name in kept or name.startswith("LC_")}


def wrap_command(command: list[str], order: JobOrder, sandbox: Sandbox, options: PilotOptions) -> list[str]:
    """Return `command` below the programs that limit and isolate it."""
    protection = options.protection
    found = [*_limit(order, options), *command]
    if protection.isolate:
        found = [*_isolate(order, sandbox, options), *found]
    if found != command and not os.access(command[0], os.X_OK) and shutil.which(command[0]) is None:
        # Said here, because prlimit and bwrap would say it in words of their own, on the payload's stderr.
        raise AttemptFailed(Reason.NONSTARTER, f"'{command[0]}' cannot be started; is it there, and executable?")
    return found


def _is_below(payload: str | None, folders: Iterable[Path]) -> bool:
    if payload is None or not payload.startswith("/"):
        return False
    # Links are followed first: one that leads out of the folder does not count.
    real = Path(payload).resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def _limit(order: JobOrder, options: PilotOptions) -> Sequence[str]:
    protection = options.protection
    limits = {LIMITS[name]: value for name, value in protection.limits.items()}
    if protection.enforce:
        limits["cpu"] = math.ceil(order.timelimit * max(order.cpus, 1) + options.grace)
        if order.memory:
            limits["as"] = order.memory
    if not limits:
        return ()
    return ["prlimit", *(f"--{name}={value}" for name, value in sorted(limits.items())), "--"]


def _isolate(order: JobOrder, sandbox: Sandbox, options: PilotOptions) -> Sequence[str]:
    """Everything read-only but the attempt's own folders; other processes and what holds secrets out of sight."""
    found = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for path in options.protection.hidden:
        if path.is_file():
            found += ["--ro-bind", "/dev/null", str(path.resolve())]
    # Records of undelivered results hold tokens of attempts.
    found += ["--tmpfs", str(options.work), "--bind", str(sandbox.path), str(sandbox.path)]
    if options.data.is_relative_to(options.work):
        found += ["--ro-bind", str(options.data), str(options.data)]
    if order.outputs:
        found += ["--bind", str(sandbox.folder), str(sandbox.folder)]
    return [*found, "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--chdir", str(sandbox.path), "--"]
