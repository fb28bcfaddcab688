"""The original's payloads: one line of text, started as a program or, if the environment says so, by a shell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXECMODE", "MODE", "convert_payload"]

#: Variables of a job that say how its payload is started: any value of the one asks for a shell, ``COPY`` in the
#: other for a copy of the program in the sandbox.
EXECMODE, MODE = "P3S_EXECMODE", "P3S_MODE"


def convert_payload(text: str, env: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a job that runs what the original ran.

    Parameters
    ----------
    text : str
        The original's payload: a program, maybe with arguments, or a line for the shell.
    env : mapping
        The job's variables.

    Returns
    -------
    dict
        ``payload`` and ``args``, or ``run`` and ``shell``. Text with quotes that do not match stays as it is.

    Examples
    --------
    >>> convert_payload("/bin/date -u", {})
    {'payload': '/bin/date', 'args': ['-u']}
    >>> convert_payload("grep -c A $X > $Y", {"P3S_EXECMODE": "SHELL"})
    {'run': 'grep -c A $X > $Y', 'shell': 'sh'}
    >>> convert_payload("env", {})
    {'run': 'exec env', 'shell': 'sh'}
    """
    if EXECMODE in env and env.get(MODE) == "COPY" and text.startswith("/"):
        # The program is copied, the rest of the line is the shell's.
        program, *rest = text.split(maxsplit=1)
        return {"payload": program, "args": rest} if rest else {"payload": program}
    if EXECMODE in env:
        return {"run": text, "shell": "sh"}
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        return {"payload": text}
    if "/" in words[0]:
        return {"payload": words[0], "args": words[1:]} if words[1:] else {"payload": words[0]}
    # A bare name is looked up in the pilot's PATH, as it was.
    return {"run": f"exec {shlex.join(words)}", "shell": "sh"}
