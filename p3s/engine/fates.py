"""What becomes of a file that arrives: its fates, and which of them are the last word."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["SETTLED", "Fate"]


class Fate(StrEnum):
    """What was decided about a file that an injector has seen."""

    #: It changed within its rule's quiet time; the injector looks again.
    GROWING = "growing"
    #: It is quiet and smaller than its rule asks for; the injector looks again when it changes.
    TOO_SMALL = "too-small"
    #: It is good, and waits for its turn or for the rest of its group.
    WAITING = "waiting"
    #: Its workflow is being loaded; an injector that was cut off goes on from here.
    STARTING = "starting"
    #: A workflow or a job works on it.
    STARTED = "started"
    #: The same content was started under another name.
    DUPLICATE = "duplicate"
    #: Its rule takes only a fraction of the files, and not this one.
    SAMPLED_OUT = "sampled-out"
    #: It waited while too many newer ones came, or its group stayed incomplete.
    DROPPED = "dropped"
    #: The server refused its workflow.
    FAILED = "failed"
    #: It went away before it was started.
    GONE = "gone"


#: Fates that only reprocessing, or a change of the file, leads out of.
SETTLED = frozenset({Fate.STARTED, Fate.DUPLICATE, Fate.SAMPLED_OUT, Fate.DROPPED, Fate.FAILED})
