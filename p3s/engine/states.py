"""The states of jobs, attempts, datasets, workflows and pilots, and how they change.

A transition table is data: ``(state, signal) -> next state``. What is not in a table does not happen. Final
states are those that only ``retry`` or ``late-success`` lead out of; they are computed, never listed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ATTEMPT",
    "DATASET",
    "FINAL_ATTEMPT",
    "FINAL_JOB",
    "FINAL_WORKFLOW",
    "INFRASTRUCTURE_REASONS",
    "JOB",
    "PAYLOAD_REASONS",
    "PILOT",
    "WORKFLOW",
    "AttemptState",
    "DatasetState",
    "JobState",
    "PilotState",
    "PilotStatus",
    "Reason",
    "Signal",
    "WorkflowState",
    "compute_final_states",
    "find_sources",
]


class JobState(StrEnum):
    """Where a job stands."""

    #: Loaded, not started; ``start`` lets it go.
    HELD = "held"
    #: Some predecessor, backoff or pause holds it; the server releases it.
    WAITING = "waiting"
    #: May be claimed now by any pilot that fits.
    DEFINED = "defined"
    #: Claimed by a pilot that has not yet reported the start.
    DISPATCHED = "dispatched"
    #: Its payload runs.
    RUNNING = "running"
    #: An attempt's success was accepted.
    FINISHED = "finished"
    #: An attempt failed and no budget is left.
    FAILED = "failed"
    #: Somebody cancelled it.
    CANCELLED = "cancelled"
    #: It will not run: a predecessor failed, its ``if`` said no, or data from outside will not come.
    SKIPPED = "skipped"


class AttemptState(StrEnum):
    """Where one execution of a job stands."""

    #: Minted by a claim; the pilot has not reported the start.
    DISPATCHED = "dispatched"
    #: The pilot reported the start.
    RUNNING = "running"
    #: The server wants it stopped; the pilot has not yet confirmed.
    STOPPING = "stopping"
    #: Its success was accepted.
    SUCCEEDED = "succeeded"
    #: It ended without success.
    FAILED = "failed"
    #: Its pilot fell silent past the lease.
    LOST = "lost"
    #: The pilot gave it back unrun, or never knew of it; costs nothing.
    HANDED_BACK = "handed-back"
    #: Ended on the server's wish.
    STOPPED = "stopped"


class DatasetState(StrEnum):
    """Whether a unit of data may be read."""

    #: Not there yet: its producer has not finished, or nobody registered it.
    EXPECTED = "expected"
    #: There: its producer's success was accepted, or somebody registered it.
    AVAILABLE = "available"
    #: It will not come: its producer failed, was skipped or cancelled, or it was deleted while jobs waited for it.
    FAILED = "failed"
    #: It was deleted; registering it again brings it back.
    DELETED = "deleted"


class WorkflowState(StrEnum):
    """Where a workflow stands."""

    #: Its rows are being written; claims see nothing of it.
    LOADING = "loading"
    #: Loaded, not started.
    HELD = "held"
    #: Some job is not final.
    RUNNING = "running"
    #: What is not dispatched is held back.
    PAUSED = "paused"
    #: All jobs are final and none failed that is not tolerated.
    FINISHED = "finished"
    #: All jobs are final and some failed.
    FAILED = "failed"
    #: All jobs are final and somebody cancelled it.
    CANCELLED = "cancelled"


class PilotState(StrEnum):
    """Where a pilot stands."""

    #: Registered, has not asked yet.
    ACTIVE = "active"
    #: Asks, and there is no job for it.
    IDLE = "idle"
    #: Has payloads.
    RUNNING = "running"
    #: Finishes what it has and asks for no more.
    DRAINING = "draining"
    #: Said goodbye.
    STOPPED = "stopped"
    #: Fell silent past its lease.
    TIMEOUT = "timeout"


class PilotStatus(StrEnum):
    """What the server answers to a pilot's calls."""

    #: Go on.
    OK = "OK"
    #: Finish what runs, ask for no more, then exit.
    DRAIN = "DRAIN"
    #: Stop all payloads and exit.
    KILL = "KILL"
    #: The call made no sense to the server; exit.
    FAIL = "FAIL"


