"""What becomes of a job when an attempt of it fails: tried again, and when, or failed for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p3s.engine.states import PAYLOAD_REASONS, Reason

if TYPE_CHECKING:
    from p3s.engine.plan import Retry

__all__ = ["Outcome", "compute_backoff", "decide_outcome"]

#: Seconds before a job that a pilot refused is given out again.
REFUSED_PAUSE = 10.0
#: Seconds before the first further try after a loss that is not the payload's doing; doubled each time.
INFRASTRUCTURE_BACKOFF = 2.0
INFRASTRUCTURE_CAP = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do with the job.

    Attributes
    ----------
    again : bool
        Whether it is tried again.
    delay : float
        Seconds before it may be claimed.
    failures, losses : int
        What to add to the two counts.
    """

    again: bool
    delay: float = 0.0
    failures: int = 0
    losses: int = 0


def compute_backoff(retry: Retry, failures: int) -> float:
    """Return the pause before further try number `failures`, in seconds.

    Examples
    --------
    >>> from p3s.engine.plan import Retry
    >>> [compute_backoff(Retry(max=4, backoff=10, factor=2, cap=30), n) for n in (1, 2, 3)]
    [10.0, 20.0, 30.0]
    """
    # The exponent is bounded so that a large factor meets the cap instead of an overflow.
    return float(min(retry.cap, retry.backoff * retry.factor ** min(failures - 1, 64)))


def decide_outcome(
    reason: Reason, exit_code: int | None, retry: Retry, *, failures: int, losses: int, budget: int
) -> Outcome:
    """Decide whether a job whose attempt failed is tried again.

    Parameters
    ----------
    reason : Reason
        Why the attempt failed.
    exit_code : int or None
        The payload's exit code, if it ran.
    retry : Retry
        The job's rule for payload errors.
    failures, losses : int
        Payload errors and infrastructure losses so far, without this one.
    budget : int
        How many infrastructure losses a job may have.

    Returns
    -------
    Outcome
        Handing back and ``refused`` cost nothing.

    Examples
    --------
    >>> from p3s.engine.plan import Retry
    >>> decide_outcome(Reason.EXIT_CODE, 1, Retry(max=1), failures=0, losses=0, budget=5)
    Outcome(again=True, delay=0.0, failures=1, losses=0)
    >>> decide_outcome(Reason.EXIT_CODE, 1, Retry(max=1), failures=1, losses=0, budget=5).again
    False
    >>> decide_outcome(Reason.PILOT_LOST, None, Retry(), failures=0, losses=0, budget=5)
    Outcome(again=True, delay=2.0, failures=0, losses=1)
    """
    if reason is Reason.HANDED_BACK:
        return Outcome(again=True)
    if reason is Reason.REFUSED:
        # The same pilot would be given it again at once, and refuse it again.
        return Outcome(again=True, delay=REFUSED_PAUSE)
    if reason in PAYLOAD_REASONS:
        admitted = not retry.when or reason in retry.when or str(exit_code) in retry.when
        again = admitted and failures < retry.max
        return Outcome(again=again, delay=compute_backoff(retry, failures + 1) if again else 0.0, failures=1)
    again = losses < budget
    delay = min(INFRASTRUCTURE_CAP, INFRASTRUCTURE_BACKOFF * 2 ** min(losses, 8))
    return Outcome(again=again, delay=delay if again else 0.0, losses=1)
