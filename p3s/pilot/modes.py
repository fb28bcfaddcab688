"""Two ways to start a payload that the first p3s had, asked for by variables of the job.

``P3S_EXECMODE`` (any value, such as ``SHELL``) has a shell start the payload; ``P3S_MODE=COPY`` has it run from a
copy in the sandbox, so that the program may change meanwhile where it lies.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from p3s.engine.payloads import EXECMODE, MODE
from p3s.engine.states import Reason
from p3s.pilot.failure import AttemptFailed

if TYPE_CHECKING:
    from p3s.pilot.sandbox import Sandbox
    from p3s.wire import JobOrder

__all__ = ["adapt_command"]


def adapt_command(command: list[str], order: JobOrder, sandbox: Sandbox) -> list[str]:
    """Return how a payload is started, as its job's variables ask.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    order : JobOrder
        With the variables.
    sandbox : Sandbox
        Where a copy goes.

    Returns
    -------
    list of str
        Program and arguments.

    Raises
    ------
    AttemptFailed
        If the program cannot be copied.
    """
    if order.payload is None:
        return command
    if order.env.get(MODE) == "COPY" and order.payload.startswith("/"):
        command = [_copy(Path(order.payload), sandbox), *command[1:]]
    # The program is quoted, its arguments are what the shell is for.
    return ["sh", "-c", " ".join([shlex.quote(command[0]), *command[1:]])] if EXECMODE in order.env else command


def _copy(source: Path, sandbox: Sandbox) -> str:
    target = sandbox.path / source.name
    if target.exists():
        message = (
            f"cannot copy {source} into the sandbox: a file that travels with the job is called {source.name}, too"
        )
        raise AttemptFailed(Reason.NONSTARTER, message)
    try:
        shutil.copy2(source, target)
        target.chmod(0o700)
    except OSError as error:
        raise AttemptFailed(Reason.NONSTARTER, f"cannot copy {source} into the sandbox: {error.strerror}") from error
    return str(target)