class Reason(StrEnum):
    """Why an attempt ended, or a job is where it is; kept apart from the state."""

    EXIT_CODE = "exit-code"
    SIGNAL = "signal"
    TIMELIMIT = "timelimit"
    MEMORY = "memory"
    NONSTARTER = "nonstarter"
    MISSING_OUTPUT = "missing-output"
    MISSING_INPUT = "missing-input"
    BAD_CHECKSUM = "bad-checksum"
    STAGING = "staging"
    NO_SPACE = "no-space"
    PILOT_LOST = "pilot-lost"
    HANDED_BACK = "handed-back"
    REFUSED = "refused"
    UPSTREAM = "upstream"
    IF = "if"
    DEADLINE = "deadline"
    CANCELLED_BY = "cancelled-by"


#: The payload's own doing; ``retry`` counts these.
PAYLOAD_REASONS = frozenset({Reason.EXIT_CODE, Reason.SIGNAL, Reason.TIMELIMIT, Reason.MEMORY, Reason.MISSING_OUTPUT})
#: The machinery's doing; a separate budget counts these.
INFRASTRUCTURE_REASONS = frozenset(
    {
        Reason.PILOT_LOST,
        Reason.NONSTARTER,
        Reason.MISSING_INPUT,
        Reason.BAD_CHECKSUM,
        Reason.STAGING,
        Reason.NO_SPACE,
    }
)


class Signal(StrEnum):
    """What happens to an object."""

    #: A person lets a held object go.
    START = "start"
    #: All predecessors are done.
    RELEASE = "release"
    #: A pilot claimed it.
    CLAIM = "claim"
    #: The pilot reported that the payload runs.
    BEGIN = "begin"
    #: A success was accepted.
    SUCCEED = "succeed"
    #: It ended without success, and no budget is left.
    FAIL = "fail"
    #: An attempt ended without success, and budget is left.
    AGAIN = "again"
    #: A pilot gave it back, or never knew of it.
    HAND_BACK = "hand-back"
    #: Its pilot fell silent.
    LOSE = "lose"
    #: A success arrived for what was thought lost.
    LATE_SUCCESS = "late-success"
    #: A person or a deadline ends it.
    CANCEL = "cancel"
    #: The pilot confirmed that a stopping attempt has ended.
    STOP = "stop"
    #: It will not run.
    SKIP = "skip"
    #: A person runs again what is final.
    RETRY = "retry"
    #: All rows of a workflow are written; it waits for its start.
    LOADED = "loaded"
    #: A person holds back what is not dispatched.
    PAUSE = "pause"
    #: A person lets it go on.
    RESUME = "resume"
    #: Somebody registered a dataset, or its producer's success was accepted.
    REGISTER = "register"
    #: Somebody deleted it.
    DELETE = "delete"
    #: A pilot asked and got nothing.
    IDLE = "idle"
    #: A pilot has payloads.
    BUSY = "busy"
    #: A pilot is to finish what it has.
    DRAIN = "drain"
    #: A pilot said goodbye.
    LEAVE = "leave"
    #: A pilot fell silent past its lease.
    TIME_OUT = "time-out"


J, A, D, W, P, S = JobState, AttemptState, DatasetState, WorkflowState, PilotState, Signal

