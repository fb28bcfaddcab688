"""What a pilot's exit code says; those up to 4, 254 and 255 are the original's."""

from __future__ import annotations

__all__ = [
    "EXIT_AWAY",
    "EXIT_BLACK_HOLE",
    "EXIT_FAIL",
    "EXIT_INCONSISTENT",
    "EXIT_LOG",
    "EXIT_NONSENSE",
    "EXIT_NO_ID",
    "EXIT_OK",
    "EXIT_USAGE",
]

#: It did what it was asked to, or no work came.
EXIT_OK = 0
#: No answer from the server within the limit.
EXIT_AWAY = 1
#: The server refused this pilot, or said FAIL.
EXIT_FAIL = 2
#: What answers is no p3s server, or one of another version.
EXIT_NONSENSE = 3
#: The server contradicts itself.
EXIT_INCONSISTENT = 4
#: Options that no pilot can run with.
EXIT_USAGE = 64
#: Payloads cannot be started on this machine (EX_OSERR of sysexits.h).
EXIT_BLACK_HOLE = 71
#: The server sent a job without its id.
EXIT_NO_ID = 254
#: The log file cannot be written.
EXIT_LOG = 255
