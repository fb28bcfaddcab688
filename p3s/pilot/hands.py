"""What the pilot does with attempts: prepare, start, stop, settle, upload, publish, clean up."""

from __future__ import annotations

import contextlib
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3s.engine.places import is_url, normalise_place
from p3s.engine.states import Reason
from p3s.errors import BadInput, NoToken, P3sError, Refused
from p3s.pilot import events
from p3s.pilot.couriers import CourierFailed, Couriers
from p3s.pilot.failure import AttemptFailed, explain_os_error
from p3s.pilot.kill import is_subreaper, kill_strays, stop_tree
from p3s.pilot.launch import make_command, make_environment, start_payload
from p3s.pilot.leftovers import delete_folders, delete_rivals, tidy_sandboxes
from p3s.pilot.outputs import read_result
from p3s.pilot.processes import read_ticks
from p3s.pilot.protect import refuse_order, refuse_target, wrap_command
from p3s.pilot.publish import publish_file
from p3s.pilot.removing import remove_output, remove_published
from p3s.pilot.roster import LEASE_OVER
from p3s.pilot.sandbox import Sandbox, find_missing_inputs, is_cached, make_sandbox, store_bundle
from p3s.pilot.spares import Spares
from p3s.pilot.staging import Stager, has_staged, make_courier_environ
from p3s.pilot.verify import find_damaged_inputs
from p3s.pilot.work import Work, make_record, make_report, read_monotonic
from p3s.wire import AttemptReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.pilot.events import Event
    from p3s.pilot.guard import Guard
    from p3s.pilot.options import PilotOptions
    from p3s.pilot.outbox import Outbox, Record
    from p3s.pilot.reaper import Exit, Reaper
    from p3s.wire import JobOrder, Leftover, RemovalOrder

__all__ = ["BlobStore", "Hands", "Staged"]

#: Threads for slow things with local files: large outputs, publications, clearing away.
POOL = 4
#: Threads for what may wait for others: inputs that lag, uploads, transfers from and to URLs.
MOVERS = 16
#: Emptied sandboxes kept, or one for each slot if that is more: short jobs end in numbers before an answer comes.
SPARES = 64
#: Sandboxes made before there are jobs, or one more than slots if that is less: the next job begins in another one.
READY = 16


@dataclass(frozen=True, slots=True)
class Staged:
    """An attempt's bundle and inputs are there, or `failure` says why not; `begun`: inputs are in its sandbox."""

    attempt: str
    failure: AttemptFailed | None = None
    begun: bool = False


@dataclass(frozen=True, slots=True)
class BlobStore:
    """The two ways contents travel between pilot and server, by digest."""

    fetch: Callable[[str], bytes]
    store: Callable[[str, bytes], None]


