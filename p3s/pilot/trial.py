"""One job here and now, without a server: the sandbox, environment, process and checks of a pilot."""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from typing import TYPE_CHECKING

from p3s.engine.states import Reason
from p3s.pilot.kill import become_subreaper, kill_strays, stop_tree
from p3s.pilot.launch import make_command, make_environment, start_payload
from p3s.pilot.options import PilotOptions
from p3s.pilot.processes import read_ticks
from p3s.pilot.reaper import Exit
from p3s.pilot.sandbox import Sandbox, make_sandbox, store_bundle
from p3s.pilot.work import Work, make_report, read_monotonic
from p3s.wire import BundleEntry, JobOrder, OutputOrder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

    from p3s.engine.plan import WorkflowPlan
    from p3s.wire import AttemptReport, BundleFile

__all__ = ["make_order", "run_trial"]

#: Seconds between two looks at the payload and at what it prints.
LOOK = 0.05
#: The owner of a job that no server knows.
NOBODY = "nobody"


def make_order(plan: WorkflowPlan, bundle: Mapping[str, BundleFile]) -> JobOrder:
    """Return the order that a server would give for a standalone job.

    Parameters
    ----------
    plan : WorkflowPlan
        Of one node.
    bundle : mapping of str to BundleFile
        The files that travel with it, by digest.
    """
    (job,) = plan.jobs.values()
    ident = str(uuid.uuid4())
    return JobOrder(
        attempt=str(uuid.uuid4()),
        number=1,
        token="",
        job=ident,
        job_name=job.name,
        workflow=ident,
        workflow_name=plan.name,
        owner=NOBODY,
        jobtype=job.jobtype,
        run=job.run,
        payload=job.payload,
        shell=job.shell,
        args=list(job.args),
        env=job.env,
        outputs=[OutputOrder(name=output.name, key=output.key, path=output.path) for output in job.outputs],
        bundle=[
            BundleEntry(path=file.path, digest=digest, executable=file.executable) for digest, file in bundle.items()
        ],
        timelimit=job.timelimit,
        cpus=job.resources.cpus,
        memory=job.resources.memory,
    )


def run_trial(
    order: JobOrder,
    folder: Path,
    bundle: Mapping[str, BundleFile],
    *,
    secrets: Path | None,
    keep: bool,
    grace: float = 10.0,
) -> AttemptReport:
    """Run a job to its end, showing what it prints.

    Parameters
    ----------
    order : JobOrder
        What `make_order` made.
    folder : Path
        The sandbox goes to ``work`` in it, outputs to ``data``.
    bundle : mapping of str to BundleFile
        The files that travel with it, by digest.
    secrets : Path, optional
        The file with values of ``secret:`` variables.
    keep : bool
        Whether the sandbox stays.
    grace : float
        Seconds between SIGTERM and SIGKILL.

    Returns
    -------
    AttemptReport
        As a pilot would send it.

    Raises
    ------
    AttemptFailed
        If the payload could not be started.
    """
    options = PilotOptions("", None, data=folder / "data", work=folder / "work", logs=folder, secrets=secrets)
    path = options.work / order.attempt
    work = Work(order, Sandbox(str(path), f"{options.data}/{order.workflow}/{order.job_name}/{order.attempt}"))
    cache = options.work / "cache"
    become_subreaper()
    try:
        store_bundle(order, cache, lambda digest: bundle[digest].data)
        environ = make_environment(order, work.sandbox, options, os.environ)
        make_sandbox(order, work.sandbox, cache)
        work.born = read_ticks()
        work.process = start_payload(make_command(order, work.sandbox), environ, work.sandbox)
        work.started = read_monotonic()
        late = _wait(work, grace)
        report = make_report(work, look=True)
        if late:
            report.kind, report.reason = "failed", Reason.TIMELIMIT
            report.message = f"stopped after its time limit of {order.timelimit:g} s"
        return report
    finally:
        if not keep:
            shutil.rmtree(options.work, ignore_errors=True)


def _wait(work: Work, grace: float) -> bool:
    """Wait for the payload, and end it at its time limit or when this process is interrupted; return if it was late."""
    process, attempt = work.process, work.order.attempt
    assert process is not None
    late = False
    with work.sandbox.stdout.open("rb") as stdout, work.sandbox.stderr.open("rb") as stderr:
        streams = ((stdout, sys.stdout.buffer), (stderr, sys.stderr.buffer))
        try:
            while not _look(work):
                passed = read_monotonic() - work.started
                if passed > work.order.timelimit and not late:
                    late = True
                    stop_tree(process.pid, attempt, force=False)
                if late and passed > work.order.timelimit + grace:
                    stop_tree(process.pid, attempt, force=True)
                _copy(streams)
                time.sleep(LOOK)
        finally:
            # Also after Ctrl-C nothing of the payload stays.
            if work.exit is None:
                stop_tree(process.pid, attempt, force=True)
            kill_strays(attempt, work.born, {})
            _copy(streams)
    return late


def _look(work: Work) -> bool:
    assert work.process is not None
    pid, status, usage = os.wait4(work.process.pid, os.WNOHANG)
    if not pid:
        return False
    code = os.waitstatus_to_exitcode(status)
    work.process.returncode = code
    work.exit = Exit(pid, code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
    work.ended = read_monotonic()
    return True


def _copy(streams: tuple[tuple[BinaryIO, BinaryIO], ...]) -> None:
    for source, target in streams:
        if piece := source.read():
            target.write(piece)
            target.flush()
