"""Who starts a payload: its command, its environment, its process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tomllib
from typing import TYPE_CHECKING

from p3s.engine.states import Reason
from p3s.pilot.failure import AttemptFailed
from p3s.pilot.modes import adapt_command
from p3s.pilot.protect import clean_environ
from p3s.pilot.sandbox import resolve_place

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from p3s.pilot.options import PilotOptions
    from p3s.pilot.sandbox import Sandbox
    from p3s.wire import JobOrder

__all__ = ["make_command", "make_environment", "read_secrets", "start_payload"]


def make_environment(
    order: JobOrder, sandbox: Sandbox, options: PilotOptions, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a payload; a later source wins.

    Parameters
    ----------
    order : JobOrder
        With defaults and job variables merged by the server.
    sandbox : Sandbox
        Its folders.
    options : PilotOptions
        With the site's variables and the file with secrets.
    inherited : mapping
        The pilot's own environment. Its ``P3S_`` variables stay here: among them are tokens.

    Returns
    -------
    dict of str to str
        Complete.

    Raises
    ------
    AttemptFailed
        If a secret is not known on this host.
    """
    environ = clean_environ(inherited, options.protection)
    environ.update(options.environ)
    environ["TMPDIR"] = sandbox.locate("tmp")
    for name, value in order.env.items():
        environ[name] = value if isinstance(value, str) else _find_secret(value, options)
    environ.update(order.params)
    environ.update(order.axes)
    for one in order.inputs:
        if one.name not in order.collections:
            environ[one.name] = resolve_place(one.place)
    for name in order.collections:
        environ[f"{name}_list"] = str(sandbox.find_list(name))
    for output in order.outputs:
        environ[output.name] = str(sandbox.find_output(output.path))
    environ.update(
        P3S_JOB_UUID=order.job,
        P3S_PILOT_UUID=options.uuid,
        P3S_ATTEMPT=order.attempt,
        P3S_WORKFLOW_UUID=order.workflow,
        P3S_MANIFEST=sandbox.locate("manifest.json"),
    )
    return environ


def make_command(order: JobOrder, sandbox: Sandbox) -> list[str]:
    """Return what is executed.

    Parameters
    ----------
    order : JobOrder
        With a script or an executable.
    sandbox : Sandbox
        Where the script and the bundle are.

    Returns
    -------
    list of str
        Program and arguments.

    Raises
    ------
    AttemptFailed
        If there is nothing that could be executed.
    """
    if order.run is not None:
        shell = shlex.split(order.shell)
        if not shell:
            raise AttemptFailed(Reason.NONSTARTER, "the job's `shell` is empty; leave it out for bash")
        return [*shell, sandbox.locate("run"), *order.args]
    payload = order.payload or ""
    if payload.startswith("/"):
        return adapt_command([payload, *order.args], order, sandbox)
    if payload and (sandbox.path / payload).is_file():
        return adapt_command([str(sandbox.path / payload), *order.args], order, sandbox)
    raise AttemptFailed(Reason.NONSTARTER, f"payload '{payload}' is neither an absolute path nor a file of the bundle")


def start_payload(
    command: list[str], environ: dict[str, str], sandbox: Sandbox, umask: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a payload in a session of its own, with its output in files.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    environ : dict
        All its variables.
    sandbox : Sandbox
        Its current folder.
    umask : int or None
        None for this process's own.

    Returns
    -------
    Popen
        To be waited for by the reaper, not through this object.

    Raises
    ------
    AttemptFailed
        If it cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    stdout = stderr = -1
    try:
        stdout = os.open(sandbox.locate("stdout"), flags, 0o600)
        stderr = os.open(sandbox.locate("stderr"), flags, 0o600)
        # No preexec_fn: with it Python would fork the whole pilot instead of using vfork.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=sandbox.root,
            env=environ,
            start_new_session=True,
            umask=-1 if umask is None else umask,
        )
    except (OSError, ValueError) as error:
        raise AttemptFailed(Reason.NONSTARTER, _explain_start(command[0], error)) from error
    finally:
        for descriptor in (stdout, stderr):
            if descriptor >= 0:
                os.close(descriptor)


def read_secrets(path: Path) -> dict[str, str]:
    """Return the secrets of this host.

    Parameters
    ----------
    path : Path
        A TOML file if its name ends so, else JSON; one text per name.

    Returns
    -------
    dict of str to str
        Value by name.

    Raises
    ------
    AttemptFailed
        If the file cannot be read. The message says nothing of its content.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        return {str(name): str(value) for name, value in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no table of names and texts"
        raise AttemptFailed(Reason.REFUSED, f"the pilot's file of secrets {path} cannot be read: {cause}") from error


def _find_secret(value: Mapping[str, str], options: PilotOptions) -> str:
    name = value.get("secret", "")
    if options.secrets is None:
        raise AttemptFailed(
            Reason.REFUSED,
            f"secret '{name}' is not known on this host: the pilot was started without a file of secrets",
        )
    # Read each time: whoever adds a secret need not restart pilots.
    secrets = read_secrets(options.secrets)
    if name not in secrets:
        raise AttemptFailed(Reason.REFUSED, f"secret '{name}' is not in {options.secrets} on this host; add it there")
    return secrets[name]


def _explain_start(program: str, error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return f"'{program}' cannot be started: {error}"
    hint = {8: "; a script's first line must be like #!/bin/sh", 13: "; is it executable?"}.get(error.errno or 0, "")
    return f"'{program}' cannot be started: {error.strerror}{hint}"