class Hands:
    """Carries out what concerns single attempts.

    Everything quick is done at once and answered with events; what may take long goes to a pool and comes back
    through `tell`.

    Parameters
    ----------
    options : PilotOptions
        What the pilot was told.
    blobs : BlobStore
        Bundles come and results go through it.
    outbox : Outbox
        Finished results on disk.
    guard : Guard
        Is told of each payload.
    tell : callable
        Takes events from other threads.
    note : callable
        Takes lines for the log.
    """

    def __init__(
        self,
        options: PilotOptions,
        blobs: BlobStore,
        outbox: Outbox,
        guard: Guard,
        tell: Callable[[Event | Staged | Exception], None],
        note: Callable[[str], None],
    ) -> None:
        self._options, self._blobs, self._outbox, self._guard = options, blobs, outbox, guard
        self._tell, self._note = tell, note
        self._works: dict[str, Work] = {}
        self._by_pid: dict[int, Work] = {}
        self._cache = options.work / "cache"
        self._folder = options.work / options.uuid
        # Read once: each look at os.environ decodes every variable anew.
        self._inherited = dict(os.environ)
        self._pool = ThreadPoolExecutor(POOL, thread_name_prefix="slow")
        # Where orphans cannot be adopted, something of a payload may be alive and write on into its folder.
        self._spares = Spares(self._folder, max(options.slots, SPARES) if is_subreaper() else 0)
        try:
            self._spares.prepare(min(options.slots + 1, READY))
        except OSError as error:
            # A job that still cannot have one when it comes fails with the reason.
            note(f"no sandbox was made ahead of the first job: {error}")
        self._movers = ThreadPoolExecutor(MOVERS, thread_name_prefix="mover")
        self._couriers = Couriers(lambda: make_courier_environ(options, self._inherited))
        self._stager = Stager(self._couriers, options.input_wait, options.staging_limit)
        #: What is still to be written down, by attempt.
        self._unwritten: dict[str, Record] = {}
        #: Attempts that have ended and whose outputs are no longer wanted where they are being brought.
        self._cut: set[str] = set()

    # Starting --------------------------------------------------------------------------------------------

    def launch(self, order: JobOrder, reaper: Reaper) -> list[Event]:
        """Prepare an attempt and start its payload, now if all is there."""
        root = f"{self._folder}/{order.attempt}"
        place = f"{order.workflow}/{order.job_name}/{order.attempt}"
        if store := self._options.store:
            sandbox = Sandbox(root, f"{self._options.work}/out/{order.attempt}", f"{store}/{place}")
        else:
            sandbox = Sandbox(root, f"{self._options.data}/{place}")
        work = self._works[order.attempt] = Work(order, sandbox)
        slow = order.verify or has_staged(order)
        if is_cached(order, self._cache) and not slow and not find_missing_inputs(order.inputs):
            return self.start(Staged(order.attempt), reaper)
        self._submit(lambda: self._stage(work), self._movers)
        return []

    def start(self, staged: Staged, reaper: Reaper) -> list[Event]:
        """Start the payload of an attempt whose bundle and inputs are there."""
        work = self._works[staged.attempt]
        try:
            if staged.failure is not None:
                raise staged.failure
            if work.stopped:
                raise AttemptFailed(Reason.HANDED_BACK, "stopped before it started")
            refuse_order(work.order, self._options)
            environ = make_environment(work.order, work.sandbox, self._options, self._inherited)
            take = (lambda _path: False) if staged.begun else self._spares.take
            make_sandbox(work.order, work.sandbox, self._cache, take)
            command = make_command(work.order, work.sandbox)
            command = wrap_command(command, work.order, work.sandbox, self._options)
            if work.order.exclusive and not self._guard.expect(work.order.attempt):
                raise AttemptFailed(Reason.HANDED_BACK, LEASE_OVER)
            born = read_ticks()
            process = start_payload(command, environ, work.sandbox, self._options.protection.umask)
            reaper.add_leader(process.pid)
        except AttemptFailed as failure:
            return [events.Ended(_make_failure(work, failure))]
        work.process, work.started = process, read_monotonic()
        work.born = born
        self._by_pid[process.pid] = work
        self._guard.add(process.pid, exclusive=work.order.exclusive)
        return [events.Began(work.order.attempt)]

    def _stage(self, work: Work) -> Staged:
        failure: AttemptFailed | None = None
        begun = has_staged(work.order)
        try:
            store_bundle(work.order, self._cache, self._blobs.fetch)
            missing = find_missing_inputs(work.order.inputs, self._options.input_wait, lambda: work.stopped)
            if missing:
                failure = AttemptFailed(Reason.MISSING_INPUT, "; ".join(missing))
            elif work.order.verify and (damaged := find_damaged_inputs(work.order.inputs)):
                failure = AttemptFailed(Reason.BAD_CHECKSUM, "; ".join(damaged))
            elif begun:
                work.order = self._stager.fetch(work.order, work.sandbox.inputs, lambda: work.stopped)
        except AttemptFailed as error:
            failure = error
        except OSError as error:
            failure = explain_os_error(error, self._cache)
        return Staged(work.order.attempt, failure, begun)

    # Ending ----------------------------------------------------------------------------------------------

    def stop(self, attempt: str, *, force: bool) -> None:
        """End a payload with all its processes, keep it from starting, or its outputs from being brought away."""
        self._cut.add(attempt)
        work = self._works.get(attempt)
        if work is None:
            return
        work.stopped = True
        if work.process is not None and work.exit is None:
            stop_tree(work.process.pid, attempt, force=force)

    def note_exit(self, end: Exit) -> list[Event]:
        """Take in the end of a child of this process."""
        if end.pid == self._guard.pid:
            self._note("the keeper ended; another one takes its place")
            self._guard.restart()
            return []
        work = self._by_pid.pop(end.pid, None)
        if work is None:
            # An orphan of some payload, adopted by this process.
            return []
        assert work.process is not None
        work.process.returncode = end.code
        work.exit, work.ended = end, read_monotonic()
        self._guard.remove(end.pid)
        others = {pid: other.born for pid, other in self._by_pid.items()}
        with self._couriers.lock:
            helpers = {self._guard.pid, *self._couriers.pids}
            left = kill_strays(work.order.attempt, work.born, others, helpers)
        if left:
            self._note(f"attempt {work.order.attempt}: killed processes that its payload left behind")
        return [events.Exited(work.order.attempt)]

    def settle(self, settle: events.Settle) -> list[Event]:
        """Make the report of an attempt whose payload exited; outputs are looked at by the pool."""
        work = self._works[settle.attempt]
        if settle.look and work.order.outputs:
            self._submit(lambda: self._settle(work, settle))
            return []
        return [self._settle(work, settle, later=True)]

    def write_down(self) -> None:
        """Keep on disk what has been settled; called when the reports are on their way, which take as long."""
        while self._unwritten:
            self._write(self._unwritten.popitem()[1])

    def _settle(self, work: Work, settle: events.Settle, *, later: bool = False) -> Event:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        try:
            report = make_report(work, look=settle.look, pilot_memory=memory)
        except OSError as error:
            report = _make_failure(work, explain_os_error(error, work.sandbox.path))
        record = make_record(work, report)
        # A failure that was forced is none of the payload's: whoever delivers the record would report it as one.
        if settle.look and (report.kind == "succeeded" or not settle.forced):
            if later:
                self._unwritten[report.attempt] = record
            else:
                self._write(record)
        uploads, publishes = bool(record.uploads or record.pushes), bool(record.publications)
        return events.Ended(report, uploads=uploads, publishes=publishes)

    def _write(self, record: Record) -> None:
        try:
            self._outbox.write(record, durable=bool(record.report.outputs))
        except OSError as error:
            # The server may still get it; only a crash of this pilot would lose it now.
            self._note(f"attempt {record.report.attempt}: not kept on disk: {error}")

    # After the end ---------------------------------------------------------------------------------------

    def upload(self, attempt: str) -> None:
        """Bring an attempt's outputs to their URLs and its results to the server, in the pool."""
        self._submit(lambda: self._upload(attempt), self._movers)

    def publish(self, attempt: str) -> None:
        """Put an attempt's published names in place, in the pool."""
        self._submit(lambda: self._publish(attempt), self._movers)

    def forget(self, attempt: str) -> None:
        """Delete the record and the sandbox of an attempt."""
        self._clean_up(attempt, outputs=False)

    def discard(self, attempt: str) -> None:
        """Delete an attempt's outputs, too."""
        self._clean_up(attempt, outputs=True)

    def remove(self, order: RemovalOrder) -> None:
        """Delete the file of a deleted dataset, in the pool."""
        self._submit(lambda: self._remove(order), self._movers)

    def take_over(self) -> list[Event]:
        """Return what dead pilots left undelivered in the same work folder."""
        found: list[Event] = []
        for record in self._outbox.take_over():
            if isinstance(record, Path):
                self._note(f"{record}: an unreadable result of an earlier pilot; look at it or delete it")
                continue
            self._note(f"attempt {record.report.attempt}: an earlier pilot finished it; delivering its result")
            uploads, publishes = bool(record.uploads or record.pushes), bool(record.publications)
            found.append(events.Recovered(record.report, uploads, publishes, record.accepted))
        return found

    def tidy(self, ask: Callable[[list[str]], list[Leftover]]) -> None:
        """Delete what dead pilots left in the same work folder and nobody needs, in the pool."""
        if not self._options.keep:
            self._pool.submit(self._tidy, ask)

    def _tidy(self, ask: Callable[[list[str]], list[Leftover]]) -> None:
        try:
            number = tidy_sandboxes(self._outbox.find_abandoned(), self._delete_outputs, ask)
        except (OSError, P3sError, CourierFailed) as error:
            self._note(f"folders of dead pilots are not cleared away yet: {error}")
            return
        if number:
            self._note(f"cleared away folders of {number} attempts whose pilots had died")

    def find_work(self, attempt: str) -> Work | None:
        """Return an attempt that is in hand."""
        return self._works.get(attempt)

    def close(self) -> None:
        """Wait for the pool, kill what is left, delete the pilot's own folder of sandboxes."""
        self.write_down()
        for work in list(self._by_pid.values()):
            self.stop(work.order.attempt, force=True)
        for work in self._works.values():
            work.stopped = True
        self._couriers.close()
        self._movers.shutdown(wait=True, cancel_futures=True)
        # What waits here is local and soon done; clearing away that is dropped would be done by nobody.
        self._pool.shutdown(wait=True)
        self._spares.close()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _upload(self, attempt: str) -> Event:
        record = self._outbox.read(attempt)
        if record is None:
            return events.UploadFailed(attempt, "its record has gone from the work folder")
        try:
            pushes = [(push.path, push.url, push.size, push.checksum) for push in record.pushes]
            folder = Path(record.folder)
            self._stager.push(folder, pushes, attempt, lambda: attempt in self._cut)
            for digest, path in record.uploads.items():
                self._blobs.store(digest, read_result(folder, str(path.relative_to(folder))))
        except AttemptFailed as failure:
            changes = _describe_failure(failure) | {"outputs": []}
            return events.UploadFailed(attempt, str(failure), record.report.model_copy(update=changes))
        except (OSError, BadInput, Refused) as error:
            if isinstance(error, NoToken):
                return events.UploadFailed(attempt, str(error))
            message = f"a result cannot be kept on the server: {error}"[:4000]
            report = record.report.model_copy(
                update={"kind": "failed", "reason": Reason.STAGING, "message": message, "outputs": []}
            )
            return events.UploadFailed(attempt, message, report)
        except P3sError as error:
            return events.UploadFailed(attempt, str(error))
        return events.Uploaded(attempt)

    def _publish(self, attempt: str) -> Event:
        record = self._outbox.read(attempt)
        try:
            if record is not None:
                record.accepted = True
                self._outbox.write(record, durable=True)
                folder = Path(record.folder)
                for one in record.publications:
                    # Looked at before the payload ran, and now, because folders may have become links meanwhile.
                    refuse_target(one.target, self._options.protection)
                    path = str(one.source.relative_to(folder))
                    if is_url(one.target):
                        push = (path, normalise_place(one.target), one.size, one.checksum)
                        self._stager.push(folder, [push], attempt, lambda: False)
                    else:
                        publish_file(folder, path, Path(one.target), attempt)
        except (OSError, ValueError, AttemptFailed) as error:
            return events.PublishFailed(attempt, str(error))
        return events.Published(attempt)

    def _remove(self, order: RemovalOrder) -> Event:
        remote = is_url(order.place)
        try:
            # The name first: as long as the file is there, what was cut off is done again.
            if order.published:
                refuse_target(order.published, self._options.protection)
                if is_url(order.published):
                    self._stager.remove(order.published)
                else:
                    remove_published(Path(order.published))
            if remote:
                self._stager.remove(order.place, order.fence)
            else:
                remove_output(self._options.data, order.place, order.fence)
        except (OSError, AttemptFailed, CourierFailed) as error:
            return events.Removed(order.uuid, f"{order.place}: {error}"[:4000])
        return events.Removed(order.uuid)

    def _submit(self, task: Callable[[], Event | Staged], pool: ThreadPoolExecutor | None = None) -> None:
        def run() -> None:
            try:
                self._tell(task())
            except Exception as error:  # noqa: BLE001 - raised again by the loop, which else would wait for ever
                self._tell(error)

        (pool or self._pool).submit(run)

    def _clean_up(self, attempt: str, *, outputs: bool) -> None:
        work = self._works.pop(attempt, None)
        self._cut.discard(attempt)
        self._unwritten.pop(attempt, None)
        folders: list[Path] = []
        rivals: Path | None = None
        remote = ""
        if work is not None:
            remote = work.sandbox.remote
            if not outputs and work.order.outputs and work.order.number > 1:
                rivals = work.sandbox.folder
            if not self._options.keep and not self._spares.keep(work.sandbox.root):
                folders.append(work.sandbox.path)
            if (outputs or remote) and work.order.outputs:
                folders.append(work.sandbox.folder)
        elif (record := self._outbox.read(attempt)) is not None:
            remote = record.remote
            sandbox, folder = Path(record.sandbox), Path(record.folder)
            folders = [sandbox] * (not self._options.keep) + [folder] * (outputs or bool(remote))
            rivals = None if outputs else folder
        self._outbox.delete(attempt)
        if remote and (outputs or rivals is not None):
            self._movers.submit(self._delete_remote, remote, rivals=not outputs)
        elif rivals is not None:
            self._pool.submit(delete_rivals, rivals)
        if folders:
            self._pool.submit(delete_folders, folders)

    def _delete_outputs(self, one: Leftover) -> None:
        """Delete what is left of an attempt's outputs where this pilot has its own."""
        place = f"{one.workflow}/{one.job_name}/{one.attempt}"
        if self._options.store:
            delete_folders([self._options.work / "out" / one.attempt])
            if one.rejected:
                self._stager.delete(f"{self._options.store}/{place}")
        elif one.rejected:
            delete_folders([self._options.data / place])

    def _delete_remote(self, url: str, *, rivals: bool) -> None:
        try:
            self._stager.delete(url, rivals=rivals)
        except (CourierFailed, AttemptFailed) as error:
            what = "other attempts' outputs beside" if rivals else "rejected outputs at"
            self._note(f"{what} {url} are not deleted: {error}; delete them by hand")


def _make_failure(work: Work, failure: AttemptFailed) -> AttemptReport:
    return AttemptReport(attempt=work.order.attempt, token=work.order.token, **_describe_failure(failure))


def _describe_failure(failure: AttemptFailed) -> dict[str, Any]:
    """Return what a report says of an attempt that cannot go on: that it failed, or is handed back."""
    message = str(failure)[:4000]
    if failure.reason is Reason.HANDED_BACK:
        return {"kind": "handed-back", "reason": None, "message": message}
    return {"kind": "failed", "reason": failure.reason, "message": message}
