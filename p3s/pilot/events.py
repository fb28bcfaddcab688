"""What the pilot's brain hears and what it orders; all frozen, none of them acts.

Events come in: answers of the server, ends of payloads, signals. Instructions go out; `p3s.pilot.agent` carries
them out. The brain gets the time with each event, so a test can play any story in no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from p3s.wire import AttemptReport, ExchangeBody, ExchangeReply, JobOrder, LogChunk, RegisterReply, RemovalOrder

__all__ = [
    "Answered",
    "Began",
    "Call",
    "CallFailed",
    "Channel",
    "Discard",
    "Ended",
    "Event",
    "Exited",
    "Forget",
    "Instruction",
    "Interrupted",
    "Launch",
    "Leave",
    "LogsRead",
    "Note",
    "Publish",
    "PublishFailed",
    "Published",
    "Recovered",
    "Refresh",
    "Register",
    "RegisterFailed",
    "Registered",
    "Remove",
    "Removed",
    "Settle",
    "Stop",
    "Trouble",
    "Upload",
    "UploadFailed",
    "Uploaded",
    "Watch",
]

#: Calls that the server answers at once go through ``quick``; those that it may hold through ``held`` if they claim,
#: and through ``control`` if they only listen for orders.
Channel: TypeAlias = Literal["quick", "held", "control"]
#: Why a call brought nothing: no answer, the server does not know this pilot, it refuses the call's content,
#: the answer makes no sense, it refuses this pilot for good.
Trouble: TypeAlias = Literal["away", "forgotten", "rejected", "nonsense", "refused"]


# Events -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """The server knows this pilot now."""

    reply: RegisterReply


@dataclass(frozen=True, slots=True)
class RegisterFailed:
    """A try to register brought nothing. `pause` is what the server asks for."""

    trouble: Trouble
    message: str
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """An exchange was answered; `sent` is when it was sent."""

    channel: Channel
    body: ExchangeBody
    reply: ExchangeReply
    sent: float


@dataclass(frozen=True, slots=True)
class CallFailed:
    """An exchange brought nothing; whether the server acted on it is not known. `pause` is what the server asks for."""

    channel: Channel
    body: ExchangeBody
    trouble: Trouble
    message: str
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Began:
    """The payload of an attempt runs."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The payload's first process ended; what it made has not been looked at."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt is over and this is its report; `uploads` says that results must reach the server first."""

    report: AttemptReport
    uploads: bool = False
    publishes: bool = False


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The results of an attempt are on the server."""

    attempt: str


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """They are not; `report` replaces the success if trying again cannot help."""

    attempt: str
    message: str
    report: AttemptReport | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The published names of an accepted attempt are in place."""

    attempt: str


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """They are not, yet."""

    attempt: str
    message: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A finished result that an earlier pilot left undelivered, or accepted and not yet published."""

    report: AttemptReport
    uploads: bool = False
    publishes: bool = False
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """An order to delete files was carried out, or `message` says why not."""

    uuid: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """SIGTERM or SIGINT came."""


@dataclass(frozen=True, slots=True)
class LogsRead:
    """New pieces of output of payloads that somebody watches."""

    chunks: tuple[LogChunk, ...]


Event: TypeAlias = (
    Registered
    | RegisterFailed
    | Answered
    | CallFailed
    | Began
    | Exited
    | Ended
    | Uploaded
    | UploadFailed
    | Published
    | PublishFailed
    | Recovered
    | Removed
    | Interrupted
    | LogsRead
)


# Instructions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Register:
    """Ask the server to know this pilot."""


@dataclass(frozen=True, slots=True)
class Call:
    """Send an exchange."""

    channel: Channel
    body: ExchangeBody


@dataclass(frozen=True, slots=True)
class Launch:
    """Prepare and start a payload."""

    order: JobOrder


@dataclass(frozen=True, slots=True)
class Stop:
    """End a payload with all its processes: SIGTERM, or SIGKILL by `force`."""

    attempt: str
    force: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Make the report of a payload that exited.

    Its outputs are looked at only if they can count; if its end was `forced`, only a success is its own doing.
    """

    attempt: str
    look: bool
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring an attempt's results to the server."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Put the published names of an accepted attempt in place."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Forget:
    """An attempt is done with: delete its record and its sandbox."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Discard:
    """An attempt does not count: delete its outputs, too."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the file of a deleted dataset."""

    order: RemovalOrder


@dataclass(frozen=True, slots=True)
class Watch:
    """Read the output of these attempts while they run; of no others."""

    attempts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refresh:
    """The server confirmed the lease at this time."""

    at: float
    lease: float


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log."""

    text: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Exit."""

    code: int
    reason: str


Instruction: TypeAlias = (
    Register
    | Call
    | Launch
    | Stop
    | Settle
    | Upload
    | Publish
    | Forget
    | Discard
    | Remove
    | Watch
    | Refresh
    | Note
    | Leave
)