#: A final job is left by ``retry`` only; a late success finds its job not final (promise 2).
JOB: Mapping[tuple[JobState, Signal], JobState] = {
    (J.HELD, S.START): J.WAITING,
    (J.HELD, S.CANCEL): J.CANCELLED,
    (J.HELD, S.SKIP): J.SKIPPED,
    (J.HELD, S.SUCCEED): J.FINISHED,
    (J.WAITING, S.RELEASE): J.DEFINED,
    (J.WAITING, S.SUCCEED): J.FINISHED,
    (J.WAITING, S.SKIP): J.SKIPPED,
    (J.WAITING, S.CANCEL): J.CANCELLED,
    (J.WAITING, S.LATE_SUCCESS): J.FINISHED,
    (J.DEFINED, S.CLAIM): J.DISPATCHED,
    (J.DEFINED, S.CANCEL): J.CANCELLED,
    (J.DEFINED, S.PAUSE): J.WAITING,
    (J.DEFINED, S.SKIP): J.SKIPPED,
    (J.DEFINED, S.LATE_SUCCESS): J.FINISHED,
    (J.DISPATCHED, S.BEGIN): J.RUNNING,
    (J.DISPATCHED, S.SUCCEED): J.FINISHED,
    (J.DISPATCHED, S.FAIL): J.FAILED,
    (J.DISPATCHED, S.AGAIN): J.WAITING,
    (J.DISPATCHED, S.HAND_BACK): J.DEFINED,
    (J.DISPATCHED, S.CANCEL): J.CANCELLED,
    (J.RUNNING, S.SUCCEED): J.FINISHED,
    (J.RUNNING, S.FAIL): J.FAILED,
    (J.RUNNING, S.AGAIN): J.WAITING,
    (J.RUNNING, S.HAND_BACK): J.DEFINED,
    (J.RUNNING, S.CANCEL): J.CANCELLED,
    #: Its inputs are at two sites, and no pilot is at both.
    (J.WAITING, S.FAIL): J.FAILED,
    (J.HELD, S.FAIL): J.FAILED,
    (J.FAILED, S.RETRY): J.WAITING,
    (J.CANCELLED, S.RETRY): J.WAITING,
    (J.SKIPPED, S.RETRY): J.WAITING,
}

ATTEMPT: Mapping[tuple[AttemptState, Signal], AttemptState] = {
    (A.DISPATCHED, S.BEGIN): A.RUNNING,
    (A.DISPATCHED, S.SUCCEED): A.SUCCEEDED,
    (A.DISPATCHED, S.FAIL): A.FAILED,
    (A.DISPATCHED, S.HAND_BACK): A.HANDED_BACK,
    (A.DISPATCHED, S.LOSE): A.LOST,
    (A.DISPATCHED, S.CANCEL): A.STOPPING,
    (A.RUNNING, S.SUCCEED): A.SUCCEEDED,
    (A.RUNNING, S.FAIL): A.FAILED,
    (A.RUNNING, S.HAND_BACK): A.HANDED_BACK,
    (A.RUNNING, S.LOSE): A.LOST,
    (A.RUNNING, S.CANCEL): A.STOPPING,
    (A.STOPPING, S.STOP): A.STOPPED,
    (A.STOPPING, S.LOSE): A.LOST,
    (A.LOST, S.LATE_SUCCESS): A.SUCCEEDED,
}

DATASET: Mapping[tuple[DatasetState, Signal], DatasetState] = {
    (D.EXPECTED, S.REGISTER): D.AVAILABLE,
    (D.EXPECTED, S.FAIL): D.FAILED,
    (D.EXPECTED, S.DELETE): D.DELETED,
    (D.FAILED, S.REGISTER): D.AVAILABLE,
    (D.FAILED, S.RETRY): D.EXPECTED,
    (D.FAILED, S.DELETE): D.DELETED,
    (D.AVAILABLE, S.FAIL): D.FAILED,
    (D.AVAILABLE, S.DELETE): D.DELETED,
    (D.DELETED, S.REGISTER): D.AVAILABLE,
}

