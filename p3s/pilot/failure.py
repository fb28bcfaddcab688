"""How an attempt fails before or after its payload, as the acting half tells it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from p3s.engine.states import Reason

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AttemptFailed", "explain_os_error"]


class AttemptFailed(Exception):
    """An attempt cannot go on; this becomes its report.

    Parameters
    ----------
    reason : Reason
        What the server is told.
    message : str
        What a person is told.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def explain_os_error(error: OSError, path: Path | str, reason: Reason = Reason.STAGING) -> AttemptFailed:
    """Return the failure that an error of the file system stands for.

    Parameters
    ----------
    error : OSError
        What happened.
    path : path
        Where, if the error does not say.
    reason : Reason
        The reason unless the disk is full.

    Returns
    -------
    AttemptFailed
        To be raised.
    """
    place = error.filename or path
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return AttemptFailed(Reason.NO_SPACE, f"no space left for {place}; free some on the pilot's host")
    return AttemptFailed(reason, f"{place}: {error.strerror or error}")
