"""One attempt in the acting half: its folders, its process, and the report of its end."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p3s.engine.paths import normalise_path
from p3s.engine.states import Reason
from p3s.pilot.failure import AttemptFailed
from p3s.pilot.outbox import Publication, Push, Record
from p3s.pilot.outputs import collect_outputs, read_tail
from p3s.wire import AttemptReport

if TYPE_CHECKING:
    import subprocess

    from p3s.pilot.reaper import Exit
    from p3s.pilot.sandbox import Sandbox
    from p3s.wire import JobOrder

__all__ = ["Work", "make_record", "make_report"]

#: Below so many free bytes a failed payload most likely failed because of that.
FULL = 1024 * 1024
MESSAGE_LENGTH = 4000


@dataclass(slots=True)
class Work:
    """An attempt while it is in hand.

    Attributes
    ----------
    order : JobOrder
        What the server asked for.
    sandbox : Sandbox
        Its folders.
    process : Popen or None
        The payload's first process once it runs.
    born : int
        When that began at the earliest, in the kernel's ticks.
    stopped : bool
        Whether it is to end; what has not started then will not.
    exit : Exit or None
        How the first process ended.
    offsets : dict of str to int
        How far each log was read for those who watch.
    """

    order: JobOrder
    sandbox: Sandbox
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    born: int = 0
    ended: float = 0.0
    stopped: bool = False
    exit: Exit | None = None
    offsets: dict[str, int] = field(default_factory=dict)


def make_report(work: Work, *, look: bool, pilot_memory: int = 0) -> AttemptReport:
    """Return the report of an attempt whose payload exited.

    Parameters
    ----------
    work : Work
        The attempt.
    look : bool
        Whether its outputs can count, so that they are checked, measured and synced.
    pilot_memory : int
        Peak memory of the pilot itself: the kernel reports no less for any of its children, so a peak up to this
        is not known and left out.

    Returns
    -------
    AttemptReport
        Succeeded or failed.
    """
    end = work.exit
    assert end is not None
    stdout, stdout_size = read_tail(work.sandbox.root, ".p3s/stdout")
    stderr, stderr_size = read_tail(work.sandbox.root, ".p3s/stderr")
    report = AttemptReport(
        attempt=work.order.attempt,
        token=work.order.token,
        kind="succeeded",
        exit_code=end.code if end.code >= 0 else None,
        signal=-end.code if end.code < 0 else None,
        wall=round(max(work.ended - work.started, 0.0), 6),
        cpu_time=round(end.cpu_time, 6),
        peak_memory=end.peak_memory if end.peak_memory > pilot_memory else None,
        stdout=stdout,
        stdout_size=stdout_size,
        stderr=stderr,
        stderr_size=stderr_size,
    )
    try:
        _check_exit(work, end)
        if look and work.order.outputs:
            report.outputs = collect_outputs(work.order.outputs, work.sandbox.folder)
            if remote := work.sandbox.remote:
                for order, output in zip(work.order.outputs, report.outputs, strict=True):
                    output.path = f"{remote}/{normalise_path(order.path)}"
    except AttemptFailed as failure:
        report.kind, report.reason, report.message = "failed", failure.reason, str(failure)[:MESSAGE_LENGTH]
    return report


def make_record(work: Work, report: AttemptReport) -> Record:
    """Return what is kept on disk of a finished attempt until the server has it."""
    sandbox = work.sandbox
    record = Record(report=report, sandbox=sandbox.root, folder=sandbox.out, remote=sandbox.remote)
    for order, output in zip(work.order.outputs, report.outputs, strict=False) if report.kind == "succeeded" else ():
        source = sandbox.find_output(order.path)
        facts: dict[str, Any] = {"source": source, "size": output.size, "checksum": output.checksum}
        if output.digest:
            record.uploads[output.digest] = source
        if sandbox.remote:
            record.pushes.append(
                Push(path=normalise_path(order.path), url=output.path, size=output.size, checksum=output.checksum)
            )
        if order.publish:
            record.publications.append(Publication(target=order.publish, **facts))
    return record


def read_monotonic() -> float:
    """Return the pilot's clock, which never goes back."""
    return time.monotonic()


def _check_exit(work: Work, end: Exit) -> None:
    if end.code == 0:
        return
    free = _find_free(work.sandbox)
    if free < FULL:
        raise AttemptFailed(
            Reason.NO_SPACE,
            f"the payload failed ({_name_end(end.code)}) with {free} bytes left on the pilot's disk",
        )
    limit = work.order.memory
    if end.code == -signal.SIGKILL and limit and end.peak_memory >= limit * 0.9:
        raise AttemptFailed(
            Reason.MEMORY,
            f"killed at {end.peak_memory} bytes of memory; {limit} were asked for, so ask for more",
        )
    if end.code < 0:
        raise AttemptFailed(Reason.SIGNAL, f"the payload ended by {_name_end(end.code)}")
    raise AttemptFailed(Reason.EXIT_CODE, f"the payload ended with {_name_end(end.code)}")


def _name_end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _find_free(sandbox: Sandbox) -> int:
    facts = os.statvfs(sandbox.path)
    return facts.f_bavail * facts.f_frsize