WORKFLOW: Mapping[tuple[WorkflowState, Signal], WorkflowState] = {
    (W.LOADING, S.LOADED): W.HELD,
    (W.LOADING, S.START): W.RUNNING,
    (W.LOADING, S.FAIL): W.FAILED,
    (W.HELD, S.START): W.RUNNING,
    (W.HELD, S.CANCEL): W.CANCELLED,
    (W.RUNNING, S.PAUSE): W.PAUSED,
    (W.PAUSED, S.RESUME): W.RUNNING,
    (W.RUNNING, S.SUCCEED): W.FINISHED,
    (W.RUNNING, S.FAIL): W.FAILED,
    (W.RUNNING, S.CANCEL): W.CANCELLED,
    (W.PAUSED, S.SUCCEED): W.FINISHED,
    (W.PAUSED, S.FAIL): W.FAILED,
    (W.PAUSED, S.CANCEL): W.CANCELLED,
    (W.FINISHED, S.RETRY): W.RUNNING,
    (W.FAILED, S.RETRY): W.RUNNING,
    (W.CANCELLED, S.RETRY): W.RUNNING,
}

PILOT: Mapping[tuple[PilotState, Signal], PilotState] = {
    (P.ACTIVE, S.IDLE): P.IDLE,
    (P.ACTIVE, S.BUSY): P.RUNNING,
    (P.ACTIVE, S.DRAIN): P.DRAINING,
    (P.ACTIVE, S.LEAVE): P.STOPPED,
    (P.ACTIVE, S.TIME_OUT): P.TIMEOUT,
    (P.IDLE, S.BUSY): P.RUNNING,
    (P.IDLE, S.DRAIN): P.DRAINING,
    (P.IDLE, S.LEAVE): P.STOPPED,
    (P.IDLE, S.TIME_OUT): P.TIMEOUT,
    (P.RUNNING, S.IDLE): P.IDLE,
    (P.RUNNING, S.DRAIN): P.DRAINING,
    (P.RUNNING, S.LEAVE): P.STOPPED,
    (P.RUNNING, S.TIME_OUT): P.TIMEOUT,
    (P.DRAINING, S.LEAVE): P.STOPPED,
    (P.DRAINING, S.TIME_OUT): P.TIMEOUT,
    #: A pilot that was cut off and speaks again goes on; one that left may register again.
    (P.TIMEOUT, S.RETRY): P.ACTIVE,
    (P.STOPPED, S.RETRY): P.ACTIVE,
}

State = TypeVar("State", JobState, AttemptState, DatasetState, WorkflowState, PilotState)


def compute_final_states(table: Mapping[tuple[State, Signal], State]) -> frozenset[State]:
    """Return the states that only ``retry`` and ``late-success`` lead out of.

    Parameters
    ----------
    table : mapping of (state, signal) to state
        A transition table of this module.

    Returns
    -------
    frozenset
        The final states.

    Examples
    --------
    >>> sorted(compute_final_states(WORKFLOW))
    [<WorkflowState.CANCELLED: 'cancelled'>, <WorkflowState.FAILED: 'failed'>, <WorkflowState.FINISHED: 'finished'>]
    """
    states = {state for state, _ in table} | set(table.values())
    left = {state for state, signal in table if signal not in {Signal.RETRY, Signal.LATE_SUCCESS}}
    return frozenset(states - left)


def find_sources(table: Mapping[tuple[State, Signal], State], signal: Signal) -> dict[State, tuple[State, ...]]:
    """Return, for each next state that `signal` leads to, the states it leads there from.

    Parameters
    ----------
    table : mapping of (state, signal) to state
        A transition table of this module.
    signal : Signal
        What happens.

    Returns
    -------
    dict of state to tuple of states
        Empty where the signal moves nothing.

    Examples
    --------
    >>> find_sources(WORKFLOW, Signal.PAUSE)
    {<WorkflowState.PAUSED: 'paused'>: (<WorkflowState.RUNNING: 'running'>,)}
    """
    sources: dict[State, list[State]] = {}
    for (state, moved_by), after in table.items():
        if moved_by is signal:
            sources.setdefault(after, []).append(state)
    return {after: tuple(before) for after, before in sources.items()}


FINAL_JOB = compute_final_states(JOB)
FINAL_ATTEMPT = compute_final_states(ATTEMPT)
FINAL_WORKFLOW = compute_final_states(WORKFLOW)
